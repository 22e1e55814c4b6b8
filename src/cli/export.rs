//! `export`

use std::{
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use clap::Args;
use http::StatusCode;
use serde_json::value::RawValue;

use super::{
    archive::{Content, End, Header, write},
    count::StreamCount,
    error::CliError,
    remote::{Chunk, Form, Pages, Remote, RemoteArgs, RemoteError, Selection, shown},
};
use crate::{
    private_files,
    protocol::{ContentType, Framing, Kind, StreamName, frame, json},
    random::Random,
};

/// Write streams of a running server as JSON lines, all of them unless some are named.
///
/// A stream begins with a line of metadata and ends with a line that counts its content. Between
/// them is the content: a line {"json": ...} for each message of a JSON stream, a line
/// {"text": "..."} for each append to a text stream, and a line {"base64": "..."} for each append
/// to any other. `import` reads it back, offsets included.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    selection: Selection,
    /// Write to this file, which appears when it is complete. `-`, the default, is standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
}

/// Runs `export`.
///
/// # Errors
/// [`CliError`]; the output is then incomplete.
pub(super) async fn run(args: &ExportArgs, remote: &Remote, out: &mut dyn Write) -> Result<(), CliError> {
    let file = args.output.as_deref().filter(|path| !is_standard_output(path));
    let Some(path) = file else {
        let mut out = BufWriter::new(out);
        let exported = export(args, remote, &mut out).await;
        let flushed = exported.and_then(|_| Ok(out.flush()?));
        return CliError::ignore_broken_pipe(flushed);
    };
    // The rename would replace a device or a pipe.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        let message = format!(
            "--output: {} is not a regular file; `-` is standard output",
            path.display()
        );
        return Err(CliError::Usage(message));
    }
    let partial = partial(path);
    let written = to_file(args, remote, &partial).await;
    let exported = match written {
        Ok(exported) => exported,
        Err(error) => {
            _ = fs::remove_file(&partial);
            return Err(error);
        }
    };
    fs::rename(&partial, path).map_err(|error| CliError::file(path, error))?;
    writeln!(out, "{exported} exported to {}", path.display())?;
    Ok(())
}

async fn to_file(args: &ExportArgs, remote: &Remote, path: &Path) -> Result<StreamCount, CliError> {
    let failed = |error| CliError::file(path, error);
    private_files::remove_left_over(path).map_err(failed)?;
    let mut file = BufWriter::new(private_files::create_new(path).map_err(failed)?);
    let exported = match export(args, remote, &mut file).await {
        // The file failed, not standard output.
        Err(CliError::Output(error)) => return Err(failed(error)),
        exported => exported?,
    };
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok(exported)
}

fn is_standard_output(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdout")
}

/// The name of a file until it is complete.
fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

async fn export(args: &ExportArgs, remote: &Remote, out: &mut dyn Write) -> Result<StreamCount, CliError> {
    let export = Random::system().id();
    let mut count = 0;
    for name in &args.selection.names {
        if !stream(remote, name, &export, out).await? {
            return Err(CliError::NoSuchStream(name.clone()));
        }
        count += 1;
    }
    if args.selection.names.is_empty() {
        let mut pages = Pages::new(args.selection.prefix.as_deref(), None);
        while let Some(page) = pages.next(remote).await? {
            for listed in page {
                // A stream may end between the list and this request.
                count += u64::from(stream(remote, &listed.name, &export, out).await?);
            }
        }
    }
    Ok(StreamCount(count))
}

/// Writes the content that a stream has now; `false` when there is no such stream.
async fn stream(remote: &Remote, name: &StreamName, export: &str, out: &mut dyn Write) -> Result<bool, CliError> {
    let Some(mut metadata) = unless_gone(remote.metadata(name).await)? else {
        return Ok(false);
    };
    let until = metadata.offset.clone();
    let Some(mut chunk) = unless_gone(remote.read(name, "-1", &until).await)? else {
        return Ok(false);
    };
    // Other servers have other offsets.
    metadata.lives = match metadata.lives.take() {
        _ if chunk.form == Form::Plain => None,
        // A fork without content of its own.
        Some(earlier) if earlier.ends_with(&until) => Some(earlier),
        Some(earlier) => Some(format!("{earlier},{until}")),
        None => Some(until.clone()),
    };
    let kind = ContentType::parse(&metadata.content_type).map_or(Kind::Binary, |content_type| content_type.kind());
    write(
        out,
        &Header {
            stream: name,
            metadata: &metadata,
            appends: chunk.form == Form::StoredAppends,
            export,
        },
    )?;
    let mut written = 0;
    loop {
        written += content(remote, kind, &chunk, out)?;
        if chunk.up_to_date {
            break;
        }
        let next = remote.read(name, &chunk.next, &until).await;
        chunk = unless_gone(next)?.ok_or_else(|| CliError::ChangedDuringExport(name.clone()))?;
    }
    let is_json = kind == Kind::Json;
    write(
        out,
        &End {
            end: true,
            messages: is_json.then_some(written),
            bytes: (!is_json).then_some(written),
            closed: chunk.closed,
        },
    )?;
    Ok(true)
}

/// Writes a part of a stream. Returns its number of messages (JSON) or bytes (others).
fn content(remote: &Remote, kind: Kind, chunk: &Chunk, out: &mut dyn Write) -> Result<u64, CliError> {
    match (kind, chunk.form) {
        (Kind::Json, Form::Plain) => messages(remote, &chunk.body, out),
        (Kind::Json, Form::Stored | Form::StoredAppends) => messages(remote, &json::array(&chunk.body), out),
        (Kind::Text | Kind::Binary, Form::StoredAppends) => {
            let mut written = 0;
            for append in frame::frames(&chunk.body, Framing::ANY) {
                written += bytes(kind, chunk.body.get(append).unwrap_or_default(), out)?;
            }
            Ok(written)
        }
        (Kind::Text | Kind::Binary, Form::Plain | Form::Stored) => bytes(kind, &chunk.body, out),
    }
}

fn bytes(kind: Kind, bytes: &[u8], out: &mut dyn Write) -> Result<u64, CliError> {
    if !bytes.is_empty() {
        let line = match std::str::from_utf8(bytes) {
            Ok(text) if kind == Kind::Text => Content::Text(text),
            _ => Content::Base64(STANDARD.encode(bytes)),
        };
        write(out, &line)?;
    }
    Ok(bytes.len() as u64)
}

fn messages(remote: &Remote, body: &Bytes, out: &mut dyn Write) -> Result<u64, CliError> {
    let unexpected = |error: serde_json::Error| {
        let reason = format!("a JSON stream is not an array: {}", shown(&error.to_string()));
        RemoteError::unexpected(remote.base(), reason)
    };
    let messages: Vec<&RawValue> = serde_json::from_slice(body).map_err(unexpected)?;
    for message in &messages {
        // Other servers may keep line breaks, which JSON allows only between tokens.
        if message.get().contains(['\n', '\r']) {
            let message = RawValue::from_string(message.get().replace(['\n', '\r'], " ")).map_err(unexpected)?;
            write(out, &Content::Json(&message))?;
        } else {
            write(out, &Content::Json(message))?;
        }
    }
    Ok(messages.len() as u64)
}

/// `None` for 404 and 410.
fn unless_gone<T>(result: Result<T, CliError>) -> Result<Option<T>, CliError> {
    match result {
        Err(CliError::Remote(error)) if matches!(error.status(), Some(StatusCode::NOT_FOUND | StatusCode::GONE)) => {
            Ok(None)
        }
        result => result.map(Some),
    }
}
