//! The rest of a live read, from the next holder of the store.

use std::{
    future::{Future, ready},
    pin::Pin,
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http_body_util::BodyExt as _;

use super::encode;
use crate::{
    http::{App, forward::Continuation},
    protocol::Offset,
    random::Random,
};

/// The reconnection delays, in milliseconds, of readers that a stop ends: around the usual one, and
/// further apart, because readers that end together would otherwise return together.
const MIN_RETRY_AFTER_STOP: u64 = 1_000;
const MAX_RETRY_AFTER_STOP: u64 = 3_000;

/// The events from `at` on. They end with the read, or when it is this reader's turn to leave a
/// stopping server.
pub(super) fn relay(
    app: App,
    continuation: Box<Continuation>,
    at: Offset,
) -> Pin<Box<dyn Stream<Item = Bytes> + Send>> {
    let opened = async move {
        let body = continuation.follow(&app, at).await?;
        Some(Relay::new(app, body))
    };
    let relays = stream::once(opened).filter_map(ready);
    Box::pin(relays.flat_map(|relay| stream::unfold(Some(relay), |relay| async move { relay?.next().await })))
}

/// Tells a reader of a stopping server when to return.
pub(super) fn retry_after_stop(random: &Random) -> Bytes {
    let retry = random.between(MIN_RETRY_AFTER_STOP, MAX_RETRY_AFTER_STOP);
    encode::retry(Duration::from_millis(retry)).into()
}

struct Relay {
    app: App,
    body: Body,
    /// The turn of this reader when the server stops.
    leave: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Relay {
    fn new(app: App, body: Body) -> Self {
        let leaving = app.clone();
        let leave = Box::pin(async move { leaving.turn_to_leave().await });
        Self { app, body, leave }
    }

    async fn next(mut self) -> Option<(Bytes, Option<Self>)> {
        loop {
            tokio::select! {
                biased;
                () = self.leave.as_mut() => return Some((retry_after_stop(self.app.random()), None)),
                frame = self.body.frame() => match frame?.ok()?.into_data() {
                    Ok(data) => return Some((data, Some(self))),
                    Err(_) => continue,
                },
            }
        }
    }
}
