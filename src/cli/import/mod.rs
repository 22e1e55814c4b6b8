//! `import`

pub(super) mod error;
mod reader;
mod stream;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use self::{
    error::{ImportError, InputError},
    reader::{Item, Reader},
    stream::{Outcome, Target},
};
use super::{
    count::StreamCount,
    error::CliError,
    remote::{Remote, RemoteArgs},
};
use crate::{clock::Clock, protocol::StreamName};

/// Create streams on a running server from what `export` wrote.
///
/// Repeat an interrupted import with the same file: nothing is written twice. A file is read to
/// its end before anything is sent, so that a truncated or damaged file changes nothing.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The output of `export`; `-`, the default, is standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Only these streams of the file.
    #[arg(long, value_name = "NAME", num_args = 1.., value_parser = StreamName::new)]
    only: Vec<StreamName>,
    /// Delete existing streams of the same names first. Without it a stream that this import did
    /// not create is left alone and reported.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
}

/// Runs `import`.
///
/// # Errors
/// [`CliError`]; the streams reported so far exist, and the import can be repeated.
pub(super) async fn run(
    args: &ImportArgs,
    remote: &Remote,
    clock: &Clock,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let malformed = |source: InputError| ImportError::Input {
        file: file_name(&args.file),
        source,
    };
    check_beforehand(&args.file, &malformed)?;
    let mut reader = Reader::new(open(&args.file)?);
    let mut missing: BTreeSet<_> = args.only.iter().collect();
    let (mut imported, mut any) = (0, false);
    while let Some(item) = reader.next().map_err(&malformed)? {
        any = true;
        // The reader allows nothing else between streams.
        let Item::Header(header) = item else { continue };
        let wanted = args.only.is_empty() || args.only.contains(&header.stream);
        missing.remove(&header.stream);
        let mut target = match wanted {
            true => Target::begin(remote, &header, args.replace, clock).await?,
            false => Target::skipped(remote, &header),
        };
        let outcome = loop {
            match reader.next().map_err(&malformed)? {
                Some(Item::Message(message)) => target.message(&message).await?,
                Some(Item::Bytes(bytes)) => target.bytes(&bytes).await?,
                Some(Item::End { closed }) => break target.end(closed).await?,
                Some(Item::Header(_)) | None => break Outcome::Skipped,
            }
        };
        if outcome != Outcome::Skipped {
            imported += u64::from(outcome.exists());
            writeln!(out, "{outcome} {}", header.stream)?;
        }
    }
    if !any {
        return Err(ImportError::Empty(file_name(&args.file)).into());
    }
    writeln!(out, "{} imported to {}", StreamCount(imported), remote.base())?;
    match missing.first() {
        None => Ok(()),
        Some(name) => Err(ImportError::NotInFile {
            stream: (*name).clone(),
            file: file_name(&args.file),
        }
        .into()),
    }
}

fn is_standard_input(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn file_name(file: &Path) -> String {
    match is_standard_input(file) {
        true => "standard input".into(),
        false => file.display().to_string(),
    }
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, CliError> {
    if !is_standard_input(file) {
        let opened = File::open(file).map_err(|error| CliError::file(file, error))?;
        return Ok(Box::new(BufReader::new(opened)));
    }
    if io::stdin().is_terminal() {
        let text = "name a file that `export` wrote, or pass one on standard input";
        return Err(CliError::Usage(text.into()));
    }
    Ok(Box::new(io::stdin().lock()))
}

/// Reads a file to its end without sending anything. Pipes cannot be read twice and are not checked.
fn check_beforehand(file: &Path, malformed: &impl Fn(InputError) -> ImportError) -> Result<(), CliError> {
    if is_standard_input(file) {
        return Ok(());
    }
    let metadata = file.metadata().map_err(|error| CliError::file(file, error))?;
    if metadata.is_dir() {
        return Err(CliError::file(file, io::ErrorKind::IsADirectory.into()));
    }
    if metadata.is_file() {
        let mut reader = Reader::new(open(file)?);
        while reader.next().map_err(malformed)?.is_some() {}
    }
    Ok(())
}
