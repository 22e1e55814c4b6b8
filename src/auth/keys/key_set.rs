//! The configured keys: loading, renewal, and the choice of keys for one token.

use std::{path::Path, sync::Arc};

use super::{
    error::{KeyProblem, KeysError},
    files::KeyFiles,
    jwks, pem,
    verify_key::VerifyKey,
};
use crate::auth::token::TokenError;

/// The most keys that one token is checked against. A signature check costs as much as a whole
/// request.
pub(super) const MAX_KEYS_TRIED: usize = 4;

/// All configured keys. A file, PEM block or JWKS member that cannot be used is skipped with a
/// note; the others count. Empty only when every key was withdrawn from a running server.
#[derive(Default)]
pub struct KeySet {
    pub(super) keys: Vec<Arc<VerifyKey>>,
    notes: Vec<String>,
    problems: Vec<KeysError>,
}

impl KeySet {
    /// Reads the file or directory at `path`.
    ///
    /// # Errors
    /// [`KeysError`], which names the file and the remedy, when there is no key.
    pub fn load(path: &Path) -> Result<Self, KeysError> {
        Self::parse(&KeyFiles::read(path)?)
    }

    /// Parses the keys in `files`.
    ///
    /// # Errors
    /// [`KeysError`], which names the file and the remedy, when there is no key.
    pub fn parse(files: &KeyFiles) -> Result<Self, KeysError> {
        let mut set = Self::gather(files);
        if set.keys.is_empty() && !set.problems.is_empty() {
            return Err(set.problems.swap_remove(0));
        }
        Ok(set)
    }

    /// The successor of `self` for changed `files`. A key that is in both stays the same object. An
    /// unusable file keeps its old keys; a deleted file, an empty JWKS or an empty directory
    /// withdraws them.
    pub(in crate::auth) fn renewed(&self, files: &KeyFiles) -> Self {
        let mut set = Self::gather(files);
        for key in &mut set.keys {
            if let Some(same) = self
                .keys
                .iter()
                .find(|old| old.is_same(key) && old.source() == key.source())
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
        let text = std::str::from_utf8(bytes).map_err(|_| KeyProblem::NotPem)?;
        let text = text.trim_start_matches('\u{feff}');
        if text.trim().is_empty() {
            return Err(KeyProblem::Empty);
        }
        if text.trim_start().starts_with(['{', '[']) {
            let (keys, notes) = jwks::parse(text, path)?;
            self.notes.extend(notes);
            keys.into_iter().for_each(|key| self.add(key));
            return Ok(());
        }
        let found = pem::public_points(text)?.into_iter().map(|point| {
            let point = point?;
            VerifyKey::from_point(kid.map(str::to_owned), &point, path)
        });
        let (good, bad): (Vec<_>, Vec<_>) = found.partition(Result::is_ok);
        let mut bad = bad.into_iter().filter_map(Result::err);
        if good.is_empty() {
            return Err(bad.next().unwrap_or(KeyProblem::NotPem));
        }
        let notes = bad.map(|problem| format!("{}: a key is left out: {problem}", path.display()));
        self.notes.extend(notes);
        good.into_iter().flatten().for_each(|key| self.add(key));
        Ok(())
    }

    /// Adds a key, unless it is a duplicate or too many keys have its `kid`.
    fn add(&mut self, key: VerifyKey) {
        let name = format!("{}: the key {:?}", key.source().display(), key.kid());
        if self.keys.iter().any(|other| other.is_same(&key)) {
            self.notes.push(format!("{name} is listed twice"));
        } else if self.keys.iter().filter(|other| other.kid() == key.kid()).count() >= MAX_KEYS_TRIED {
            let note = format!("{name} is left out: {MAX_KEYS_TRIED} keys already have this kid; give each its own");
            self.notes.push(note);
        } else {
            self.keys.push(Arc::new(key));
        }
    }

    /// The keys to try for a token with this `kid`, at most [`MAX_KEYS_TRIED`].
    ///
    /// An unknown `kid` is tried against a single key and refused with several. A token without
    /// `kid` is tried against all keys, unless there are too many.
    pub(in crate::auth) fn for_kid<'a>(&'a self, kid: Option<&str>) -> Result<Vec<&'a VerifyKey>, TokenError> {
        let named: Vec<_> = self.keys().filter(|key| Some(key.kid()) == kid).collect();
        match (kid, named.len(), self.keys.len()) {
            (_, _, 0) => Err(TokenError::NoKeys),
            (Some(_), 1.., _) => Ok(named),
            (_, _, 1) | (None, _, ..=MAX_KEYS_TRIED) => Ok(self.keys().collect()),
            (Some(_), ..) => Err(TokenError::UnknownKey),
            (None, ..) => Err(TokenError::KidMissing),
        }
    }

    /// The keys, in the order of their files.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &VerifyKey> {
        self.keys.iter().map(AsRef::as_ref)
    }

    /// Whether no key is left, so that every token is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The skipped entries with the reason, for the log.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        let problems = self.problems.iter().map(ToString::to_string);
        self.notes.iter().cloned().chain(problems)
    }

    /// Whether every file could be used.
    pub(in crate::auth) fn is_complete(&self) -> bool {
        self.problems.iter().all(KeysError::withdraws_all)
    }

    /// Whether both sets verify the same tokens.
    pub(in crate::auth) fn same_keys(&self, other: &Self) -> bool {
        let has_all = |one: &Self, other: &Self| {
            let mut keys = one.keys.iter();
            keys.all(|key| other.keys.iter().any(|same| same.is_same(key)))
        };
        has_all(self, other) && has_all(other, self)
    }

    /// Ends the live reads of the keys that are not in `next`.
    pub(in crate::auth) fn withdraw_all_but(&self, next: &Self) {
        let gone = |key: &&Arc<VerifyKey>| !next.keys.iter().any(|kept| Arc::ptr_eq(kept, key));
        self.keys.iter().filter(gone).for_each(|key| key.withdrawn().send());
    }
}

fn stem(path: &Path) -> Option<String> {
    Some(path.file_stem()?.to_string_lossy().into_owned())
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys().map(VerifyKey::kid)).finish()
    }
}
