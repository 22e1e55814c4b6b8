use std::{
    io::BufRead as _,
    process::{Child, Command, Stdio},
};

use super::*;

/// The directory that a child process of these tests locks.
const CHILD_DIR: &str = "DS_TEST_HOLD_DIRECTORY";

/// 2026-01-01T00:00:00Z.
const NOW: Millis = 1_767_225_600_000;

fn lock(dir: &Path) -> Result<DirLock, LockError> {
    acquire(dir, &Clock::manual(NOW))
}

fn holder_of(error: LockError) -> Option<Holder> {
    match error {
        LockError::Held { holder, .. } => holder,
        other => panic!("{other}"),
    }
}

#[test]
fn there_is_one_holder_at_a_time_and_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("some/where/new");
    let held = lock(&data).unwrap();
    assert_eq!(held.dir(), data);
    let error = lock(&data).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("process {} on ", std::process::id())), "{text}");
    assert!(text.ends_with(", since 2026-01-01T00:00:00Z"), "{text}");
    let holder = holder_of(error).unwrap();
    assert_eq!((holder.pid, holder.since), (std::process::id(), NOW));
    drop(held);
    drop(lock(&data).unwrap());
    assert_eq!(std::fs::read(data.join(LOCK_FILE)).unwrap(), b"");
}

#[test]
fn a_lock_file_of_garbage_names_no_holder_and_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let held = lock(dir.path()).unwrap();
    std::fs::write(dir.path().join(LOCK_FILE), [0xff; 9000]).unwrap();
    assert_eq!(holder_of(lock(dir.path()).unwrap_err()), None);
    drop(held);
    drop(lock(dir.path()).unwrap());
}

#[test]
fn an_unusable_directory_is_reported_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let text = lock(&file).unwrap_err().to_string();
    assert!(text.contains("it is not a directory"), "{text}");
    let text = lock(&file.join("below")).unwrap_err().to_string();
    assert!(text.contains("it cannot be created"), "{text}");
    let text = lock(Path::new("/proc/self")).unwrap_err().to_string();
    assert!(text.contains("it is not writable"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_at_its_limit() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    let _held = lock(dir.path()).unwrap();
    for max_wait in [Duration::ZERO, Duration::from_millis(120)] {
        let started = tokio::time::Instant::now();
        let waited = wait(dir.path(), max_wait, &clock, &HolderWatch::default()).await;
        assert!(matches!(waited, Err(LockError::Held { .. })));
        assert_eq!(started.elapsed(), max_wait);
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_when_the_holder_releases_the_directory() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    let held = lock(dir.path()).unwrap();
    let path = dir.path().to_owned();
    let waiting =
        tokio::spawn(async move { wait(&path, Duration::from_secs(30), &clock, &HolderWatch::default()).await });
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert!(!waiting.is_finished());
    let released = tokio::time::Instant::now();
    drop(held);
    waiting.await.unwrap().unwrap();
    assert!(released.elapsed() <= POLL_INTERVAL, "{:?}", released.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_released_directory_is_left_to_the_next_holder_for_a_moment() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    drop(lock(dir.path()).unwrap());
    let started = tokio::time::Instant::now();
    let taken = retake(dir.path(), &clock).await;
    assert_eq!(started.elapsed(), 2 * RETAKE_INTERVAL);
    drop(taken);
}

#[tokio::test(start_paused = true)]
async fn the_directory_of_a_dead_holder_is_taken_at_once() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
    let held = lock(dir.path()).unwrap();
    let path = dir.path().to_owned();
    let retaking = tokio::spawn(async move { retake(&path, &clock).await });
    tokio::time::sleep(RETAKE_INTERVAL * 4).await;
    assert!(!retaking.is_finished());
    // The death of a process closes its file and leaves its name in it.
    let text = std::fs::read(dir.path().join(LOCK_FILE)).unwrap();
    drop(held);
    std::fs::write(dir.path().join(LOCK_FILE), text).unwrap();
    let died = tokio::time::Instant::now();
    drop(retaking.await.unwrap());
    assert!(died.elapsed() <= RETAKE_INTERVAL, "{:?}", died.elapsed());
}

/// Not a test by itself: the process that [`a_killed_process_holds_nothing`] kills.
#[test]
fn hold_a_directory_for_the_parent() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let _held = lock(Path::new(&dir)).unwrap();
    println!("\nlocked");
    loop {
        std::thread::park();
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_killed_process_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "storage::lock::tests::hold_a_directory_for_the_parent",
        ])
        .env(CHILD_DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    let child = Killed(child);
    assert!(output.lines().any(|line| line.unwrap() == "locked"));
    let holder = holder_of(lock(dir.path()).unwrap_err()).unwrap();
    assert_eq!(holder.pid, child.0.id());
    drop(child);
    lock(dir.path()).unwrap();
}
