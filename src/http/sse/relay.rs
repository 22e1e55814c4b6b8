//! The rest of a live read, from the next holder of the store.

use std::{future::ready, pin::Pin, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http_body_util::BodyExt as _;
use tokio::time::{Sleep, sleep_until};

use super::encode;
use crate::{
    http::{App, forward::Continuation, phase::Tenure},
    protocol::Offset,
    random::Random,
};

/// The reconnection delays, in milliseconds, of readers that a stop ends: around the usual one, and
/// further apart, because readers that end together would otherwise return together.
const MIN_RETRY_AFTER_STOP: u64 = 1_000;
const MAX_RETRY_AFTER_STOP: u64 = 3_000;

/// The same for readers that return after a handover: the next server is there, and their returns
/// are spread.
const MIN_RETRY_AFTER_MOVE: u64 = 250;
const MAX_RETRY_AFTER_MOVE: u64 = 1_000;

/// The events from `at` on. They end with the read, or when it is this reader's turn to return by
/// itself: its proxy may soon cut what it still has here.
pub(super) fn relay(
    app: App,
    tenure: Arc<Tenure>,
    continuation: Box<Continuation>,
    at: Offset,
) -> Pin<Box<dyn Stream<Item = Bytes> + Send>> {
    let opened = async move {
        let body = continuation.follow(&app, at).await?;
        Some(Relay::new(app, tenure, body))
    };
    let relays = stream::once(opened).filter_map(ready);
    Box::pin(relays.flat_map(|relay| stream::unfold(Some(relay), |relay| async move { relay?.next().await })))
}

/// Tells a reader of a stopping server when to return.
pub(in crate::http) fn retry_after_stop(random: &Random) -> Bytes {
    retry(random.between(MIN_RETRY_AFTER_STOP, MAX_RETRY_AFTER_STOP))
}

fn retry(millis: u64) -> Bytes {
    encode::retry(Duration::from_millis(millis)).into()
}

struct Relay {
    app: App,
    tenure: Arc<Tenure>,
    body: Body,
    turn: Pin<Box<Sleep>>,
    /// The turn is early enough for a stop.
    is_stopping: bool,
}

impl Relay {
    fn new(app: App, tenure: Arc<Tenure>, body: Body) -> Self {
        Self {
            turn: Box::pin(sleep_until(app.return_at())),
            app,
            tenure,
            body,
            is_stopping: false,
        }
    }

    async fn next(mut self) -> Option<(Bytes, Option<Self>)> {
        loop {
            tokio::select! {
                biased;
                () = self.turn.as_mut() => return Some((self.last_retry(), None)),
                () = self.app.stopping().cancelled(), if !self.is_stopping => {
                    self.is_stopping = true;
                    let turn = self.turn.deadline().min(self.app.leave_at(&self.tenure));
                    self.turn.as_mut().reset(turn);
                }
                frame = self.body.frame() => match frame?.ok()?.into_data() {
                    Ok(data) => return Some((data, Some(self))),
                    Err(_) => continue,
                },
            }
        }
    }

    fn last_retry(&self) -> Bytes {
        match self.is_stopping {
            true => retry_after_stop(self.app.random()),
            false => retry(self.app.random().between(MIN_RETRY_AFTER_MOVE, MAX_RETRY_AFTER_MOVE)),
        }
    }
}
