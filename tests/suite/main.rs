//! End-to-end tests of the built server over real sockets and files, in one binary.

#![cfg(test)]
#![allow(clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod acme;
mod appends;
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
mod framing;
mod gate;
mod half_closed;
mod handover;
mod handover_transports;
mod import;
mod internal;
mod kept;
mod keys;
mod layers;
mod life;
mod limits;
mod listing;
mod long_polls;
mod memory;
mod metrics;
mod modes;
mod mtls_proxies;
mod names;
mod offsets;
mod postgres;
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
mod subscriptions;
mod subscriptions_cli;
mod systemd;
mod taking_back;
mod tls;
mod transfer;
mod webhooks;
