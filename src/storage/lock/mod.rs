//! The lock on a data directory: one holder at a time.
//!
//! It is the kernel's lock on a file in the directory: it ends with its holder, however that ends,
//! and it works across containers that share a mounted directory. The file's content names the
//! holder for others who find the directory locked.

use std::{
    fmt,
    fs::{File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{clock::Clock, private_files, protocol::Millis};

/// The lock file in the data directory.
pub(crate) const LOCK_FILE: &str = "LOCK";

/// The interval at which a waiting server tries to lock the directory.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The interval at which a server looks for a directory that nobody holds after it has handed it
/// over. The next holder locks it within milliseconds.
const RETAKE_INTERVAL: Duration = Duration::from_millis(250);

/// The most that is read of a lock file. A holder writes far less.
const MAX_HOLDER_BYTES: u64 = 4096;

/// The holder of a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id, in its own namespace: in a container that is not the host's number.
    pub pid: u32,
    /// The host name of its machine or container.
    pub host: String,
    /// When it locked the directory.
    pub since: Millis,
}

impl Holder {
    fn this_process(clock: &Clock) -> Self {
        Self {
            pid: std::process::id(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            since: clock.millis(),
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

/// A directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("the data directory {} is held by {}", dir.display(), DisplayHolder(holder.as_ref()))]
    Held {
        /// The directory.
        dir: PathBuf,
        /// The holder; `None` if the lock file does not name it.
        holder: Option<Holder>,
    },
    /// It belongs to another user.
    #[error(
        "the data directory {} is not writable: it belongs to user {owner}, and this server runs as user {user}. \
         Run all servers of a directory under one user id, also those in containers",
        dir.display()
    )]
    OtherUser {
        /// The directory.
        dir: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user of this process.
        user: u32,
    },
    /// The directory cannot be used.
    #[error("the data directory {} cannot be used: {what}: {source}", dir.display())]
    Unusable {
        /// The directory.
        dir: PathBuf,
        /// The problem with the directory.
        what: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
}

struct DisplayHolder<'a>(Option<&'a Holder>);

impl fmt::Display for DisplayHolder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(holder) => holder.fmt(f),
            None => f.write_str("another process"),
        }
    }
}

/// A locked data directory. Dropping it releases the lock.
#[derive(Debug)]
pub struct DirLock {
    file: File,
    dir: PathBuf,
}

impl DirLock {
    /// Locks a data directory, created if necessary. Embedders keep the lock for as long as they
    /// use the store in the directory.
    ///
    /// # Errors
    /// If another process holds it, or it cannot be used.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        acquire(dir, &Clock::system())
    }

    /// The locked directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // A free lock names no holder. Closing the file releases the lock.
        let _ = self.file.set_len(0);
    }
}

/// [`DirLock::acquire`] with a clock.
///
/// # Errors
/// If another process holds the directory, or it cannot be used.
pub(crate) fn acquire(dir: &Path, clock: &Clock) -> Result<DirLock, LockError> {
    hold(lock_file(dir)?, dir, clock)
}

/// Makes this process the holder.
fn hold(mut file: File, dir: &Path, clock: &Clock) -> Result<DirLock, LockError> {
    match write_holder(&mut file, &Holder::this_process(clock)) {
        Ok(()) => Ok(DirLock {
            file,
            dir: dir.to_owned(),
        }),
        Err(source) => Err(LockError::Unusable {
            dir: dir.to_owned(),
            what: "it is not writable",
            source,
        }),
    }
}

/// Locks the file, whose content is still that of the last holder.
fn lock_file(dir: &Path) -> Result<File, LockError> {
    let unusable = |what: &'static str| {
        move |source| LockError::Unusable {
            dir: dir.to_owned(),
            what,
            source,
        }
    };
    private_files::create_dir_all(dir).map_err(|source| {
        let what = match dir.exists() {
            true => "it is not a directory",
            false => "it cannot be created",
        };
        unusable(what)(source)
    })?;
    let path = dir.join(LOCK_FILE);
    loop {
        let mut file = private_files::open_or_create(&path).map_err(|source| {
            other_user(dir, &path, &source).unwrap_or_else(|| unusable("it is not writable")(source))
        })?;
        // Everyone who can open the file can lock it.
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
        // A directory that was replaced in the meantime has another lock file.
        if is_same_file(&file, &path) {
            return Ok(file);
        }
    }
}

/// The refusal of a directory, or of the lock file in it, whose permissions admit only another user.
fn other_user(dir: &Path, lock_file: &Path, error: &io::Error) -> Option<LockError> {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return None;
    }
    let user = rustix::process::geteuid().as_raw();
    let metadata = lock_file.metadata().or_else(|_| dir.metadata()).ok()?;
    (metadata.uid() != user).then(|| LockError::OtherUser {
        dir: dir.to_owned(),
        owner: metadata.uid(),
        user,
    })
}

/// The state of the holder during the wait for its directory.
#[derive(Debug, Default)]
pub(crate) struct HolderWatch {
    answers: AtomicBool,
    released: Notify,
}

impl HolderWatch {
    /// A holder that answers is waited for as long as it likes; the time for another one begins
    /// when this is said.
    pub(crate) fn answers(&self, answers: bool) {
        self.answers.store(answers, Ordering::Release);
    }

    /// The directory may be free.
    pub(crate) fn released(&self) {
        self.released.notify_one();
    }
}

/// Locks a data directory, waiting up to `max_wait` while another process holds it. Logs the wait
/// once.
///
/// # Errors
/// If it is still held after that time, or cannot be used.
pub(crate) async fn wait(
    dir: &Path,
    max_wait: Duration,
    clock: &Clock,
    watch: &HolderWatch,
) -> Result<DirLock, LockError> {
    let begun = tokio::time::Instant::now();
    let (mut started, mut logged) = (begun, false);
    loop {
        let attempt = acquire_blocking(dir, clock).await;
        if watch.answers.load(Ordering::Acquire) {
            started = tokio::time::Instant::now();
        }
        let left = max_wait.saturating_sub(started.elapsed());
        match attempt {
            Err(LockError::Held { holder, .. }) if !left.is_zero() => {
                if !logged {
                    logged = true;
                    tracing::warn!(
                        dir = %dir.display(),
                        holder = %DisplayHolder(holder.as_ref()),
                        max_wait_secs = max_wait.as_secs(),
                        "waiting for the data directory"
                    );
                }
                let _ = tokio::time::timeout(POLL_INTERVAL.min(left), watch.released.notified()).await;
            }
            done => {
                if logged && done.is_ok() {
                    let waited_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                    tracing::info!(dir = %dir.display(), waited_ms, "took over the data directory");
                }
                return done;
            }
        }
    }
}

async fn acquire_blocking(dir: &Path, clock: &Clock) -> Result<DirLock, LockError> {
    let (owned, clock) = (dir.to_owned(), clock.clone());
    tokio::task::spawn_blocking(move || acquire(&owned, &clock))
        .await
        .unwrap_or_else(|error| {
            Err(LockError::Unusable {
                dir: dir.to_owned(),
                what: "its lock could not be checked",
                source: io::Error::other(error),
            })
        })
}

/// Locks a directory again that this process has handed over, once nobody holds it. Other servers
/// come first.
pub(crate) async fn retake(dir: &Path, clock: &Clock) -> DirLock {
    let mut was_free = false;
    loop {
        tokio::time::sleep(RETAKE_INTERVAL).await;
        let (owned, clock, may_wait) = (dir.to_owned(), clock.clone(), was_free);
        let attempt = tokio::task::spawn_blocking(move || retake_once(&owned, &clock, may_wait)).await;
        match attempt {
            Ok(Ok(Some(lock))) => return lock,
            Ok(Ok(None)) => was_free = true,
            Ok(Err(_)) | Err(_) => was_free = false,
        }
    }
}

/// Locks the directory if its holder has died. One that was released is left to the next holder,
/// unless it `was_free` before.
fn retake_once(dir: &Path, clock: &Clock, was_free: bool) -> Result<Option<DirLock>, LockError> {
    let mut file = lock_file(dir)?;
    if !was_free && read_holder(&mut file).is_none() {
        return Ok(None);
    }
    hold(file, dir, clock).map(Some)
}

fn is_same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(ours), Ok(theirs)) => ours.dev() == theirs.dev() && ours.ino() == theirs.ino(),
        _ => false,
    }
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.take(MAX_HOLDER_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn write_holder(file: &mut File, holder: &Holder) -> io::Result<()> {
    let mut text = serde_json::to_vec(holder)?;
    text.push(b'\n');
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&text)
}

#[cfg(test)]
mod tests;
