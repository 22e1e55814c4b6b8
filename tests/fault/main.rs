//! Fault injection: the built server, killed, replaced under load, on full or read-only disks, and
//! without descriptors.
//! `bin/torture` runs the same for longer.

#![cfg(test)]
#![allow(clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod churn;
mod deploys;
mod descriptors;
mod disks;
mod full;
mod kills;
mod owned;
mod read_only;
mod shared;
mod subscriptions;

use support::server::{Server, Setup};

/// The persistent modes.
const PERSISTENT: [&str; 3] = ["acid", "file-fast", "file-durable"];

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

/// The whole stream, and the offset after it.
#[track_caller]
fn read_all(server: &Server, name: &str) -> (Vec<u8>, String) {
    let (mut content, mut offset) = (Vec::new(), "-1".to_owned());
    loop {
        let answer = server.get(&format!("{name}?offset={offset}")).send().expect(200);
        let json = answer.header("content-type") == Some("application/json");
        let body = if json {
            &answer.body[1..answer.body.len() - 1]
        } else {
            &answer.body
        };
        if json && !content.is_empty() && !body.is_empty() {
            content.push(b',');
        }
        content.extend_from_slice(body);
        let next = answer.next_offset();
        assert!(
            offset == "-1" || offset <= next,
            "{name}: the offset went back from {offset} to {next}"
        );
        offset = next;
        if answer.header("stream-up-to-date").is_some() {
            return (content, offset);
        }
    }
}
