//! `streams`: list, show and delete.

mod delete;
mod format;
mod list;
mod show;

use std::io::Write;

use clap::{Args, Subcommand};

use super::{
    error::CliError,
    remote::{Remote, RemoteArgs},
};

/// List, show and delete the streams of a running server.
#[derive(Debug, Args)]
pub struct StreamsArgs {
    #[command(subcommand)]
    command: StreamsCommand,
}

#[derive(Debug, Subcommand)]
enum StreamsCommand {
    /// List streams by name: tail, state, lifetime, type and name.
    List(list::ListArgs),
    /// Show everything about a stream except its content.
    Show(show::ShowArgs),
    /// Delete streams for good. Exit 1 if one was not deleted.
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
        StreamsCommand::List(args) => CliError::ignore_broken_pipe(list::run(args, remote, out).await),
        StreamsCommand::Show(args) => CliError::ignore_broken_pipe(show::run(args, remote, out).await),
        StreamsCommand::Delete(args) => delete::run(args, remote, out).await,
    }
}
