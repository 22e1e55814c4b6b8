use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use super::KeysError;

const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The contents of all key files, as they were at one moment.
///
/// Contents, not modification times, say whether something changed: key files
/// are small, and a file replaced within one tick of the clock still counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFiles {
    directory: bool,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl KeyFiles {
    /// Reads the file, or every `*.pem` of the directory, that `path` names.
    ///
    /// Names that begin with a dot are passed over: editors and Kubernetes volumes keep their
    /// own things under them.
    ///
    /// # Errors
    /// [`KeysError`], which names the file and what to do.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        if path.as_os_str().is_empty() {
            return Err(KeysError::NotSet);
        }
        let directory = fs::metadata(path).map_err(|source| unreadable(path, source))?.is_dir();
        if !directory {
            return Ok(Self {
                directory,
                files: vec![(path.to_owned(), read_file(path)?)],
            });
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(|source| unreadable(path, source))? {
            let file = entry.map_err(|source| unreadable(path, source))?.path();
            let hidden = file
                .file_name()
                .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            if !hidden && file.extension().is_some_and(|extension| extension == "pem") && file.is_file() {
                names.push(file);
            }
        }
        if names.is_empty() {
            return Err(KeysError::EmptyDirectory { path: path.to_owned() });
        }
        names.sort_unstable();
        let files = names
            .into_iter()
            .map(|file| read_file(&file).map(|bytes| (file, bytes)))
            .collect::<Result<_, _>>()?;
        Ok(Self { directory, files })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.files
            .iter()
            .map(|(path, bytes)| (path.as_path(), bytes.as_slice()))
    }

    pub(super) fn is_directory(&self) -> bool {
        self.directory
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, KeysError> {
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
        source,
    }
}
