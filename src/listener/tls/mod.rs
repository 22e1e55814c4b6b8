//! TLS on rustls with aws-lc-rs: contexts from files and from ACME, their renewal, and the handshake.

#[cfg(feature = "acme")]
mod acme;
#[cfg(not(feature = "acme"))]
#[path = "no_acme.rs"]
mod acme;
mod context;
mod files;
mod handshake;
mod reload;

pub use acme::build_acme_context;
pub use context::{TlsContext, TlsContextError, build_tls_context};
pub use files::{TlsFileError, check_tls_files};
pub(super) use handshake::handshake;
pub(super) use reload::watch;
