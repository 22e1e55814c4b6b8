//! Subscriptions over an engine, with a clock that the test moves.

mod failures;
mod limits;
mod pulling;
mod recovery;
mod sharing;
mod states;
mod waking;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::*;
use crate::{
    engine::{AppendError, AppendRequest, CreateRequest, Engine, EngineConfig},
    protocol::{ContentType, Offset, ReadFrom, StreamName},
    storage::Storage,
    telemetry::Metrics,
    webhook::SystemResolver,
};

const NOW: Millis = 1_800_000_000_000;
const LEASE: Duration = Duration::from_secs(30);

pub(super) struct Server {
    pub(super) engine: Engine,
    pub(super) subscriptions: Subscriptions,
    pub(super) clock: Clock,
}

impl Server {
    pub(super) fn start(storage: Arc<dyn Storage>, clock: &Clock) -> Self {
        Self::with(storage, clock, SubscriptionsConfig::default())
    }

    pub(super) fn with(storage: Arc<dyn Storage>, clock: &Clock, config: SubscriptionsConfig) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let engine = Engine::start(storage, EngineConfig::default(), Arc::clone(&metrics), clock.clone()).unwrap();
        let webhooks = WebhooksConfig::default();
        let subscriptions = Subscriptions::start(Parts {
            engine: engine.clone(),
            config,
            deliverer: Arc::new(Deliverer::new(&webhooks, Arc::new(SystemResolver)).unwrap()),
            webhooks,
            metrics: metrics.subscriptions().clone(),
            random: Random::seeded(1),
        })
        .unwrap();
        Self {
            engine,
            subscriptions,
            clock: clock.clone(),
        }
    }

    /// As a process that ends: nothing that is queued is lost, and nothing is waited for.
    pub(super) async fn end(self) {
        self.subscriptions.stop(Duration::ZERO).await;
        self.engine.stop().await;
    }

    pub(super) async fn create(&self, stream: &str) {
        self.engine.create(&name(stream), json_stream()).await.unwrap();
    }

    pub(super) async fn append(&self, stream: &str) -> Offset {
        self.try_append(stream).await.unwrap()
    }

    pub(super) async fn try_append(&self, stream: &str) -> Result<Offset, AppendError> {
        let request = AppendRequest {
            content_type: ContentType::parse("application/json").ok(),
            body: Bytes::from_static(b"{}"),
            ..AppendRequest::default()
        };
        Ok(self.engine.append(&name(stream), request).await?.tail)
    }

    pub(super) async fn subscribe(&self, id: &str, pattern: Option<&str>, streams: &[&str]) -> View {
        let streams = streams.iter().map(|stream| name(stream)).collect();
        let created = self
            .subscriptions
            .create(id, pulling(pattern), streams, root_url())
            .await;
        created.unwrap().1
    }

    pub(super) async fn claim(&self, id: &str) -> Result<Claimed, ClaimError> {
        self.subscriptions.claim(id, "w").await
    }

    pub(super) async fn ack(&self, id: &str, claimed: &Claimed, acks: &[Ack], done: bool) -> Result<bool, AckError> {
        let holder = self.subscriptions.holder(id, &claimed.token).await?;
        self.subscriptions.ack(&holder, &claimed.wake, acks, done).await
    }

    /// The cursors of a subscription.
    pub(super) async fn cursors(&self, id: &str) -> Vec<(String, Offset)> {
        let view = self.subscriptions.read(id).await.unwrap();
        let cursors = view.streams.iter().map(|(name, _, acked)| (name.to_string(), *acked));
        cursors.collect()
    }

    /// The generations of the events on the wake stream.
    pub(super) async fn woken(&self) -> Vec<u64> {
        let mut read = self.engine.read(&name("wake"), ReadFrom::Beginning).await.unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = read.pieces.next().await.unwrap() {
            text.extend_from_slice(&chunk.body());
        }
        let events: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap_or_default();
        events
            .iter()
            .map(|event| event["generation"].as_u64().unwrap())
            .collect()
    }

    /// Waits until the wake stream has this many events.
    pub(super) async fn until_woken(&self, count: usize) -> Vec<u64> {
        for _ in 0..10_000 {
            let woken = self.woken().await;
            if woken.len() >= count {
                return woken;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{count} wakes did not come: {:?}", self.woken().await);
    }
}

pub(super) fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

pub(super) fn root_url() -> String {
    "https://streams.example/v1/stream".into()
}

pub(super) fn json_stream() -> CreateRequest {
    CreateRequest {
        content_type: ContentType::parse("application/json").ok(),
        lifetime: None,
        retention: None,
        closed: false,
        body: Bytes::new(),
        fork: None,
        past: None,
    }
}

pub(super) fn pulling(pattern: Option<&str>) -> Definition {
    Definition {
        delivery: Delivery::PullWake {
            wake_stream: name("wake"),
        },
        pattern: pattern.map(|pattern| Pattern::parse(pattern).unwrap()),
        lease_ttl_ms: u64::try_from(LEASE.as_millis()).unwrap(),
        description: None,
    }
}

/// An acknowledgement of everything that was claimed.
pub(super) fn all_of(claimed: &Claimed) -> Vec<Ack> {
    let acks = claimed.streams.iter().map(|stream| Ack {
        stream: stream.stream.clone(),
        offset: stream.tail,
    });
    acks.collect()
}
