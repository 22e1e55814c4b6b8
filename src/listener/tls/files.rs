//! The files of a TLS listener.

use std::{
    fmt,
    fs::{self, File},
    io::{self, ErrorKind, Read},
    path::PathBuf,
};

use crate::listener::{TransportConfig, TransportMode};

/// A file that TLS needs and that cannot be read; the `[check_tls_files]` phase.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    #[error("{key} is not set")]
    NotSet { key: &'static str },
    #[error("{0} does not exist")]
    Missing(TlsFile),
    #[error("{0} is a directory, not a file")]
    Directory(TlsFile),
    #[error("{file} cannot be read: {source}")]
    Unreadable { file: TlsFile, source: io::Error },
}

/// A file and the configuration key that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFile {
    pub(super) key: &'static str,
    pub(super) path: PathBuf,
}

/// For errors: both, so that they tell where to look and what to change.
impl fmt::Display for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.path.display())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TlsFiles {
    pub(super) cert: TlsFile,
    pub(super) key: TlsFile,
    /// Only in mode `mtls`.
    pub(super) client_ca: Option<TlsFile>,
}

/// The contents of the files when they were read. Not `Debug`, because it holds a private key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TlsFileContents {
    pub(super) cert: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) client_ca: Option<Vec<u8>>,
}

impl TlsFiles {
    pub(super) fn new(transport: &TransportConfig) -> Result<Self, TlsFileError> {
        let tls = &transport.tls;
        Ok(Self {
            cert: TlsFile::new("transport.tls.cert_path", &tls.cert_path)?,
            key: TlsFile::new("transport.tls.key_path", &tls.key_path)?,
            client_ca: client_ca(transport)?,
        })
    }

    fn all(&self) -> impl Iterator<Item = &TlsFile> {
        [&self.cert, &self.key].into_iter().chain(&self.client_ca)
    }

    pub(super) fn read(&self) -> Result<TlsFileContents, TlsFileError> {
        Ok(TlsFileContents {
            cert: self.cert.read()?,
            key: self.key.read()?,
            client_ca: self.client_ca.as_ref().map(TlsFile::read).transpose()?,
        })
    }
}

/// The CAs that sign client certificates, in mode `mtls`.
pub(super) fn client_ca(transport: &TransportConfig) -> Result<Option<TlsFile>, TlsFileError> {
    (transport.mode == TransportMode::Mtls)
        .then(|| TlsFile::new("transport.tls.client_ca_path", &transport.tls.client_ca_path))
        .transpose()
}

impl TlsFile {
    fn new(key: &'static str, path: &Option<PathBuf>) -> Result<Self, TlsFileError> {
        let path = path.clone().ok_or(TlsFileError::NotSet { key })?;
        Ok(Self { key, path })
    }

    pub(super) fn read(&self) -> Result<Vec<u8>, TlsFileError> {
        let mut contents = Vec::new();
        self.open()?
            .read_to_end(&mut contents)
            .map_err(|source| self.error(source))?;
        Ok(contents)
    }

    fn open(&self) -> Result<File, TlsFileError> {
        match fs::metadata(&self.path) {
            Ok(found) if found.is_dir() => return Err(TlsFileError::Directory(self.clone())),
            // Opening a pipe would wait for a writer.
            Ok(found) if !found.is_file() => return Err(self.error(io::Error::other("it is not a regular file"))),
            _ => {}
        }
        File::open(&self.path).map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> TlsFileError {
        let file = self.clone();
        match source.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => TlsFileError::Missing(file),
            _ => TlsFileError::Unreadable { file, source },
        }
    }
}

/// Checks that every file that `transport` needs can be read.
///
/// # Errors
/// One [`TlsFileError`] for each file, not just for the first.
pub fn check_tls_files(transport: &TransportConfig) -> Result<(), Vec<TlsFileError>> {
    let files = TlsFiles::new(transport).map_err(|error| vec![error])?;
    let errors: Vec<_> = files.all().filter_map(|file| file.open().err()).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
