//! The public keys that tokens are verified with.
//!
//! `auth.verify_key` is a PEM file with one or several P-256 public keys, a
//! directory of `*.pem` files, or a JWKS file (RFC 7517). A key's `kid` is its
//! file's stem in a directory, what the JWKS says, or else its RFC 7638
//! thumbprint.
//!
//! A file, PEM block or JWKS member that cannot be used is left out with a note
//! as long as the others give a key.

mod error;
mod files;
mod jwks;
pub(crate) mod pem;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::{
    digest,
    signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio_util::sync::CancellationToken;

use super::TokenError;

pub use error::{KeyProblem, KeysError};
pub use files::KeyFiles;

/// The most keys that one token is checked against: those of its `kid`, or all keys for a token
/// without one. A signature check costs as much as a whole request.
pub(crate) const MAX_KEYS_TRIED: usize = 4;

/// One public key.
pub struct VerifyKey {
    kid: String,
    thumbprint: String,
    source: PathBuf,
    key: ParsedPublicKey,
    withdrawn: CancellationToken,
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
            withdrawn: CancellationToken::new(),
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

    /// Cancelled when the key is no longer among the configured ones.
    #[must_use]
    pub fn withdrawn(&self) -> &CancellationToken {
        &self.withdrawn
    }

    fn is_same(&self, other: &Self) -> bool {
        self.kid == other.kid && self.thumbprint == other.thumbprint
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

/// All keys that a token may be signed with. Empty only when every key was withdrawn from a
/// running server.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<Arc<VerifyKey>>,
    notes: Vec<String>,
    problems: Vec<KeysError>,
}

impl KeySet {
    /// Reads what `path` names.
    ///
    /// # Errors
    /// [`KeysError`], which names the file and what to do, when there is no key.
    pub fn load(path: &Path) -> Result<Self, KeysError> {
        Self::parse(&KeyFiles::read(path)?)
    }

    /// The keys in files that were read already.
    ///
    /// # Errors
    /// [`KeysError`], which names the file and what to do, when there is no key.
    pub fn parse(files: &KeyFiles) -> Result<Self, KeysError> {
        let mut set = Self::gather(files);
        if set.keys.is_empty() && !set.problems.is_empty() {
            return Err(set.problems.swap_remove(0));
        }
        Ok(set)
    }

    /// The keys that count after `self` when the files are now `files`. A key that is in both
    /// stays the same object. A file that is there and cannot be used keeps the keys it had; a
    /// file that is gone, or an empty JWKS or directory, takes its keys along.
    pub(super) fn renewed(&self, files: &KeyFiles) -> Self {
        let mut set = Self::gather(files);
        for key in &mut set.keys {
            if let Some(same) = self
                .keys
                .iter()
                .find(|old| old.is_same(key) && old.source == key.source)
            {
                *key = Arc::clone(same);
            }
        }
        for problem in &set.problems {
            if problem.withdraws_all() {
                continue;
            }
            let path = problem.path();
            let kept = self.keys.iter().filter(|old| path == Some(old.source()));
            let kept: Vec<_> = kept
                .filter(|old| !set.keys.iter().any(|key| key.is_same(old)))
                .cloned()
                .collect();
            set.keys.extend(kept);
        }
        set
    }

    fn gather(files: &KeyFiles) -> Self {
        let mut set = Self::default();
        if files.is_empty() {
            let path = files.path().to_owned();
            set.problems.push(KeysError::EmptyDirectory { path });
        }
        for (path, content) in files.iter() {
            let kid = files.is_directory().then(|| stem(path)).flatten();
            let added = content.and_then(|bytes| {
                set.add_file(path, kid.as_deref(), bytes)
                    .map_err(|problem| KeysError::Unusable {
                        path: path.to_owned(),
                        problem,
                    })
            });
            set.problems.extend(added.err());
        }
        set
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
        let found = pem::public_points(text)?.into_iter().map(|point| {
            let point = point?;
            VerifyKey::from_point(kid.map(str::to_owned), &point, path)
        });
        let (good, bad): (Vec<_>, Vec<_>) = found.partition(Result::is_ok);
        let mut bad = bad.into_iter().filter_map(Result::err);
        if good.is_empty() {
            return Err(bad.next().unwrap_or(KeyProblem::NoPem));
        }
        let notes = bad.map(|problem| format!("{}: a key is left out: {problem}", path.display()));
        self.notes.extend(notes);
        good.into_iter().flatten().for_each(|key| self.add(key));
        Ok(())
    }

    /// Adds a key, unless it is there already or too many have its `kid`.
    fn add(&mut self, key: VerifyKey) {
        let name = format!("{}: the key {:?}", key.source.display(), key.kid);
        if self.keys.iter().any(|other| other.is_same(&key)) {
            self.notes.push(format!("{name} is there twice"));
        } else if self.keys.iter().filter(|other| other.kid == key.kid).count() >= MAX_KEYS_TRIED {
            let note = format!("{name} is left out: {MAX_KEYS_TRIED} keys have this kid already; give each its own");
            self.notes.push(note);
        } else {
            self.keys.push(Arc::new(key));
        }
    }

    /// The keys that a token with this `kid` in its header may be signed with, at most
    /// [`MAX_KEYS_TRIED`].
    ///
    /// With a single key an unknown `kid` is tried against it; with several it is refused. A
    /// token without `kid` is tried against each, unless there are too many to try.
    pub(super) fn for_kid<'a>(&'a self, kid: Option<&str>) -> Result<Vec<&'a Arc<VerifyKey>>, TokenError> {
        let named: Vec<_> = self.keys.iter().filter(|key| Some(key.kid()) == kid).collect();
        match (kid, named.len(), self.keys.len()) {
            (_, _, 0) => Err(TokenError::NoKeys),
            (Some(_), 1.., _) => Ok(named),
            (_, _, 1) | (None, _, ..=MAX_KEYS_TRIED) => Ok(self.keys.iter().collect()),
            (Some(_), ..) => Err(TokenError::UnknownKey),
            (None, ..) => Err(TokenError::KidMissing),
        }
    }

    /// The keys, in the order of their files.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &VerifyKey> {
        self.keys.iter().map(AsRef::as_ref)
    }

    /// Whether there is no key, so that no token counts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The entries that were skipped and why, for the log.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        let problems = self.problems.iter().map(ToString::to_string);
        self.notes.iter().cloned().chain(problems)
    }

    /// Whether every file could be used.
    pub(super) fn is_complete(&self) -> bool {
        self.problems.iter().all(KeysError::withdraws_all)
    }

    /// Whether both sets verify the same tokens.
    pub(super) fn same_keys(&self, other: &Self) -> bool {
        let has_all = |one: &Self, other: &Self| {
            let mut keys = one.keys.iter();
            keys.all(|key| other.keys.iter().any(|same| same.is_same(key)))
        };
        has_all(self, other) && has_all(other, self)
    }

    /// Ends what the keys that are not in `next` were used for.
    pub(super) fn withdraw_all_but(&self, next: &Self) {
        let gone = |key: &&Arc<VerifyKey>| !next.keys.iter().any(|kept| Arc::ptr_eq(kept, key));
        self.keys.iter().filter(gone).for_each(|key| key.withdrawn.cancel());
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
