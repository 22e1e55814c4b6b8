//! TLS on rustls with aws-lc-rs: contexts from files or ACME, their renewal, and the handshake.

#[cfg(feature = "acme")]
mod acme;
#[cfg(not(feature = "acme"))]
#[path = "no_acme.rs"]
mod acme;
pub(super) mod context;
pub(super) mod files;
pub(super) mod handshake;
mod identity;
pub(super) mod reload;

pub use acme::build_acme_context;
pub use context::{TlsContext, TlsContextError, build_tls_context};
pub use files::check_tls_files;
