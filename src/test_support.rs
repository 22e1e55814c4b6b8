//! Helpers that the unit tests share with the suite.

#[path = "../tests/suite/support/hostile/mod.rs"]
pub(crate) mod hostile;
#[path = "../tests/suite/support/tokens.rs"]
pub(crate) mod tokens;
