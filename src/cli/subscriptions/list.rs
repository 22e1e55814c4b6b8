//! `subscriptions list`

use std::io::{BufWriter, Write};

use clap::Args;
use serde_json::{Map, Value};

use super::{state, text};
use crate::cli::{
    archive::write,
    error::CliError,
    remote::{Remote, RemoteArgs, shown},
};

const PAGE: usize = 1000;

/// Arguments of `subscriptions list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Print a JSON object for each subscription, on a line of its own.
    #[arg(long)]
    json: bool,
    /// Stop after this many subscriptions. Default: all.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
}

pub(super) async fn run(args: &ListArgs, remote: &Remote, out: &mut dyn Write) -> Result<(), CliError> {
    let mut out = BufWriter::new(out);
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut after = None;
    while left > 0 {
        let page = remote.subscriptions(after.as_deref(), left.min(PAGE)).await?;
        for subscription in page.subscriptions.iter().take(left) {
            match args.json {
                true => write(&mut out, subscription)?,
                false => line(subscription, &mut out)?,
            }
        }
        // A reader of a long list sees each page at once.
        out.flush()?;
        left = left.saturating_sub(page.subscriptions.len());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(())
}

fn line(subscription: &Map<String, Value>, out: &mut dyn Write) -> std::io::Result<()> {
    let pending = subscription
        .get("pending_streams")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    writeln!(
        out,
        "{:<6}  {:<9}  {pending:>7} pending  {}",
        shown(state(subscription)),
        shown(text(subscription, "type").unwrap_or_default()),
        shown(text(subscription, "id").unwrap_or_default()),
    )
}
