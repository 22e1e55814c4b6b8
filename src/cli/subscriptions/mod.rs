//! `subscriptions`: list, show, create, delete, pause and resume.

mod change;
mod create;
mod list;
mod show;

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::{
    error::CliError,
    remote::{Remote, RemoteArgs},
};

/// List, show, create, delete, pause and resume the subscriptions of a running server.
#[derive(Debug, Args)]
pub struct SubscriptionsArgs {
    #[command(subcommand)]
    command: SubscriptionsCommand,
}

#[derive(Debug, Subcommand)]
enum SubscriptionsCommand {
    /// List subscriptions by id: state, type, pending streams and id.
    List(list::ListArgs),
    /// Show a subscription with the cursor of each of its streams.
    Show(show::ShowArgs),
    /// Create a subscription, or confirm that it exists with this configuration.
    Create(create::CreateArgs),
    /// Delete subscriptions and their cursors for good. Exit 1 if one was not deleted.
    Delete(change::ChangeArgs),
    /// Stop wakes of subscriptions. Cursors stay. Exit 1 if one was not paused.
    Pause(change::ChangeArgs),
    /// Wake the workers of paused subscriptions again. Exit 1 if one was not resumed.
    Resume(change::ChangeArgs),
}

impl SubscriptionsArgs {
    pub(super) fn remote(&self) -> &RemoteArgs {
        match &self.command {
            SubscriptionsCommand::List(args) => &args.remote,
            SubscriptionsCommand::Show(args) => &args.remote,
            SubscriptionsCommand::Create(args) => &args.remote,
            SubscriptionsCommand::Delete(args)
            | SubscriptionsCommand::Pause(args)
            | SubscriptionsCommand::Resume(args) => &args.remote,
        }
    }
}

/// Runs `subscriptions`.
///
/// # Errors
/// [`CliError`]
pub async fn run(args: &SubscriptionsArgs, remote: &Remote, out: &mut dyn Write) -> Result<(), CliError> {
    match &args.command {
        SubscriptionsCommand::List(args) => CliError::ignore_broken_pipe(list::run(args, remote, out).await),
        SubscriptionsCommand::Show(args) => CliError::ignore_broken_pipe(show::run(args, remote, out).await),
        SubscriptionsCommand::Create(args) => create::run(args, remote, out).await,
        SubscriptionsCommand::Delete(args) => change::run(change::Change::Delete, args, remote, out).await,
        SubscriptionsCommand::Pause(args) => change::run(change::Change::Pause, args, remote, out).await,
        SubscriptionsCommand::Resume(args) => change::run(change::Change::Resume, args, remote, out).await,
    }
}

/// `paused`, or the subscription's status: `active`, or `failed` while a delivery is to be repeated.
fn state(subscription: &Map<String, Value>) -> &str {
    match subscription.get("paused").and_then(Value::as_bool) {
        Some(true) => "paused",
        _ => text(subscription, "status").unwrap_or("active"),
    }
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    members.get(name).and_then(Value::as_str)
}
