//! Reads the key files.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use super::error::KeysError;

const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A file and what is in it.
type KeyFile = (PathBuf, Result<Vec<u8>, KeysError>);

/// The contents of all key files at one moment.
///
/// Contents are compared, not modification times: key files are small, and a file can be replaced
/// within one tick of the clock.
#[derive(Debug, Clone)]
pub struct KeyFiles {
    /// `auth.verify_key`.
    path: PathBuf,
    directory: bool,
    files: Vec<KeyFile>,
}

impl KeyFiles {
    /// Reads the file `path`, or every `*.pem` of the directory `path`. An unreadable file of a
    /// directory is represented by its error.
    ///
    /// Hidden files are skipped: editors and Kubernetes volumes use them.
    ///
    /// # Errors
    /// [`KeysError`], which names the file and the remedy, when `path` cannot be read.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        if path.as_os_str().is_empty() {
            return Err(KeysError::NotSet);
        }
        let directory = fs::metadata(path).map_err(|source| unreadable(path, source))?.is_dir();
        let files = if directory {
            pem_files(path)?
        } else {
            vec![(path.to_owned(), Ok(read_file(path)?))]
        };
        let path = path.to_owned();
        Ok(Self { path, directory, files })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Path, Result<&[u8], KeysError>)> {
        self.files
            .iter()
            .map(|(path, content)| (path.as_path(), content.as_deref().map_err(Clone::clone)))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_directory(&self) -> bool {
        self.directory
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

impl PartialEq for KeyFiles {
    /// Errors are compared by their texts.
    fn eq(&self, other: &Self) -> bool {
        let shown = |content: &Result<Vec<u8>, KeysError>| content.as_ref().map_err(ToString::to_string).cloned();
        let same = |one: &(PathBuf, _), two: &(PathBuf, _)| one.0 == two.0 && shown(&one.1) == shown(&two.1);
        self.path == other.path
            && self.directory == other.directory
            && self.files.len() == other.files.len()
            && self.files.iter().zip(&other.files).all(|(one, two)| same(one, two))
    }
}

/// Every `*.pem` of a directory, sorted by name.
fn pem_files(directory: &Path) -> Result<Vec<KeyFile>, KeysError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(|source| unreadable(directory, source))? {
        let file = entry.map_err(|source| unreadable(directory, source))?.path();
        let hidden = file
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && file.extension().is_some_and(|extension| extension == "pem") && !file.is_dir() {
            paths.push(file);
        }
    }
    paths.sort_unstable();
    Ok(paths
        .into_iter()
        .map(|file| {
            let content = read_file(&file);
            (file, content)
        })
        .collect())
}

fn read_file(path: &Path) -> Result<Vec<u8>, KeysError> {
    // Opening a pipe would block until a writer opens it.
    if !fs::metadata(path).map_err(|source| unreadable(path, source))?.is_file() {
        return Err(KeysError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| unreadable(path, source))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(KeysError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

fn unreadable(path: &Path, source: std::io::Error) -> KeysError {
    KeysError::Read {
        path: path.to_owned(),
        source: source.into(),
    }
}
