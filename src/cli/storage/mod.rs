//! `storage`: commands for a data directory or a database.

mod backup;
mod check;
mod copy;
mod data_dir;
#[cfg(feature = "postgres")]
mod database;
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

/// Check, repair, convert or back up a data directory; check or convert a database.
///
/// The directory is the configuration's storage.data_dir, or --data-dir. Run these commands as the
/// server's user, so that the server can access the files. None of them changes the directory that
/// it reads. With storage.mode postgres, check and migrate work on the database of storage.url.
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
    let data_dir = || DataDir::find(args.data_dir.as_deref(), options);
    match &args.command {
        StorageCommand::Check(_) => {
            #[cfg(feature = "postgres")]
            if let Some(database) = database::read(args, options)? {
                return database::check(&database, out);
            }
            check::run(&data_dir()?, out)
        }
        StorageCommand::Repair(repair) => repair::run(repair, &data_dir()?, out).map(|()| 0),
        StorageCommand::Migrate(migrate) => migrate::run(migrate, args, options, out).map(|()| 0),
        StorageCommand::Backup(backup) => backup::run(backup, &data_dir()?, out).map(|()| 0),
        #[cfg(feature = "postgres")]
        StorageCommand::Schema(schema) => schema::run(schema, out).map(|()| 0),
    }
}
