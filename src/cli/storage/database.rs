//! The commands on a database.

use std::{io::Write, path::Path};

use super::{
    StorageArgs,
    check::print_report,
    copy::{never_cancel, print_copied},
    data_dir::{DataDir, outside},
    error::StorageCommandError,
};
use crate::{
    cli::error::CliError,
    config::{Config, ConfigLoadOptions},
    startup::StartupError,
    storage::{
        StorageMode,
        postgres::tools::Database,
        tools::{Layout, database},
    },
};

/// The configured database; `None`: streams are kept elsewhere.
pub(super) fn configured(options: &ConfigLoadOptions) -> Result<Option<Database>, CliError> {
    let section = Config::load(options).map_err(StartupError::from)?.config.storage;
    match (section.mode, section.url) {
        (StorageMode::Postgres, Some(url)) => {
            let database = Database::named("storage.url", &url).map_err(StorageCommandError::Database)?;
            Ok(Some(database))
        }
        _ => Ok(None),
    }
}

/// The database that a command reads: the configured one, unless a directory is named.
pub(super) fn read(args: &StorageArgs, options: &ConfigLoadOptions) -> Result<Option<Database>, CliError> {
    match args.data_dir {
        Some(_) => Ok(None),
        None => configured(options),
    }
}

pub(super) fn check(database: &Database, out: &mut dyn Write) -> Result<u8, CliError> {
    let report = database.check().map_err(StorageCommandError::Database)?;
    let advice = "damaged: each line says what to do; docs/scaling.md describes backups";
    print_report(&report, &format!("database   {}", database.shown()), advice, out)
}

/// Copies the database to a directory.
pub(super) fn migrate_to_directory(
    source: &Database,
    to: &Path,
    layout: Layout,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let to = outside(to, None)?;
    let report = database::migrate_from_database(source, &to, layout, &mut never_cancel).map_err(|source| {
        let (command, to) = ("migration", to.display().to_string());
        StorageCommandError::Copy { command, to, source }
    })?;
    print_copied(&report, &to.display(), out)
}

/// Copies a directory to the configured database.
pub(super) fn migrate_from_directory(source: &DataDir, target: &Database, out: &mut dyn Write) -> Result<(), CliError> {
    let lock = source.lock()?;
    let report = database::migrate_to_database(&lock, target, &mut never_cancel).map_err(|source| {
        let (command, to) = ("migration", target.shown().to_owned());
        StorageCommandError::Copy { command, to, source }
    })?;
    print_copied(&report, &target.shown(), out)?;
    writeln!(
        out,
        "next       start the servers with the configuration that this command had"
    )?;
    Ok(())
}
