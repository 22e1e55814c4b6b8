//! The requests about subscriptions. Unknown members are ignored.

use std::{borrow::Cow, collections::BTreeMap};

use percent_encoding::percent_decode_str;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    http::query::set,
    protocol::{BadInput, Offset, StreamName},
    subscriptions::{self, Ack, Delivery, Pattern, WakeRef},
};

const DEFAULT_LEASE_MILLIS: u64 = 30_000;
const MIN_LEASE_MILLIS: u64 = 1_000;
const MAX_LEASE_MILLIS: u64 = 600_000;
const MAX_DESCRIPTION_BYTES: usize = 1024;
const MAX_WORKER_BYTES: usize = 256;
const MAX_WAKE_ID_BYTES: usize = 256;
const MAX_STREAMS: usize = 10_000;
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// A subscription to create.
pub(super) struct Definition {
    pub(super) definition: subscriptions::Definition,
    pub(super) streams: Vec<StreamName>,
}

#[derive(Deserialize)]
struct DefinitionBody {
    r#type: Option<String>,
    pattern: Option<String>,
    #[serde(default)]
    streams: Option<Vec<String>>,
    webhook: Option<WebhookBody>,
    wake_stream: Option<String>,
    lease_ttl_ms: Option<u64>,
    description: Option<String>,
}

#[derive(Deserialize)]
struct WebhookBody {
    url: Option<String>,
}

impl Definition {
    pub(super) fn parse(body: &[u8]) -> Result<Self, BadInput> {
        let body: DefinitionBody = json(body)?;
        let delivery = match body.r#type.as_deref() {
            Some("webhook") => Delivery::Webhook {
                url: body
                    .webhook
                    .and_then(|webhook| webhook.url)
                    .ok_or_else(|| BadInput::new("webhook.url", "is missing"))?,
            },
            Some("pull-wake") => {
                let stream = body
                    .wake_stream
                    .ok_or_else(|| BadInput::new("wake_stream", "is missing"))?;
                Delivery::PullWake {
                    wake_stream: self::stream("wake_stream", &stream)?,
                }
            }
            _ => return Err(BadInput::new("type", "must be `webhook` or `pull-wake`")),
        };
        let pattern = body.pattern.filter(|pattern| !pattern.is_empty());
        let streams = named(body.streams.unwrap_or_default())?;
        if pattern.is_none() && streams.is_empty() {
            return Err(BadInput::new(
                "pattern",
                "is missing, and so is `streams`; name one of them",
            ));
        }
        let lease_ttl_ms = body.lease_ttl_ms.unwrap_or(DEFAULT_LEASE_MILLIS);
        if !(MIN_LEASE_MILLIS..=MAX_LEASE_MILLIS).contains(&lease_ttl_ms) {
            return Err(BadInput::new("lease_ttl_ms", "must be from 1000 to 600000"));
        }
        if body
            .description
            .as_ref()
            .is_some_and(|text| text.len() > MAX_DESCRIPTION_BYTES)
        {
            return Err(BadInput::new("description", "is longer than 1024 bytes"));
        }
        Ok(Self {
            definition: subscriptions::Definition {
                delivery,
                pattern: pattern.map(|pattern| Pattern::parse(&pattern)).transpose()?,
                lease_ttl_ms,
                description: body.description,
            },
            streams,
        })
    }
}

/// The streams to add.
pub(super) fn streams(body: &[u8]) -> Result<Vec<StreamName>, BadInput> {
    #[derive(Deserialize)]
    struct Body {
        streams: Option<Vec<String>>,
    }
    let body: Body = json(body)?;
    named(body.streams.ok_or_else(|| BadInput::new("streams", "is missing"))?)
}

fn named(paths: Vec<String>) -> Result<Vec<StreamName>, BadInput> {
    if paths.len() > MAX_STREAMS {
        return Err(BadInput::new("streams", "has more than 10000 members"));
    }
    paths.iter().map(|path| stream("streams", path)).collect()
}

/// A path below the root of the streams.
pub(super) fn stream(member: &'static str, path: &str) -> Result<StreamName, BadInput> {
    StreamName::new(path.trim_start_matches('/'))
        .map_err(|error| BadInput::new(member, format!("has a path that is not a stream's: {error}")))
}

/// The name of the worker that claims.
pub(super) fn worker(body: &[u8]) -> Result<String, BadInput> {
    #[derive(Deserialize)]
    struct Body {
        worker: Option<String>,
    }
    let body: Body = json(body)?;
    let worker = body.worker.unwrap_or_default();
    match worker.len() {
        0 => Err(BadInput::new("worker", "is missing")),
        1..=MAX_WORKER_BYTES => Ok(worker),
        _ => Err(BadInput::new("worker", "is longer than 256 bytes")),
    }
}

/// A callback, an ack or a release.
pub(super) struct Work {
    pub(super) wake: WakeRef,
    pub(super) acks: Vec<Ack>,
    pub(super) done: bool,
}

#[derive(Deserialize)]
struct WorkBody {
    wake_id: Option<String>,
    generation: Option<u64>,
    acks: Option<Vec<AckBody>>,
    done: Option<bool>,
}

#[derive(Deserialize)]
struct AckBody {
    #[serde(alias = "path")]
    stream: Option<String>,
    offset: Option<String>,
}

impl Work {
    pub(super) fn parse(body: &[u8]) -> Result<Self, BadInput> {
        let body: WorkBody = json(body)?;
        let missing = |member: &'static str| BadInput::new(member, "is missing");
        let wake_id = body.wake_id.ok_or_else(|| missing("wake_id"))?;
        if wake_id.len() > MAX_WAKE_ID_BYTES {
            return Err(BadInput::new("wake_id", "is longer than 256 bytes"));
        }
        // Of several for one stream the last counts: each is checked against the stream.
        let mut acks = BTreeMap::new();
        for ack in body.acks.unwrap_or_default() {
            let path = ack
                .stream
                .ok_or_else(|| BadInput::new("acks", "has a member without `stream`"))?;
            let offset = ack
                .offset
                .ok_or_else(|| BadInput::new("acks", "has a member without `offset`"))?;
            acks.insert(stream("acks", &path)?, Offset::parse("acks", &offset)?);
        }
        let acks = acks.into_iter().map(|(stream, offset)| Ack { stream, offset });
        Ok(Self {
            wake: WakeRef {
                wake_id,
                generation: body.generation.ok_or_else(|| missing("generation"))?,
            },
            acks: acks.collect(),
            done: body.done.unwrap_or(false),
        })
    }
}

/// The query of a list.
pub(super) struct ListQuery {
    pub(super) after: Option<String>,
    pub(super) limit: usize,
}

impl ListQuery {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, BadInput> {
        let (mut after, mut limit) = (None, None);
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "after" => set(&mut after, "after", value)?,
                "limit" => set(&mut limit, "limit", value)?,
                _ => {}
            }
        }
        let limit = match limit {
            None => DEFAULT_LIMIT,
            Some(text) => {
                let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                limit.ok_or_else(|| BadInput::new("limit", "must be a whole number from 1 to 1000"))?
            }
        };
        Ok(Self {
            after: after.map(Cow::into_owned),
            limit,
        })
    }
}

/// A part of the path, percent-decoded once.
pub(super) fn decoded<'p>(name: &'static str, part: &'p str) -> Result<Cow<'p, str>, BadInput> {
    percent_decode_str(part)
        .decode_utf8()
        .map_err(|_| BadInput::new(name, "is not UTF-8 after percent-decoding"))
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, BadInput> {
    // No body is an object without members.
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| BadInput::new("body", format!("is not as expected: {error}")))
}
