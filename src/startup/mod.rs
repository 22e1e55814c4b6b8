//! The phases of a start, in order.

mod error;

pub use error::{Phase, StartupError};

#[cfg(test)]
mod tests;
