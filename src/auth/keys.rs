//! The public keys that tokens are verified with.
//!
//! `auth.verify_key` is a PEM file with one or several P-256 public keys, a
//! directory of `*.pem` files, or a JWKS file (DESIGN section 4). A key's `kid`
//! is its file's stem in a directory, what the JWKS says, or else its RFC 7638
//! thumbprint.

mod files;
mod jwks;
pub(crate) mod pem;

use std::path::{Path, PathBuf};

use aws_lc_rs::{
    digest,
    signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::TokenError;

pub use files::KeyFiles;

/// Why the keys cannot be used. Every text names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// `auth.verify_key` is empty.
    #[error("auth.verify_key is not set: name a PEM file with the public key, a directory of them, or a JWKS file")]
    NotSet,
    /// The file or directory cannot be read.
    #[error("cannot read {}: {source}; auth.verify_key must name a file or directory that this user may read", .path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
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
    /// A file that is no usable public key.
    #[error("{}: {problem}", .path.display())]
    Unusable {
        /// Which one.
        path: PathBuf,
        /// What it is, and what to do.
        problem: KeyProblem,
    },
}

/// What is wrong with one key file.
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
        /// What the block calls itself.
        label: String,
        /// What is wrong with it.
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
        /// What the block calls itself.
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

/// One public key.
pub struct VerifyKey {
    kid: String,
    thumbprint: String,
    source: PathBuf,
    key: ParsedPublicKey,
}

impl VerifyKey {
    /// From an uncompressed or compressed SEC1 point.
    fn from_point(kid: Option<String>, point: &[u8], source: &Path) -> Result<Self, KeyProblem> {
        // p256 checks that the point is on the curve and not the identity.
        let public = p256::PublicKey::from_sec1_bytes(point).map_err(|_| KeyProblem::NotOnCurve)?;
        let point = public.to_sec1_bytes();
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).map_err(|_| KeyProblem::NotOnCurve)?;
        let thumbprint = thumbprint(&point);
        Ok(Self {
            kid: kid.unwrap_or_else(|| thumbprint.clone()),
            thumbprint,
            source: source.to_owned(),
            key,
        })
    }

    /// The name by which a token's header may ask for it.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The RFC 7638 thumbprint.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// The file that it comes from.
    #[must_use]
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Whether `signature` (r and s, 32 bytes each) is this key's over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        signature.len() == 64 && self.key.verify_sig(message, signature).is_ok()
    }
}

/// The RFC 7638 SHA-256 thumbprint of an uncompressed P-256 point.
pub(crate) fn thumbprint(point: &[u8]) -> String {
    let encoded = |range| URL_SAFE_NO_PAD.encode(point.get(range).unwrap_or_default());
    let canonical = format!(
        r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
        encoded(1..33),
        encoded(33..65)
    );
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

/// All keys that a token may be signed with; never empty.
pub struct KeySet {
    keys: Vec<VerifyKey>,
    notes: Vec<String>,
}

impl KeySet {
    /// Reads what `path` names.
    ///
    /// # Errors
    /// [`KeysError`], which names the file and what to do.
    pub fn load(path: &Path) -> Result<Self, KeysError> {
        Self::parse(&KeyFiles::read(path)?)
    }

    /// The keys in files that were read already.
    ///
    /// # Errors
    /// [`KeysError`], which names the file and what to do.
    pub fn parse(files: &KeyFiles) -> Result<Self, KeysError> {
        let mut set = Self {
            keys: Vec::new(),
            notes: Vec::new(),
        };
        for (path, bytes) in files.iter() {
            let kid = files.is_directory().then(|| stem(path)).flatten();
            set.add_file(path, kid.as_deref(), bytes)
                .map_err(|problem| KeysError::Unusable {
                    path: path.to_owned(),
                    problem,
                })?;
        }
        Ok(set)
    }

    fn add_file(&mut self, path: &Path, kid: Option<&str>, bytes: &[u8]) -> Result<(), KeyProblem> {
        let text = std::str::from_utf8(bytes).map_err(|_| KeyProblem::NoPem)?;
        let text = text.trim_start_matches('\u{feff}');
        if text.trim().is_empty() {
            return Err(KeyProblem::Empty);
        }
        if text.trim_start().starts_with(['{', '[']) {
            return jwks::read(text, path, self);
        }
        for point in pem::public_points(text)? {
            self.keys
                .push(VerifyKey::from_point(kid.map(str::to_owned), &point, path)?);
        }
        Ok(())
    }

    /// The keys that a token with this `kid` in its header may be signed with.
    ///
    /// With a single key an unknown `kid` is tried against it; with several it is refused. A
    /// token without `kid` is tried against each.
    pub(super) fn for_kid<'a>(&'a self, kid: Option<&str>) -> Result<Vec<&'a VerifyKey>, TokenError> {
        let all = || self.keys.iter().collect();
        let Some(kid) = kid else { return Ok(all()) };
        let named: Vec<_> = self.keys.iter().filter(|key| key.kid == kid).collect();
        match (named.is_empty(), self.keys.len()) {
            (false, _) => Ok(named),
            (true, 1) => Ok(all()),
            (true, _) => Err(TokenError::UnknownKey),
        }
    }

    /// The keys, in the order of their files.
    #[must_use]
    pub fn keys(&self) -> &[VerifyKey] {
        &self.keys
    }

    /// What was left out, for the log.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether both sets verify the same tokens.
    pub(super) fn same_keys(&self, other: &Self) -> bool {
        let names = |set: &Self| {
            let mut names: Vec<_> = set
                .keys
                .iter()
                .map(|key| (key.kid.clone(), key.thumbprint.clone()))
                .collect();
            names.sort_unstable();
            names
        };
        names(self) == names(other)
    }
}

fn stem(path: &Path) -> Option<String> {
    Some(path.file_stem()?.to_string_lossy().into_owned())
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.kid)).finish()
    }
}

#[cfg(test)]
mod tests;
