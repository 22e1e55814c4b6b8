//! A client of a running server, for the commands about its streams.

mod args;
mod client;
mod credentials;
pub(super) mod error;
mod operations;
mod pages;
mod subscriptions;
mod types;

pub(super) use args::{RemoteArgs, Selection};
pub(super) use client::Remote;
pub(super) use error::{RemoteError, shown};
pub(super) use pages::Pages;
pub(super) use subscriptions::NO_SUBSCRIPTION;
pub(super) use types::{Batch, Chunk, Created, Form, Listed, Metadata, ProducerState, Stamp};

#[cfg(test)]
mod tests;
