//! Many clients, several servers, faults: every history must be one that a single server without
//! faults could have given. `bin/torture linear` and `bin/torture cluster` run the same for longer.

#![cfg(test)]
#![allow(clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod caller;
mod checker;
mod client;
mod fleet;
mod history;
mod linear;
mod messages;
mod reader;
mod round;
mod shared;

/// An amount of work, from the environment or the default.
fn amount(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}: {text:?} is not a number"))
    })
}

/// `DS_TEST_SEED`, or one from the clock.
fn seed() -> u64 {
    amount("DS_TEST_SEED", support::now() * 1_000_003)
}
