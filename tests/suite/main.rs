//! The suite: the built server, real sockets, real files. One binary, a file for each topic.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod support;

mod acme;
mod backup;
mod bad_input;
mod caching;
mod cli;
mod clients;
mod containers;
mod control_socket;
mod damage;
mod embed;
mod events;
mod expected_offset;
mod expiry;
mod forks;
mod gate;
mod half_closed;
mod handover;
mod internal;
mod kept;
mod keys;
mod layers;
mod life;
mod limits;
mod listing;
mod memory;
mod metrics;
mod modes;
mod names;
mod offsets;
mod producers;
mod protocol;
mod proxies;
mod rails;
mod reads;
mod retention;
mod shares;
mod signals;
mod startup;
mod storage_limits;
mod storage_tools;
mod streams_cli;
mod tls;
mod transfer;
