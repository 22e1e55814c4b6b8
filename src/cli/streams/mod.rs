//! `streams list`, `streams show`, `streams delete`

mod delete;
mod list;
mod show;

use std::{fmt, io::Write};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    CliError,
    remote::{Listed, Remote, RemoteArgs, shown},
};

/// How many streams are asked for at once.
const PAGE: usize = 1000;

/// List, show and delete the streams of a running server.
#[derive(Debug, Args)]
pub struct StreamsArgs {
    #[command(subcommand)]
    command: StreamsCommand,
}

#[derive(Debug, Subcommand)]
enum StreamsCommand {
    /// List streams in the order of their names: tail, state, lifetime, type and name.
    List(list::ListArgs),
    /// Say what is known of a stream besides its content.
    Show(show::ShowArgs),
    /// Delete streams, for good. Exit 1 if any of them was not deleted.
    Delete(delete::DeleteArgs),
}

impl StreamsArgs {
    pub(super) fn remote(&self) -> &RemoteArgs {
        match &self.command {
            StreamsCommand::List(args) => &args.remote,
            StreamsCommand::Show(args) => &args.remote,
            StreamsCommand::Delete(args) => &args.remote,
        }
    }
}

/// Runs `streams`.
///
/// # Errors
/// [`CliError`]
pub async fn run(args: &StreamsArgs, remote: &Remote, out: &mut dyn Write) -> Result<(), CliError> {
    match &args.command {
        StreamsCommand::List(args) => CliError::or_enough_read(list::run(args, remote, out).await),
        StreamsCommand::Show(args) => CliError::or_enough_read(show::run(args, remote, out).await),
        StreamsCommand::Delete(args) => delete::run(args, remote, out).await,
    }
}

/// The list of streams, page by page.
pub(super) struct Pages<'p> {
    prefix: &'p str,
    after: Option<String>,
    /// How many more are wanted.
    left: Option<usize>,
    ended: bool,
}

impl<'p> Pages<'p> {
    pub(super) fn new(prefix: Option<&'p str>, limit: Option<usize>) -> Self {
        Self {
            prefix: prefix.unwrap_or_default(),
            after: None,
            left: limit,
            ended: false,
        }
    }

    /// The next page, which may be empty; `None` after the last.
    pub(super) async fn next(&mut self, remote: &Remote) -> Result<Option<Vec<Listed>>, CliError> {
        let wanted = self.left.unwrap_or(PAGE).min(PAGE);
        if self.ended || wanted == 0 {
            return Ok(None);
        }
        let mut page = remote.list(self.prefix, self.after.as_deref(), wanted).await?;
        page.streams.truncate(wanted);
        self.left = self.left.map(|left| left - page.streams.len());
        self.ended = page.next.is_none();
        self.after = page.next;
        Ok(Some(page.streams))
    }
}

/// So many streams, in words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count(pub(super) u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, if self.0 == 1 { "stream" } else { "streams" })
    }
}

/// How long a stream lives, in words, of the members `ttl_seconds` and `expires_at`.
fn lifetime(ttl_seconds: Option<u64>, expires_at: Option<&str>) -> String {
    match (ttl_seconds, expires_at) {
        (Some(secs), _) => format!("ttl {secs}s"),
        (None, Some(at)) => format!("until {}", shown(at)),
        (None, None) => "unlimited".into(),
    }
}

/// A member that is text.
fn text<'m>(members: &'m serde_json::Map<String, Value>, name: &str) -> Option<&'m str> {
    members.get(name).and_then(Value::as_str)
}
