//! `streams list`

use std::io::{BufWriter, Write};

use clap::Args;
use serde_json::Value;

use super::format::{lifetime, text};
use crate::cli::{
    archive::write,
    error::CliError,
    remote::{Listed, Pages, Remote, RemoteArgs, shown},
};

/// Arguments of `streams list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only streams whose names begin with this, such as gid://app/Room/
    prefix: Option<String>,
    /// Print a JSON object for each stream, on a line of its own.
    #[arg(long)]
    json: bool,
    /// Stop after this many streams. Default: all.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
}

pub(super) async fn run(args: &ListArgs, remote: &Remote, out: &mut dyn Write) -> Result<(), CliError> {
    let mut out = BufWriter::new(out);
    let mut pages = Pages::new(args.prefix.as_deref(), args.limit);
    while let Some(page) = pages.next(remote).await? {
        for listed in &page {
            match args.json {
                true => write(&mut out, listed)?,
                false => line(listed, &mut out)?,
            }
        }
        // A reader of a long list sees each page at once.
        out.flush()?;
    }
    Ok(())
}

fn line(listed: &Listed, out: &mut dyn Write) -> std::io::Result<()> {
    let members = &listed.members;
    let closed = members.get("closed").and_then(Value::as_bool).unwrap_or_default();
    let ttl_seconds = members.get("ttl_seconds").and_then(Value::as_u64);
    writeln!(
        out,
        "{}  {:<6}  {:<12}  {:<24}  {}",
        shown(text(members, "offset").unwrap_or_default()),
        if closed { "closed" } else { "open" },
        lifetime(ttl_seconds, text(members, "expires_at")),
        shown(text(members, "content_type").unwrap_or_default()),
        listed.name
    )
}
