//! Framing that two parties could read differently (RFC 9112, section 11.2) is refused.

use http::{Request, Version, header};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Plain,
    Http2,
    /// It is answered, and then the connection is closed: nothing after it is read as a request.
    Last,
    Refused(&'static str),
}

/// Reads from the head where the request ends and which host it is for (RFC 9112, sections 3.2,
/// 6.1 and 6.3).
pub(super) fn framing<B>(request: &Request<B>) -> Framing {
    let headers = request.headers();
    if request.version() >= Version::HTTP_2 {
        // Frames carry the length, and h2 compares a Content-Length with it.
        return Framing::Http2;
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => {}
        (None, None) if request.version() < Version::HTTP_11 => {}
        (None, None) => return Framing::Refused("Host: missing"),
        _ => return Framing::Refused("Host: given more than once"),
    }
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(encoding) = encodings.next() else {
        return Framing::Plain;
    };
    if headers.contains_key(header::CONTENT_LENGTH) {
        return Framing::Refused("Transfer-Encoding: given together with Content-Length");
    }
    if encodings.next().is_some() || !encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Framing::Refused("Transfer-Encoding: only chunked is supported");
    }
    // hyper removes a Content-Length next to a Transfer-Encoding before we see it, and a proxy may
    // have used that length. As of 1.12 hyper also closes such a connection; we do not rely on it.
    Framing::Last
}
