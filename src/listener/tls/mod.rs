//! TLS on rustls with aws-lc-rs: contexts from files, their reload, and the handshake.

mod context;
mod files;
mod handshake;
mod reload;

pub use context::{TlsContext, TlsContextError, build_tls_context};
pub use files::{TlsFileError, check_tls_files};
pub(super) use handshake::handshake;
pub(super) use reload::watch;
