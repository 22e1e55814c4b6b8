//! The life of a server: the phases of its start in order, serving, and a stop without loss.

mod descriptors;
mod error;
mod exposure;
mod handover;
mod inherited_sockets;
#[cfg(feature = "postgres")]
mod reach;
mod seek;
mod serve;
mod service_manager;
mod storage;

pub use error::{Phase, StartupError};
pub use exposure::exposures;
pub use serve::serve;

#[cfg(test)]
mod tests;
