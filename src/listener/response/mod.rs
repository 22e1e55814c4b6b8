//! Responses that clients have not read yet: what they may hold in memory, and for how long.

pub(super) mod body;
pub(super) mod budget;
pub(super) mod budgets;
mod chunk;
mod pool;
pub(super) mod progress;
pub(super) mod stall;

#[cfg(test)]
mod tests;
