//! `streams show`

use std::io::Write;

use clap::Args;
use http::StatusCode;
use serde_json::{Map, Value};

use super::format::{lifetime, text};
use crate::{
    cli::{
        archive::write,
        error::CliError,
        remote::{Listed, Remote, RemoteArgs, shown},
    },
    protocol::StreamName,
};

/// Arguments of `streams show`.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The stream.
    #[arg(value_parser = StreamName::new)]
    name: StreamName,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
}

pub(super) async fn run(args: &ShowArgs, remote: &Remote, out: &mut dyn Write) -> Result<(), CliError> {
    let metadata = remote.metadata(&args.name).await.map_err(|error| match error {
        CliError::Remote(error) if error.status() == Some(StatusCode::NOT_FOUND) => {
            CliError::NoSuchStream(args.name.clone())
        }
        error => error,
    })?;
    let listed = listed(remote, &args.name).await;
    let origin = ["forked_from", "fork_offset"].map(|member| (member, listed.get(member).cloned()));
    if args.json {
        let mut members = match serde_json::to_value(&metadata) {
            Ok(Value::Object(members)) => members,
            _ => Map::new(),
        };
        members.extend(
            origin
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?))),
        );
        let name = args.name.clone();
        return Ok(write(out, &Listed { name, members })?);
    }
    let lifetime = lifetime(metadata.ttl_seconds, metadata.expires_at.as_deref());
    let state = if metadata.closed { "closed" } else { "open" };
    let fork = text(&listed, "forked_from").zip(text(&listed, "fork_offset"));
    let lines = [
        ("name", Some(args.name.as_str().to_owned())),
        ("type", Some(metadata.content_type)),
        ("tail", Some(metadata.offset)),
        ("earliest", metadata.earliest_offset),
        ("state", Some(state.to_owned())),
        ("lifetime", Some(lifetime)),
        ("keeps", metadata.retention_age_seconds.map(|secs| format!("{secs}s"))),
        ("keeps", metadata.retention_bytes.map(|bytes| format!("{bytes} bytes"))),
        ("fork of", fork.map(|(from, at)| format!("{from} at {at}"))),
    ];
    for (label, value) in lines {
        if let Some(value) = value {
            writeln!(out, "{label:<8}  {}", shown(&value))?;
        }
    }
    Ok(())
}

/// The members that only the list has. Empty for a client's token, which may not list.
async fn listed(remote: &Remote, name: &StreamName) -> Map<String, Value> {
    // A name sorts before all longer names that begin with it.
    let page = remote.list(name.as_str(), None, 1).await;
    let first = page.ok().and_then(|page| page.streams.into_iter().next());
    first
        .filter(|listed| listed.name == *name)
        .map(|listed| listed.members)
        .unwrap_or_default()
}
