//! `import`

mod reader;
mod stream;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    CliError,
    remote::{Remote, RemoteArgs},
    streams::Count,
};
use crate::protocol::StreamName;
pub use reader::InputError;
use reader::{Item, Reader};
use stream::{Outcome, Target};

/// Create streams on a running server from what `export` wrote.
///
/// An import that broke off is repeated with the same file: what is there already is not
/// written twice. A file is read to its end before anything is sent, so that one that is cut
/// off or damaged changes nothing.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What `export` wrote; `-`, the default, is standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// Only these streams of the file.
    #[arg(long, value_name = "NAME", num_args = 1.., value_parser = StreamName::new)]
    only: Vec<StreamName>,
    /// Delete what is there under the streams' names first. Without it a stream that is there,
    /// and that an earlier run of this import did not bring, is left alone and reported.
    #[arg(long)]
    pub replace: bool,
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
}

/// Runs `import`.
///
/// # Errors
/// [`CliError`]; the streams that were reported by then are there, and the import can be
/// repeated.
pub async fn run(args: &ImportArgs, remote: &Remote, out: &mut dyn Write) -> Result<(), CliError> {
    let malformed = |error: InputError| CliError::Usage(format!("{}: {error}", shown(&args.file)));
    check_beforehand(&args.file, &malformed)?;
    let mut reader = Reader::new(open(&args.file)?);
    let mut missing: BTreeSet<_> = args.only.iter().collect();
    let (mut imported, mut any) = (0, false);
    while let Some(item) = reader.next().map_err(&malformed)? {
        any = true;
        // Between streams stands nothing else: the reader sees to that.
        let Item::Header(header) = item else { continue };
        let wanted = args.only.is_empty() || args.only.contains(&header.stream);
        missing.remove(&header.stream);
        let mut target = match wanted {
            true => Target::begin(remote, &header, args.replace).await?,
            false => Target::passed_over(remote, &header),
        };
        let outcome = loop {
            match reader.next().map_err(&malformed)? {
                Some(Item::Message(message)) => target.message(&message).await?,
                Some(Item::Bytes(bytes)) => target.bytes(&bytes).await?,
                Some(Item::End { closed }) => break target.end(closed).await?,
                Some(Item::Header(_)) | None => break Outcome::PassedOver,
            }
        };
        if outcome != Outcome::PassedOver {
            imported += u64::from(outcome.is_there());
            writeln!(out, "{outcome} {}", header.stream)?;
        }
    }
    if !any {
        return Err(CliError::Usage(format!("{}: is empty", shown(&args.file))));
    }
    writeln!(out, "{} imported to {}", Count(imported), remote.base())?;
    match missing.first() {
        None => Ok(()),
        Some(name) => Err(CliError::Usage(format!(
            "--only: the stream {:?} is not in {}",
            name.as_str(),
            shown(&args.file)
        ))),
    }
}

fn is_standard_input(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn shown(file: &Path) -> String {
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
        let what = "name a file that `export` wrote, or give one on standard input";
        return Err(CliError::Usage(what.into()));
    }
    Ok(Box::new(io::stdin().lock()))
}

/// Reads a file to its end without sending anything. What can be read once only is not checked.
fn check_beforehand(file: &Path, malformed: &impl Fn(InputError) -> CliError) -> Result<(), CliError> {
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
