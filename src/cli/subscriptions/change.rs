//! `subscriptions delete`, `pause` and `resume`

use std::io::Write;

use clap::Args;

use crate::cli::{
    error::CliError,
    remote::{NO_SUBSCRIPTION, Remote, RemoteArgs, shown},
};

/// Arguments of `subscriptions delete`, `pause` and `resume`.
#[derive(Debug, Args)]
pub(super) struct ChangeArgs {
    /// The subscriptions.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
}

/// A change of a subscription.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Delete,
    Pause,
    Resume,
}

impl Change {
    async fn make(self, remote: &Remote, id: &str) -> Result<(), CliError> {
        match self {
            Self::Delete => remote.delete_subscription(id).await,
            Self::Pause => remote.pause_subscription(id, true).await,
            Self::Resume => remote.pause_subscription(id, false).await,
        }
    }

    fn made(self) -> &'static str {
        match self {
            Self::Delete => "deleted",
            Self::Pause => "paused",
            Self::Resume => "resumed",
        }
    }
}

/// Changes each subscription and reports the result. Fails at once when all others would fail too.
pub(super) async fn run(
    change: Change,
    args: &ChangeArgs,
    remote: &Remote,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let made = change.made();
    let mut failed = 0;
    for id in &args.ids {
        match change.make(remote, id).await {
            Ok(()) => writeln!(out, "{made} {}", shown(id))?,
            Err(CliError::Remote(error)) if !error.is_systemic() => {
                failed += 1;
                match error.code() {
                    Some(NO_SUBSCRIPTION) => writeln!(out, "not {made} {}: there is no such subscription", shown(id))?,
                    _ => writeln!(out, "not {made} {}: {error}", shown(id))?,
                }
            }
            Err(error) => return Err(error),
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(CliError::NotAllChanged {
            made,
            changed: args.ids.len() - failed,
            failed,
        }),
    }
}
