//! Request bodies, bounded in size, in time, and in what all of them hold together.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;

use super::{App, Problem};

/// A body of up to this size is copied out of the connection's buffer, which is far larger
/// and would otherwise live as long as the body does.
const COPIED_BYTES: usize = 16 * 1024;

/// A body, and its share of what may be held.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// Reads a body. One that is announced as too large is refused before it is read.
pub(super) async fn receive(app: &App, headers: &HeaderMap, body: Body) -> Result<Received, Problem> {
    let limit = app.settings().max_body_bytes;
    if announced(headers)? > limit {
        return Err(too_large(limit));
    }
    match tokio::time::timeout(app.settings().body_timeout, collect(app, body, limit)).await {
        Ok(received) => received,
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body-timeout",
            "the request body did not arrive in time",
        )
        .with(header::CONNECTION, http::HeaderValue::from_static("close"))),
    }
}

async fn collect(app: &App, mut body: Body, limit: u64) -> Result<Received, Problem> {
    let mut share: Option<OwnedSemaphorePermit> = None;
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut held = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            tracing::debug!(%error, "a request body broke off");
            Problem::bad("body", "broke off or was not framed as announced")
        })?;
        let Ok(data) = frame.into_data() else { continue };
        held += data.len();
        if held as u64 > limit {
            return Err(too_large(limit));
        }
        reserve(app, &mut share, data.len())?;
        if !data.is_empty() {
            pieces.push(data);
        }
    }
    Ok(Received {
        bytes: join(pieces, held),
        _share: share,
    })
}

/// Takes part of what all bodies together may hold, as it arrives and not as it is
/// announced: an announcement costs a client nothing.
fn reserve(app: &App, share: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), Problem> {
    let wanted = u32::try_from(bytes).unwrap_or(u32::MAX);
    let more = std::sync::Arc::clone(app.held_bytes()).try_acquire_many_owned(wanted);
    let more =
        more.map_err(|_| Problem::come_back("overloaded", "too many request bodies are under way; try again"))?;
    match share {
        Some(share) => share.merge(more),
        None => *share = Some(more),
    }
    Ok(())
}

fn join(mut pieces: Vec<Bytes>, len: usize) -> Bytes {
    match pieces.as_slice() {
        [only] if only.len() > COPIED_BYTES => pieces.swap_remove(0),
        _ => {
            let mut joined = BytesMut::with_capacity(len);
            for piece in &pieces {
                joined.extend_from_slice(piece);
            }
            joined.freeze()
        }
    }
}

fn announced(headers: &HeaderMap) -> Result<u64, Problem> {
    let Some(length) = headers.get(header::CONTENT_LENGTH) else {
        return Ok(0);
    };
    let number = length.to_str().ok().and_then(|length| length.parse().ok());
    number.ok_or_else(|| Problem::bad("Content-Length", "is not a number"))
}

fn too_large(limit: u64) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-large",
        format!("the request body is larger than {limit} bytes"),
    )
}
