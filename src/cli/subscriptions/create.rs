//! `subscriptions create`

use std::io::Write;

use clap::Args;
use http::StatusCode;
use serde_json::json;

use crate::{
    cli::{
        error::CliError,
        remote::{Remote, RemoteArgs, shown},
    },
    protocol::StreamName,
};

/// Arguments of `subscriptions create`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("delivery").required(true).args(["webhook", "wake_stream"])))]
#[command(group(clap::ArgGroup::new("linked").required(true).multiple(true).args(["pattern", "streams"])))]
pub(super) struct CreateArgs {
    /// The subscription's id, of your choice.
    id: String,
    /// Call this URL when there is work.
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Append an event to this stream, which must exist, when there is work that can be claimed.
    #[arg(long, value_name = "NAME", value_parser = StreamName::new)]
    wake_stream: Option<StreamName>,
    /// The streams, present and future: `*` is one segment of a name, `**` any number. Existing
    /// streams are linked at their tails.
    #[arg(long)]
    pattern: Option<String>,
    /// A stream, linked at its tail. Can be repeated.
    #[arg(long = "stream", value_name = "NAME", value_parser = StreamName::new)]
    streams: Vec<StreamName>,
    /// How long a worker may be silent before its work is given to another. Default: 30.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    lease: Option<u64>,
    /// For people.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
}

pub(super) async fn run(args: &CreateArgs, remote: &Remote, out: &mut dyn Write) -> Result<(), CliError> {
    let created = remote.create_subscription(&args.id, &definition(args)).await;
    match created {
        Ok(true) => writeln!(out, "created {}", shown(&args.id))?,
        Ok(false) => writeln!(out, "unchanged {}: it exists with this configuration", shown(&args.id))?,
        Err(CliError::Remote(error)) if error.status() == Some(StatusCode::CONFLICT) => {
            return Err(CliError::Usage(format!(
                "a subscription {:?} exists with another configuration, which `subscriptions show` prints; choose \
                 another id, or delete it, which forgets its cursors",
                args.id
            )));
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

fn definition(args: &CreateArgs) -> serde_json::Value {
    let mut definition = match &args.webhook {
        Some(url) => json!({ "type": "webhook", "webhook": { "url": url } }),
        None => json!({ "type": "pull-wake", "wake_stream": args.wake_stream }),
    };
    let optional = [
        ("pattern", args.pattern.as_ref().map(|pattern| json!(pattern))),
        ("streams", (!args.streams.is_empty()).then(|| json!(args.streams))),
        ("lease_ttl_ms", args.lease.map(|secs| json!(secs * 1000))),
        ("description", args.description.as_ref().map(|text| json!(text))),
    ];
    if let Some(members) = definition.as_object_mut() {
        members.extend(
            optional
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?))),
        );
    }
    definition
}
