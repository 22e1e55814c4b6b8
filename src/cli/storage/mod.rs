//! `storage`: commands for a data directory.

mod backup;
mod check;
mod copy;
mod data_dir;
pub(super) mod error;
mod migrate;
mod repair;
#[cfg(feature = "postgres")]
mod schema;

use std::{io::Write, path::PathBuf};

use clap::{Args, Subcommand};

use self::data_dir::DataDir;
use super::error::CliError;
use crate::config::ConfigLoadOptions;

/// Check, repair, convert or back up a data directory.
///
/// The directory is the configuration's storage.data_dir, or --data-dir. Run these commands as the
/// server's user, so that the server can access the files. None of them changes the directory that
/// it reads.
#[derive(Debug, Args)]
pub struct StorageArgs {
    /// The data directory. Default: the configuration's storage.data_dir.
    #[arg(long, global = true, value_name = "PATH")]
    pub data_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: StorageCommand,
}

#[derive(Debug, Subcommand)]
enum StorageCommand {
    Check(check::CheckArgs),
    Repair(repair::RepairArgs),
    Migrate(migrate::MigrateArgs),
    Backup(backup::BackupArgs),
    #[cfg(feature = "postgres")]
    Schema(schema::SchemaArgs),
}

/// Runs `storage` and returns the exit code.
///
/// # Errors
/// [`CliError`]
pub fn run(args: &StorageArgs, options: &ConfigLoadOptions, out: &mut dyn Write) -> Result<u8, CliError> {
    #[cfg(feature = "postgres")]
    if let StorageCommand::Schema(_) = args.command {
        return schema::run(out).map(|()| 0);
    }
    let data_dir = DataDir::find(args.data_dir.as_deref(), options)?;
    match &args.command {
        StorageCommand::Check(_) => check::run(&data_dir, out),
        StorageCommand::Repair(args) => repair::run(args, &data_dir, out).map(|()| 0),
        StorageCommand::Migrate(args) => migrate::run(args, &data_dir, out).map(|()| 0),
        StorageCommand::Backup(args) => backup::run(args, &data_dir, out).map(|()| 0),
        #[cfg(feature = "postgres")]
        StorageCommand::Schema(_) => Ok(0),
    }
}
