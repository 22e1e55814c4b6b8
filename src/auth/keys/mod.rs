//! The public keys that verify tokens.
//!
//! `auth.verify_key` is a PEM file with one or several P-256 public keys, a directory of `*.pem`
//! files, or a JWKS file (RFC 7517). A key's `kid` is its file's stem in a directory, its `kid`
//! member in a JWKS, and otherwise its RFC 7638 thumbprint.

mod error;
mod files;
mod jwks;
mod key_set;
pub(crate) mod pem;
mod verify_key;

pub use error::KeysError;
pub use files::KeyFiles;
pub use key_set::KeySet;
pub use verify_key::VerifyKey;
pub(crate) use verify_key::thumbprint;

#[cfg(test)]
mod tests;
