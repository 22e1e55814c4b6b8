//! Request bodies, bounded in size, in time, and in the memory that all of them occupy.

use std::{future::Future, pin::pin, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::poll_immediate;
use http::{HeaderMap, HeaderValue, header, request::Parts};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::{error::Elapsed, timeout};

use super::{App, Problem, byte_limit::ChargedBytes, live};
use crate::{
    auth::{Permit, Principal},
    listener::KeyedPermit,
    problems,
    protocol::headers::label,
};

/// A body announced as no longer than this is allocated in full at once.
const MAX_FIRST_ALLOCATION: usize = 16 * 1024;

/// The least that is allocated for a body of unknown length.
const MIN_ALLOCATION: usize = 1024;

/// A body, and the memory charged for it.
pub(super) struct Received<'a> {
    pub(super) bytes: Bytes,
    _charge: Charge<'a>,
}

/// Memory charged to the server's limit and to the client address's share of it.
struct Charge<'a> {
    bytes: ChargedBytes<'a>,
    shares: Vec<KeyedPermit>,
}

/// Reads a body. One that is announced as too large is refused before it is read.
pub(super) async fn receive<'a>(
    app: &'a App,
    permit: &Permit,
    parts: &Parts,
    body: Body,
) -> Result<Received<'a>, Problem> {
    receive_up_to(app, permit, parts, body, u64::MAX).await
}

/// Reads a body that may be smaller than others.
pub(super) async fn receive_up_to<'a>(
    app: &'a App,
    permit: &Permit,
    parts: &Parts,
    body: Body,
    limit: u64,
) -> Result<Received<'a>, Problem> {
    let limit = app.settings().limits.max_body_bytes.min(limit);
    let announced = announced(&parts.headers)?;
    if announced > limit {
        return Err(too_large(limit));
    }
    let is_server = permit.principal().is_some_and(Principal::is_server);
    let buffer = Buffer {
        app,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        announced: usize::try_from(announced).unwrap_or(usize::MAX),
        bytes: Vec::new(),
        client: live::client(app, parts).filter(|_| !is_server),
        charge: Charge {
            bytes: app.body_bytes().charge(),
            shares: Vec::new(),
        },
    };
    let collected = pin!(collect(buffer, body));
    match within(app.settings().connection.body_total_timeout(), collected).await {
        Ok(received) => received,
        Err(_) => Err(too_slow("the request body took too long to arrive")),
    }
}

async fn collect(mut buffer: Buffer<'_>, mut body: Body) -> Result<Received<'_>, Problem> {
    let idle = buffer.app.settings().connection.body_timeout();
    while !body.is_end_stream() {
        let Ok(frame) = within(idle, body.frame()).await else {
            return Err(too_slow("the request body stopped arriving"));
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| {
            tracing::debug!(%error, "a request body broke off");
            Problem::bad("body", "broke off or was not framed as announced")
        })?;
        if let Ok(data) = frame.into_data() {
            buffer.append(&data)?;
        }
    }
    Ok(buffer.finish())
}

/// As [`timeout`], but sets no timer for what is ready at once: most bodies arrive together with
/// their head.
async fn within<F: Future + Unpin>(limit: Duration, mut work: F) -> Result<F::Output, Elapsed> {
    match poll_immediate(&mut work).await {
        Some(output) => Ok(output),
        None => timeout(limit, work).await,
    }
}

/// The body so far, in one allocation. A frame keeps the connection's buffer alive, which is far
/// larger than a small frame, so frames are copied and dropped as they arrive.
struct Buffer<'a> {
    app: &'a App,
    limit: usize,
    /// 0 for an unknown length.
    announced: usize,
    bytes: Vec<u8>,
    /// The address whose share is charged.
    client: Option<u64>,
    charge: Charge<'a>,
}

impl<'a> Buffer<'a> {
    fn append(&mut self, data: &[u8]) -> Result<(), Problem> {
        let needed = self.bytes.len() + data.len();
        if needed > self.limit {
            return Err(too_large(self.limit as u64));
        }
        if needed > self.bytes.capacity() {
            self.grow(needed)?;
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// Doubles the memory, which is charged as it is allocated. An announced length bounds it and
    /// only quadruples it: announcing costs a client nothing, and fewer copies leave less garbage.
    ///
    /// The old memory is not charged while it is copied: that lasts for one copy, and each worker
    /// thread makes one at a time.
    fn grow(&mut self, needed: usize) -> Result<(), Problem> {
        let old = self.bytes.capacity();
        let (max, factor) = match self.announced {
            0 => (self.limit, 2),
            announced => (announced, 4),
        };
        let min = self.announced.clamp(MIN_ALLOCATION, MAX_FIRST_ALLOCATION);
        let new = old.saturating_mul(factor).max(min).min(max).max(needed);
        self.charge(new - old)?;
        let allocated = self.bytes.try_reserve_exact(new - self.bytes.len());
        allocated.map_err(|_| overloaded())
    }

    /// Gives back unused memory, up to half for a body of unknown length: a memory store keeps the
    /// allocation itself.
    fn finish(mut self) -> Received<'a> {
        self.bytes.shrink_to_fit();
        Received {
            bytes: self.bytes.into(),
            _charge: self.charge,
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Problem> {
        if let Some(client) = self.client {
            let share = self.app.body_shares().try_acquire_many(client, bytes);
            self.charge.shares.push(share.ok_or_else(too_many_own_bodies)?);
        }
        self.charge.bytes.try_add(bytes).ok_or_else(overloaded)
    }
}

fn announced(headers: &HeaderMap) -> Result<u64, Problem> {
    let Some(length) = headers.get(header::CONTENT_LENGTH) else {
        return Ok(0);
    };
    let number = length.to_str().ok().and_then(|length| length.parse().ok());
    number.ok_or_else(|| Problem::bad(label(&header::CONTENT_LENGTH), "is not a number"))
}

fn overloaded() -> Problem {
    Problem::new(
        &problems::OVERLOADED,
        "too many request bodies are in flight; try again",
    )
}

fn too_many_own_bodies() -> Problem {
    let detail = "this address has reached its share of the request bodies in flight; try again";
    Problem::new(&problems::TOO_MANY_OWN_BODIES, detail)
}

fn too_large(limit: u64) -> Problem {
    let detail = format!("the request body is larger than {limit} bytes");
    Problem::new(&problems::TOO_LARGE, detail)
}

fn too_slow(detail: &'static str) -> Problem {
    Problem::new(&problems::BODY_TIMEOUT, detail).with(header::CONNECTION, HeaderValue::from_static("close"))
}
