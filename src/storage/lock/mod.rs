//! One holder for a data directory.
//!
//! The lock is the kernel's, on a file in the directory: it ends with its holder, however
//! that ends, and it reaches across containers that share a mounted directory. The file's
//! content is only there to name the holder to whoever finds the directory held.

use std::{
    fmt,
    fs::{File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{clock, private_files, protocol::Millis};

/// The lock's file in the data directory.
pub const LOCK_FILE: &str = "LOCK";

/// How often a waiting server looks whether the directory is free.
const POLL: Duration = Duration::from_millis(50);

/// How much of the lock file is read: a holder writes far less.
const MAX_HOLDER_BYTES: u64 = 4096;

/// Who holds a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id, as it knows itself: in a container that is not the host's number.
    pub pid: u32,
    /// The name of its machine or container.
    pub host: String,
    /// Since when.
    pub since: Millis,
}

impl Holder {
    fn this_process() -> Self {
        Self {
            pid: std::process::id(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            since: clock::now_millis(),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)?;
        let since = i64::try_from(self.since)
            .ok()
            .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        since.map_or(Ok(()), |since| write!(f, ", since {since:.0}"))
    }
}

/// The directory was not locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Someone else holds it.
    #[error("the data directory {} is held by {}", dir.display(), Named(holder.as_ref()))]
    Held {
        /// The directory.
        dir: PathBuf,
        /// Who; `None` when the lock file does not say.
        holder: Option<Holder>,
    },
    /// It cannot be used at all.
    #[error("the data directory {} cannot be used: {what}: {source}", dir.display())]
    Unusable {
        /// The directory.
        dir: PathBuf,
        /// What failed.
        what: &'static str,
        /// How.
        source: io::Error,
    },
}

struct Named<'a>(Option<&'a Holder>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(holder) => holder.fmt(f),
            None => f.write_str("another process"),
        }
    }
}

/// A data directory that nobody else may use while this lives.
#[derive(Debug)]
pub struct DirLock {
    file: File,
    dir: PathBuf,
}

impl DirLock {
    /// The locked directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Nobody is named where nobody holds. Closing the file lets go of the lock.
        let _ = self.file.set_len(0);
    }
}

/// Locks a data directory, which is made when it is missing.
///
/// # Errors
/// When someone holds it, or it cannot be used.
pub fn acquire(dir: &Path) -> Result<DirLock, LockError> {
    let unusable = |what: &'static str| {
        move |source| LockError::Unusable {
            dir: dir.to_owned(),
            what,
            source,
        }
    };
    private_files::create_dir_all(dir).map_err(|source| {
        let what = if dir.exists() {
            "it is not a directory"
        } else {
            "it cannot be created"
        };
        unusable(what)(source)
    })?;
    let path = dir.join(LOCK_FILE);
    loop {
        let mut file = private_files::open_or_create(&path).map_err(unusable("it is not writable"))?;
        // Anyone who can open the file can lock it.
        _ = private_files::tighten(&file);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held {
                    dir: dir.to_owned(),
                    holder: read_holder(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(unusable("its lock file cannot be locked")(source)),
        }
        // A directory that was moved away and made anew in between has another lock file.
        if !is_same_file(&file, &path) {
            continue;
        }
        write_holder(&mut file).map_err(unusable("it is not writable"))?;
        return Ok(DirLock {
            file,
            dir: dir.to_owned(),
        });
    }
}

/// Locks a data directory, and waits up to `max_wait` while someone else holds it. Says once
/// that it waits.
///
/// # Errors
/// When it is still held after that time, or cannot be used.
pub async fn wait(dir: &Path, max_wait: Duration) -> Result<DirLock, LockError> {
    let started = tokio::time::Instant::now();
    let mut said = false;
    loop {
        let (owned, context) = (dir.to_owned(), dir.to_owned());
        let attempt = tokio::task::spawn_blocking(move || acquire(&owned))
            .await
            .map_err(|error| LockError::Unusable {
                dir: context,
                what: "looking at its lock failed",
                source: io::Error::other(error),
            })?;
        let left = max_wait.saturating_sub(started.elapsed());
        match attempt {
            Err(LockError::Held { holder, .. }) if !left.is_zero() => {
                if !said {
                    said = true;
                    tracing::warn!(
                        dir = %dir.display(),
                        holder = %Named(holder.as_ref()),
                        max_wait_secs = max_wait.as_secs(),
                        "waiting for the data directory"
                    );
                }
                tokio::time::sleep(POLL.min(left)).await;
            }
            done => {
                if said && done.is_ok() {
                    let waited_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                    tracing::info!(dir = %dir.display(), waited_ms, "took over the data directory");
                }
                return done;
            }
        }
    }
}

fn is_same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(ours), Ok(there)) => ours.dev() == there.dev() && ours.ino() == there.ino(),
        _ => false,
    }
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.take(MAX_HOLDER_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn write_holder(file: &mut File) -> io::Result<()> {
    let mut text = serde_json::to_vec(&Holder::this_process())?;
    text.push(b'\n');
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&text)
}

#[cfg(test)]
mod tests;
