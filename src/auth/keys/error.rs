//! Errors of the key files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Why the keys cannot be used. Every text names the file and the remedy.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeysError {
    /// `auth.verify_key` is empty.
    #[error("auth.verify_key is not set: name a PEM file with the public key, a directory of them, or a JWKS file")]
    NotSet,
    /// `auth.issuer` or `auth.audience` has an empty entry, which an empty claim would match.
    #[error("{key} has an empty entry; give it a value, or remove it")]
    EmptyExpectation {
        /// The configuration key.
        key: &'static str,
    },
    /// The file or directory cannot be read.
    #[error("cannot read {}: {source}; auth.verify_key must name a file or directory that this user may read", .path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The file is far too large to be a key.
    #[error("{} is larger than 1 MiB and cannot be a key file; check auth.verify_key", .path.display())]
    TooLarge {
        /// The file or directory.
        path: PathBuf,
    },
    /// A directory without any `*.pem`.
    #[error("the directory {} holds no *.pem file; put the public keys there, each named <kid>.pem", .path.display())]
    EmptyDirectory {
        /// The file or directory.
        path: PathBuf,
    },
    /// Not a regular file.
    #[error("{}: this is not a regular file", .path.display())]
    NotAFile {
        /// The file or directory.
        path: PathBuf,
    },
    /// The file holds no usable public key.
    #[error("{}: {problem}", .path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// The reason, and the remedy.
        #[source]
        problem: KeyProblem,
    },
}

impl KeysError {
    /// The file or directory in question.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::NotSet | Self::EmptyExpectation { .. } => None,
            Self::Read { path, .. }
            | Self::TooLarge { path }
            | Self::EmptyDirectory { path }
            | Self::NotAFile { path }
            | Self::Unusable { path, .. } => Some(path),
        }
    }

    /// Whether the file is readable and deliberately holds no key. Any other problem may be a file
    /// that is still being written.
    pub(super) fn withdraws_all(&self) -> bool {
        matches!(
            self,
            Self::EmptyDirectory { .. }
                | Self::Unusable {
                    problem: KeyProblem::NoneUsable { .. },
                    ..
                }
        )
    }
}

/// The fault of one key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// The file is empty.
    #[error("the file is empty; write the public key there (`keys generate` makes a pair)")]
    Empty,
    /// Neither PEM nor JSON.
    #[error("this is neither PEM (`-----BEGIN PUBLIC KEY-----`) nor a JWKS (`{{\"keys\": [...]}}`)")]
    NotPem,
    /// PEM with a broken frame or body.
    #[error("the PEM block {label} is damaged: {detail}")]
    Damaged {
        /// The block's label.
        label: String,
        /// The reason.
        detail: &'static str,
    },
    /// A private key in place of a public one.
    #[error(
        "this is a private key ({label}); a verifying server must not hold it. Write its public half with \
         `openssl pkey -in signing_key.pem -pubout -out verify_key.pem` and keep the private one with the app"
    )]
    PrivateKey {
        /// The PEM label or the JWK member.
        label: String,
    },
    /// A certificate.
    #[error(
        "this is a certificate, not a public key; extract its key with \
         `openssl x509 -in cert.pem -pubkey -noout > verify_key.pem`"
    )]
    Certificate,
    /// Some other PEM block.
    #[error("this is a PEM block {label}; a `PUBLIC KEY` is needed")]
    OtherPem {
        /// The block's label.
        label: String,
    },
    /// A public key of another kind.
    #[error("this is {found} public key; tokens are signed with ES256, which needs an EC key on P-256 (prime256v1)")]
    WrongKind {
        /// The kind, with its article.
        found: String,
    },
    /// A P-256 key whose point is not on the curve.
    #[error("the public key is damaged: its point is not on P-256")]
    NotOnCurve,
    /// JSON, but not a JWKS.
    #[error("this is JSON but not a JWKS: {detail}")]
    NotJwks {
        /// The reason.
        detail: String,
    },
    /// A JWKS without a usable member.
    #[error("the JWKS holds no EC P-256 signing key{notes}")]
    NoneUsable {
        /// Why each member was left out.
        notes: String,
    },
}
