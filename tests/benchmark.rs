//! Runs the unit tests of the benchmark `side_by_side`, which has a `main` of its own.

#![allow(missing_docs, unreachable_pub, dead_code)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    clippy::unwrap_used
)]

#[path = "../benches/side_by_side/machine.rs"]
mod machine;
#[path = "../benches/side_by_side/statistics.rs"]
mod statistics;
