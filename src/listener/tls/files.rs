use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;

use crate::listener::{TransportConfig, TransportMode};

/// A file that TLS needs and cannot have; the `[check_tls_files]` phase.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// The configuration names none.
    #[error("{field} is not set")]
    NotSet {
        /// The configuration's name for it.
        field: &'static str,
    },
    /// Nothing is there.
    #[error("{field}: {} does not exist", path.display())]
    Missing {
        /// The configuration's name for it.
        field: &'static str,
        /// Where it should be.
        path: PathBuf,
    },
    /// Something is there, but no file.
    #[error("{field}: {} is a directory, not a file", path.display())]
    Directory {
        /// The configuration's name for it.
        field: &'static str,
        /// Where it should be.
        path: PathBuf,
    },
    /// It may not be read, or cannot.
    #[error("{field}: {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The configuration's name for it.
        field: &'static str,
        /// Where it is.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

/// One file, and what the configuration calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) field: &'static str,
    pub(super) path: PathBuf,
}

/// The files of a TLS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sources {
    pub(super) cert: Source,
    pub(super) key: Source,
    /// Only in mode `mtls`.
    pub(super) client_ca: Option<Source>,
}

/// Their contents at one moment.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) cert: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) client_ca: Option<Vec<u8>>,
}

impl Sources {
    pub(super) fn new(transport: &TransportConfig) -> Result<Self, TlsFileError> {
        let tls = &transport.tls;
        Ok(Self {
            cert: source("transport.tls.cert_path", &tls.cert_path)?,
            key: source("transport.tls.key_path", &tls.key_path)?,
            client_ca: client_ca(transport)?,
        })
    }

    fn all(&self) -> impl Iterator<Item = &Source> {
        [&self.cert, &self.key].into_iter().chain(&self.client_ca)
    }

    /// Reads all of them.
    pub(super) fn read(&self) -> Result<Contents, TlsFileError> {
        Ok(Contents {
            cert: self.cert.read()?,
            key: self.key.read()?,
            client_ca: self.client_ca.as_ref().map(Source::read).transpose()?,
        })
    }
}

fn source(field: &'static str, path: &Option<PathBuf>) -> Result<Source, TlsFileError> {
    let path = path.clone().ok_or(TlsFileError::NotSet { field })?;
    Ok(Source { field, path })
}

/// The CAs that sign client certificates, in mode `mtls`.
pub(super) fn client_ca(transport: &TransportConfig) -> Result<Option<Source>, TlsFileError> {
    (transport.mode == TransportMode::Mtls)
        .then(|| source("transport.tls.client_ca_path", &transport.tls.client_ca_path))
        .transpose()
}

impl Source {
    pub(super) fn read(&self) -> Result<Vec<u8>, TlsFileError> {
        let mut contents = Vec::new();
        self.open()?
            .read_to_end(&mut contents)
            .map_err(|source| self.error(source))?;
        Ok(contents)
    }

    fn open(&self) -> Result<File, TlsFileError> {
        match fs::metadata(&self.path) {
            Ok(found) if found.is_dir() => {
                return Err(TlsFileError::Directory {
                    field: self.field,
                    path: self.path.clone(),
                });
            }
            // Opening a pipe would wait for a writer.
            Ok(found) if !found.is_file() => return Err(self.error(io::Error::other("it is not a regular file"))),
            _ => {}
        }
        File::open(&self.path).map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> TlsFileError {
        let (field, path) = (self.field, self.path.clone());
        match source.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => TlsFileError::Missing { field, path },
            _ => TlsFileError::Unreadable { field, path, source },
        }
    }
}

/// Looks whether every file that `transport` needs is there and can be read: all that is
/// wrong, not just the first.
///
/// # Errors
/// One [`TlsFileError`] for each file that is in the way.
pub fn check_tls_files(transport: &TransportConfig) -> Result<(), Vec<TlsFileError>> {
    let sources = Sources::new(transport).map_err(|error| vec![error])?;
    let errors: Vec<_> = sources.all().filter_map(|source| source.open().err()).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
