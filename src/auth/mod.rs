//! Authentication and authorization: keys, token verification, rules.
//!
//! Nothing here knows HTTP, except [`candidates`], which finds the tokens of a request.

mod authenticator;
mod cache;
mod candidates;
mod config;
pub mod keys;
mod principal;
mod rules;
mod throttle;
pub mod token;
mod watch;

pub use authenticator::{Authenticator, Unverified};
pub use candidates::candidates;
pub use config::{AuthConfig, AuthMode};
pub use keys::{KeySet, KeysError};
pub use principal::{Principal, Verified, WriterDigest};
pub(crate) use rules::OpenServer;
pub use rules::{Denied, Permit, authorize, is_own};
pub(crate) use throttle::{Charge, FailedChecks, Rate};
pub use token::TokenError;

#[cfg(test)]
mod tests;
