//! Tokens from files and from standard input.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use super::error::CliError;
use crate::auth::token::MAX_TOKEN_BYTES;

/// A token's line with its line break.
const MAX_LINE_BYTES: u64 = MAX_TOKEN_BYTES as u64 + 2;

/// The token in a file's first line.
pub(super) fn token_of(file: &Path) -> Result<String, CliError> {
    let reader = File::open(file).map_err(|error| CliError::file(file, error))?;
    first_line(BufReader::new(reader), &file.display().to_string())
}

/// The token in the first line of `reader`, which `source` names in errors. Later lines stay unread.
pub(super) fn first_line(reader: impl BufRead, source: &str) -> Result<String, CliError> {
    let mut line = String::new();
    let read = reader.take(MAX_LINE_BYTES).read_line(&mut line);
    read.map_err(|error| CliError::file(Path::new(source), error))?;
    match line.trim() {
        "" => Err(CliError::Usage(format!(
            "{source}: there is no token in its first line"
        ))),
        token => Ok(token.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_line_counts() {
        let read = |text: &str| first_line(text.as_bytes(), "--token -");
        assert_eq!(read("a.b.c\n{}\n").unwrap(), "a.b.c");
        let error = read("\n").unwrap_err().to_string();
        assert_eq!(error, "--token -: there is no token in its first line");
    }
}
