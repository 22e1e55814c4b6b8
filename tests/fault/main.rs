//! Storage under fire: the built server, killed, without room, without permission, without
//! descriptors, and worn out. `bin/torture` runs the same for longer.

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

#[path = "../suite/support/mod.rs"]
mod support;

mod churn;
mod descriptors;
mod disks;
mod full;
mod kills;
mod owned;
mod read_only;
mod rng;
mod shared;

use support::server::{Server, Setup};

/// The modes that keep what they acknowledged.
const PERSISTENT: [&str; 3] = ["acid", "file-fast", "file-durable"];

/// How much is to be done, where the environment says so.
fn amount(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}: {text:?} is no number"))
    })
}

/// All of a stream, however many answers it takes, and the offset behind it.
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
