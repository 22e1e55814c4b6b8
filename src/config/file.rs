//! Reading configuration files.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

/// Larger files are logs or data given by mistake.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("no such file")]
    Missing,
    #[error("is a directory, not a file")]
    Directory,
    #[error("larger than {} KiB: this is not a configuration file", MAX_FILE_BYTES / 1024)]
    TooLarge,
    #[error("not UTF-8 text: byte {byte} of line {line}")]
    NotUtf8 { line: usize, byte: usize },
    #[error("cannot be read: {0}")]
    Io(#[source] std::io::Error),
}

impl Unreadable {
    /// The line, or 0 for the file as a whole.
    pub(super) fn line(&self) -> usize {
        match self {
            Self::NotUtf8 { line, .. } => *line,
            _ => 0,
        }
    }
}

/// Reads a file of bounded size, without its byte order mark.
pub(super) fn read(path: &Path) -> Result<String, Unreadable> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Unreadable::Missing,
        _ => Unreadable::Io(error),
    })?;
    if metadata.is_dir() {
        return Err(Unreadable::Directory);
    }
    let file = File::open(path).map_err(Unreadable::Io)?;
    let mut bytes = Vec::new();
    let bound = MAX_FILE_BYTES + 1;
    file.take(bound).read_to_end(&mut bytes).map_err(Unreadable::Io)?;
    if bytes.len() as u64 == bound {
        return Err(Unreadable::TooLarge);
    }
    let text =
        String::from_utf8(bytes).map_err(|error| not_utf8(error.as_bytes(), error.utf8_error().valid_up_to()))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn not_utf8(bytes: &[u8], at: usize) -> Unreadable {
    let before = bytes.get(..at).unwrap_or_default();
    let newline = before.iter().rposition(|byte| *byte == b'\n');
    Unreadable::NotUtf8 {
        line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
        byte: at - newline.map_or(0, |newline| newline + 1) + 1,
    }
}

pub(super) fn is_yaml(path: &Path) -> bool {
    path.extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("yml") || end.eq_ignore_ascii_case("yaml"))
}

/// Whether this is a Caddyfile, by its name or by a line that only a Caddyfile has.
pub(super) fn is_caddyfile(path: &Path) -> bool {
    const DIRECTIVES: [&str; 6] = ["durable_streams", "reverse_proxy", "route", "handle", "jwtauth", "tls"];
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    if name.ends_with(".caddyfile") || name.split('.').next() == Some("caddyfile") {
        return true;
    }
    let is_block = |line: &str| {
        let (Some(first), Some("{")) = (line.split_whitespace().next(), line.split_whitespace().last()) else {
            return false;
        };
        DIRECTIVES.contains(&first) || first.starts_with(':') && first.len() > 1
    };
    !is_yaml(path) && read(path).is_ok_and(|text| text.lines().any(is_block))
}
