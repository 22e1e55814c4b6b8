//! `storage schema`: the tables and functions in PostgreSQL.

use std::io::Write;

use clap::Args;

use crate::cli::error::CliError;

/// Print the schema for PostgreSQL, for a role that may not create it itself.
///
/// A server creates its schema when it starts. Where its role has no right to do so, let an
/// administrator run this output with psql, and grant the role usage of the schema durable_streams,
/// all rights to its tables, and the execution of its functions.
#[derive(Debug, Args)]
pub struct SchemaArgs;

pub(super) fn run(out: &mut dyn Write) -> Result<(), CliError> {
    Ok(out.write_all(crate::storage::postgres::schema().as_bytes())?)
}
