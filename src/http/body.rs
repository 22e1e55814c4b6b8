//! Request bodies, bounded in size, in time, and in the memory that all of them occupy.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::poll_immediate;
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{error::Elapsed, timeout},
};

use super::{App, Problem, live};
use crate::{
    auth::{Permit, Principal},
    listener::KeyedPermit,
};

/// A body that is announced as no longer than this gets its memory at once.
const FIRST_ALLOCATION: usize = 16 * 1024;

/// The least that is allocated for a body whose length is unknown.
const MIN_ALLOCATION: usize = 1024;

/// A body, and the memory that is charged for it.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _charge: (Option<OwnedSemaphorePermit>, Vec<KeyedPermit>),
}

/// Reads a body. One that is announced as too large is refused before it is read.
pub(super) async fn receive(app: &App, permit: &Permit, parts: &Parts, body: Body) -> Result<Received, Problem> {
    let limit = app.settings().limits.max_body_bytes;
    let announced = announced(&parts.headers)?;
    if announced > limit {
        return Err(too_large(limit));
    }
    let buffer = Buffer {
        app,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        announced: usize::try_from(announced).unwrap_or(usize::MAX),
        bytes: Vec::new(),
        client: live::client(app, parts).filter(|_| !permit.principal().is_some_and(Principal::is_server)),
        charge: None,
        shares: Vec::new(),
    };
    let collected = pin!(collect(buffer, body));
    match within(app.settings().connection.body_total_timeout(), collected).await {
        Ok(received) => received,
        Err(_) => Err(too_slow("the request body took longer than a whole body may")),
    }
}

async fn collect(mut buffer: Buffer<'_>, mut body: Body) -> Result<Received, Problem> {
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

/// As [`timeout`], but for what is ready at once there is no timer: most bodies arrive together
/// with their head.
async fn within<F: Future + Unpin>(limit: Duration, mut work: F) -> Result<F::Output, Elapsed> {
    match poll_immediate(&mut work).await {
        Some(output) => Ok(output),
        None => timeout(limit, work).await,
    }
}

/// A body so far, in one piece of memory: a frame keeps the connection's buffer alive, which is
/// far larger than a small frame, so frames are copied and dropped as they arrive.
struct Buffer<'a> {
    app: &'a App,
    limit: usize,
    /// 0 when it is unknown.
    announced: usize,
    bytes: Vec<u8>,
    /// Whose share it is charged to as well.
    client: Option<u64>,
    charge: Option<OwnedSemaphorePermit>,
    shares: Vec<KeyedPermit>,
}

impl Buffer<'_> {
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
    /// only quadruples it: announcing costs a client nothing, and fewer copies leave less behind.
    ///
    /// The old memory is not charged while it is copied: that lasts for one copy, and no more than
    /// one of them is made by each worker thread.
    fn grow(&mut self, needed: usize) -> Result<(), Problem> {
        let old = self.bytes.capacity();
        let (most, factor) = match self.announced {
            0 => (self.limit, 2),
            announced => (announced, 4),
        };
        let least = self.announced.clamp(MIN_ALLOCATION, FIRST_ALLOCATION);
        let new = old.saturating_mul(factor).max(least).min(most).max(needed);
        self.charge(new - old)?;
        let allocated = self.bytes.try_reserve_exact(new - self.bytes.len());
        allocated.map_err(|_| overloaded())
    }

    /// A body of unknown length may leave up to half of its memory unused. A memory store keeps
    /// the body's own memory, so what is unused is given back.
    fn finish(mut self) -> Received {
        self.bytes.shrink_to_fit();
        Received {
            bytes: self.bytes.into(),
            _charge: (self.charge, self.shares),
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Problem> {
        if let Some(client) = self.client {
            let share = self.app.held_by_address().try_acquire_many(client, bytes);
            self.shares.push(share.ok_or_else(crowded)?);
        }
        let bytes = u32::try_from(bytes).map_err(|_| overloaded())?;
        let more = Arc::clone(self.app.held_bytes()).try_acquire_many_owned(bytes);
        let more = more.map_err(|_| overloaded())?;
        match &mut self.charge {
            Some(charge) => charge.merge(more),
            None => self.charge = Some(more),
        }
        Ok(())
    }
}

fn overloaded() -> Problem {
    Problem::come_back("overloaded", "too many request bodies are under way; try again")
}

fn crowded() -> Problem {
    let detail = "this address has its share of the request bodies under way; try again";
    Problem::too_many("too-many-own-bodies", detail)
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

fn too_slow(detail: &'static str) -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", detail)
        .with(header::CONNECTION, HeaderValue::from_static("close"))
}
