//! The responses about subscriptions.

use serde_json::{Map, Value, json};

use crate::{
    protocol::headers::format_timestamp,
    subscriptions::{Claimed, Delivery, PendingStream, View},
};

/// A subscription (section 6.3), with members of this server's own: `next_attempt_at`,
/// `paused`, `generation`, `pending_streams` and `link_refused_at`.
pub(super) fn show(view: &View) -> Value {
    let mut shown = summary(view);
    let streams = view.streams.iter().map(
        |(path, link_type, acked)| json!({ "path": path, "link_type": link_type, "acked_offset": acked.to_string() }),
    );
    shown.insert("streams".into(), streams.collect());
    shown.into()
}

/// A page of the list, of subscriptions without their streams.
pub(super) fn list(views: &[View], has_more: bool) -> Value {
    let next = views.last().filter(|_| has_more).map(|view| &*view.id);
    let subscriptions: Vec<_> = views.iter().map(summary).collect();
    json!({ "subscriptions": subscriptions, "next": next })
}

fn summary(view: &View) -> Map<String, Value> {
    let (r#type, webhook, wake_stream) = match &view.definition.delivery {
        Delivery::Webhook { url } => ("webhook", webhook(view, url), Value::Null),
        Delivery::PullWake { wake_stream } => ("pull-wake", Value::Null, json!(wake_stream)),
    };
    let members = [
        ("id", json!(&*view.id)),
        ("subscription_id", json!(&*view.id)),
        ("type", json!(r#type)),
        ("pattern", json!(view.definition.pattern)),
        ("webhook", webhook),
        ("wake_stream", wake_stream),
        ("lease_ttl_ms", json!(view.definition.lease_ttl_ms)),
        ("created_at", json!(format_timestamp(view.created_at))),
        (
            "status",
            json!(if view.next_attempt_at.is_some() {
                "failed"
            } else {
                "active"
            }),
        ),
        ("next_attempt_at", json!(view.next_attempt_at.map(format_timestamp))),
        ("description", json!(view.definition.description)),
        ("paused", json!(view.is_paused)),
        ("generation", json!(view.generation)),
        ("pending_streams", json!(view.pending_streams)),
        ("link_refused_at", json!(view.link_refused_at.map(format_timestamp))),
    ];
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn webhook(view: &View, url: &str) -> Value {
    let Some(kid) = &view.kid else {
        return json!({ "url": url });
    };
    let jwks_url = format!("{}/__ds/jwks.json", view.root_url);
    json!({ "url": url, "signing": { "alg": "ed25519", "kid": kid, "jwks_url": jwks_url } })
}

/// A claim that succeeded (section 7.2).
pub(super) fn claimed(claimed: &Claimed) -> Value {
    let streams: Vec<Value> = claimed.streams.iter().map(pending).collect();
    json!({
        "wake_id": claimed.wake.wake_id,
        "generation": claimed.wake.generation,
        "token": claimed.token,
        "streams": streams,
        "lease_ttl_ms": u64::try_from(claimed.lease_ttl.as_millis()).unwrap_or(u64::MAX),
    })
}

fn pending(stream: &PendingStream) -> Value {
    json!({
        "path": stream.stream,
        "link_type": stream.link,
        "acked_offset": stream.acked.to_string(),
        "tail_offset": stream.tail.to_string(),
        "has_pending": true,
    })
}

/// An acknowledgement that succeeded.
pub(super) fn acknowledged(next_wake: bool) -> Value {
    json!({ "ok": true, "next_wake": next_wake })
}
