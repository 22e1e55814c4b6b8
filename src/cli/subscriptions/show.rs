//! `subscriptions show`

use std::io::{BufWriter, Write};

use clap::Args;
use serde_json::{Map, Value};

use super::{state, text};
use crate::cli::{
    archive::write,
    error::CliError,
    remote::{Remote, RemoteArgs, shown},
};

/// Arguments of `subscriptions show`.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The subscription.
    id: String,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
}

pub(super) async fn run(args: &ShowArgs, remote: &Remote, out: &mut dyn Write) -> Result<(), CliError> {
    let subscription = remote.subscription(&args.id).await?;
    let mut out = BufWriter::new(out);
    if args.json {
        write(&mut out, &subscription)?;
        return Ok(out.flush()?);
    }
    let own = |name: &str| text(&subscription, name).map(str::to_owned);
    let number = |name: &str| subscription.get(name).and_then(Value::as_u64);
    let webhook = subscription.get("webhook").and_then(Value::as_object);
    let signing = webhook.and_then(|webhook| webhook.get("signing")?.as_object());
    let lines = [
        ("id", own("id")),
        ("type", own("type")),
        ("state", Some(state(&subscription).to_owned())),
        ("retry at", own("next_attempt_at")),
        ("about", own("description")),
        ("pattern", own("pattern")),
        (
            "receiver",
            webhook.and_then(|webhook| Some(text(webhook, "url")?.to_owned())),
        ),
        ("wakes in", own("wake_stream")),
        (
            "lease",
            number("lease_ttl_ms").map(|millis| format!("{} s", millis as f64 / 1000.0)),
        ),
        (
            "key",
            signing.and_then(|signing| Some(text(signing, "kid")?.to_owned())),
        ),
        ("created", own("created_at")),
        ("wakes", number("generation").map(|number| number.to_string())),
        (
            "pending",
            number("pending_streams").map(|number| format!("{number} streams")),
        ),
        (
            "unlinked",
            own("link_refused_at").map(|at| format!("a stream beyond the limit, last at {at}")),
        ),
    ];
    for (label, value) in lines {
        if let Some(value) = value {
            writeln!(out, "{label:<8}  {}", shown(&value))?;
        }
    }
    let streams = subscription.get("streams").and_then(Value::as_array);
    for stream in streams.into_iter().flatten().filter_map(Value::as_object) {
        cursor(stream, &mut out)?;
    }
    Ok(out.flush()?)
}

fn cursor(stream: &Map<String, Value>, out: &mut dyn Write) -> std::io::Result<()> {
    let of = |name: &str| shown(text(stream, name).unwrap_or_default());
    writeln!(
        out,
        "cursor    {}  {:<8}  {}",
        of("acked_offset"),
        of("link_type"),
        of("path")
    )
}
