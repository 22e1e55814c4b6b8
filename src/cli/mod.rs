//! The command line: one file for each command.
//!
//! Commands write to an `out` that they are given, so that tests can read it.

mod archive;
mod check;
mod config;
mod config_args;
mod count;
pub(crate) mod error;
mod explain;
mod export;
mod first_line;
mod healthcheck;
mod import;
mod keys;
mod plain_listener;
mod remote;
pub(crate) mod run;
mod signing;
mod storage;
mod streams;
mod subscriptions;
mod token;

#[cfg(test)]
mod tests;
