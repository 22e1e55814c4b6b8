//! A server's life: the phases of its start in order, service, and a stop that loses nothing.

mod descriptors;
mod error;
mod exposure;
mod serve;
mod storage;

pub use error::{Phase, StartupError};
pub use exposure::exposures;
pub use serve::serve;

#[cfg(test)]
mod tests;
