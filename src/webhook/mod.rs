//! Calls of webhook receivers: where they may go, how they are signed, and how they are made.
//!
//! | file | contents |
//! |---|---|
//! | `config.rs`, `allowed_host.rs` | `[webhooks]` and the entries of its allow-list |
//! | `target.rs`, `addresses.rs` | which URLs and addresses webhooks may reach (section 12.8 of the protocol) |
//! | `keys.rs` | signing keys, their rotation and their JWK set (sections 6.5 and 7.1) |
//! | `deliverer.rs` | one delivery: a slot, the resolution, the check, the exchange |
//! | `slots.rs`, `resolve.rs`, `exchange.rs`, `answer.rs` | its parts |
//!
//! Receivers and the URLs of subscriptions are hostile input. A URL is checked when it is configured
//! and each of its addresses when it is connected to: a name may lead elsewhere at each resolution.

mod addresses;
mod allowed_host;
mod answer;
mod config;
mod deliverer;
mod error;
mod exchange;
mod keys;
mod resolve;
mod slots;
mod target;

#[cfg(test)]
mod tests;

/// Whether a response says `done`.
#[cfg(any(test, fuzzing))]
pub fn fuzzing_answer(status: ::http::StatusCode, body: &[u8]) -> bool {
    answer::answer(status, Some(body)) == Some(Answer::Done)
}

pub use allowed_host::AllowedHost;
pub use answer::Answer;
pub use config::WebhooksConfig;
pub use deliverer::{Deliverer, DelivererError};
pub use error::DeliveryError;
pub use keys::{KeyError, KeyRing, Seed};
pub use resolve::{Resolve, SystemResolver};
pub use slots::Slot;
pub use target::{AddressError, TargetError, TargetPolicy, WebhookUrl};
