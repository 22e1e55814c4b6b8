use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Why the keys cannot be used. Every text names the file and what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeysError {
    /// `auth.verify_key` is empty.
    #[error("auth.verify_key is not set: name a PEM file with the public key, a directory of them, or a JWKS file")]
    NotSet,
    /// `auth.issuer` or `auth.audience` has an empty entry, which a token without a real one
    /// could equal.
    #[error("{key} has an empty entry; give it a value, or remove it")]
    EmptyExpectation {
        /// Which key.
        key: &'static str,
    },
    /// The file or directory cannot be read.
    #[error("cannot read {}: {source}; auth.verify_key must name a file or directory that this user may read", .path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// The system's error.
        source: Arc<std::io::Error>,
    },
    /// The file is far too large to be a key.
    #[error("{} is larger than 1 MiB, which no key file is; check auth.verify_key", .path.display())]
    TooLarge {
        /// Which one.
        path: PathBuf,
    },
    /// A directory without any `*.pem`.
    #[error("the directory {} holds no *.pem file; put the public keys there, each named <kid>.pem", .path.display())]
    EmptyDirectory {
        /// Which one.
        path: PathBuf,
    },
    /// A name in the directory that is no regular file.
    #[error("{}: this is not a regular file", .path.display())]
    NotAFile {
        /// Which one.
        path: PathBuf,
    },
    /// A file that is no usable public key.
    #[error("{}: {problem}", .path.display())]
    Unusable {
        /// Which one.
        path: PathBuf,
        /// The kind of file, and the remedy.
        problem: KeyProblem,
    },
}

impl KeysError {
    /// The file or directory that it is about.
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

    /// Whether the file was read and says by itself that no key counts. Any other problem may be
    /// a file that is just being written.
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
    /// Nothing in it.
    #[error("the file is empty; write the public key there (`keys generate` makes a pair)")]
    Empty,
    /// Neither PEM nor JSON.
    #[error("this is neither PEM (`-----BEGIN PUBLIC KEY-----`) nor a JWKS (`{{\"keys\": [...]}}`)")]
    NoPem,
    /// PEM whose frame or base64 is broken.
    #[error("the PEM block {label} is damaged: {detail}")]
    Damaged {
        /// The block's label.
        label: String,
        /// The reason.
        detail: &'static str,
    },
    /// A private key where a public one belongs.
    #[error(
        "this is a private key ({label}); a verifying server must not hold it. Write its public half with \
         `openssl pkey -in signing_key.pem -pubout -out verify_key.pem` and keep the private one with the app"
    )]
    PrivateKey {
        /// The PEM label, or the JWK member that gave it away.
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
        /// Which kind, with its article.
        found: String,
    },
    /// A P-256 key whose point is not on the curve, or not one at all.
    #[error("the public key is damaged: its point is not on P-256")]
    NotOnCurve,
    /// JSON that is no JWKS.
    #[error("this is JSON but no JWKS: {detail}")]
    NotJwks {
        /// What is missing.
        detail: String,
    },
    /// A JWKS in which no entry can be used.
    #[error("the JWKS holds no EC P-256 signing key{notes}")]
    NoneUsable {
        /// Why each entry was left out.
        notes: String,
    },
}
