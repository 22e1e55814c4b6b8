//! Tokens, requests and random numbers shared by the unit tests and the integration tests.

#![allow(dead_code, missing_docs)]

pub mod hostile;
pub mod postgres;
pub mod rng;
pub mod tokens;
