//! The TLS handshake.

use std::io;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::context::TlsContext;
use crate::listener::peer::TlsInfo;

/// The ALPN name of an ACME server's check (RFC 8737, section 3).
pub(super) const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";

/// A connection after its handshake.
pub(in crate::listener) struct Established<IO> {
    pub(in crate::listener) stream: TlsStream<IO>,
    pub(in crate::listener) info: TlsInfo,
}

/// Performs the handshake; `None` for an ACME server's check, which ends with it.
pub(in crate::listener) async fn handshake<IO>(io: IO, context: &TlsContext) -> io::Result<Option<Established<IO>>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let start = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
    if let Some(challenge) = &context.challenge
        && start
            .client_hello()
            .alpn()
            .is_some_and(|mut names| names.any(|name| name == ACME_TLS_ALPN))
    {
        // The certificate is the whole answer.
        start.into_stream(challenge.clone()).await?.shutdown().await?;
        return Ok(None);
    }
    let stream = start.into_stream(context.current.load_full()).await?;
    let (_, connection) = stream.get_ref();
    let info = TlsInfo {
        // Without a valid one the handshake would have failed.
        client_cert: connection.peer_certificates().is_some_and(|chain| !chain.is_empty()),
        http2: connection.alpn_protocol() == Some(b"h2"),
    };
    Ok(Some(Established { stream, info }))
}
