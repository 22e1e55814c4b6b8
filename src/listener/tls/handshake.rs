use std::io;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::TlsContext;
use crate::listener::TlsInfo;

/// The name by which an ACME server asks for a challenge's certificate (RFC 8737, section 3).
pub(super) const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";

/// A connection after its handshake.
pub(in crate::listener) struct Secured<I> {
    pub(in crate::listener) stream: TlsStream<I>,
    pub(in crate::listener) info: TlsInfo,
}

/// Performs the handshake; `None` when the connection was an ACME server's check and is over.
pub(in crate::listener) async fn handshake<I>(io: I, context: &TlsContext) -> io::Result<Option<Secured<I>>>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let start = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
    if let Some(challenge) = &context.challenge
        && start
            .client_hello()
            .alpn()
            .is_some_and(|mut names| names.any(|name| name == ACME_TLS_ALPN))
    {
        // The certificate shown is the whole answer.
        start.into_stream(challenge.clone()).await?.shutdown().await?;
        return Ok(None);
    }
    let stream = start.into_stream(context.current.load_full()).await?;
    let (_, connection) = stream.get_ref();
    let info = TlsInfo {
        // rustls verified it, or the handshake had failed.
        client_cert: connection.peer_certificates().is_some_and(|chain| !chain.is_empty()),
        http2: connection.alpn_protocol() == Some(b"h2"),
    };
    Ok(Some(Secured { stream, info }))
}
