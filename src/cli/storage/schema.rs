//! `storage schema`: the tables and functions in PostgreSQL.

use std::io::Write;

use clap::Args;

use crate::cli::error::CliError;

/// Print the schema for PostgreSQL, for a role that may not create it itself.
///
/// A server creates its schema when it starts. Where its role has no right to do so, let an
/// administrator run this output with psql, at the first installation and before the first start of
/// a new release, with that release's binary.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// The role that the servers connect as. The output grants it what they need, and nothing else.
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
}

pub(super) fn run(args: &SchemaArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let schema = crate::storage::postgres::schema(args.role.as_deref());
    Ok(out.write_all(schema.as_bytes())?)
}
