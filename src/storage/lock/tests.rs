use std::process::{Child, Command, Stdio};

use super::*;

const HOLD: &str = "DS_TEST_HOLD_DIRECTORY";

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
    let lock = acquire(&data).unwrap();
    assert_eq!(lock.dir(), data);
    let error = acquire(&data).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("process {} on ", std::process::id())), "{text}");
    assert!(text.contains(", since 20"), "{text}");
    assert_eq!(holder_of(error).unwrap().pid, std::process::id());
    drop(lock);
    let again = acquire(&data).unwrap();
    drop(again);
    assert_eq!(std::fs::read(data.join(LOCK_FILE)).unwrap(), b"");
}

#[test]
fn a_lock_file_that_says_nonsense_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let lock = acquire(dir.path()).unwrap();
    std::fs::write(dir.path().join(LOCK_FILE), [0xff; 9000]).unwrap();
    assert_eq!(holder_of(acquire(dir.path()).unwrap_err()), None);
    drop(lock);
    drop(acquire(dir.path()).unwrap());
}

#[test]
fn what_cannot_be_used_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let text = acquire(&file).unwrap_err().to_string();
    assert!(text.contains("it is not a directory"), "{text}");
    let text = acquire(&file.join("below")).unwrap_err().to_string();
    assert!(text.contains("it cannot be created"), "{text}");
    let text = acquire(Path::new("/proc/self")).unwrap_err().to_string();
    assert!(text.contains("it is not writable"), "{text}");
}

#[tokio::test]
async fn waiting_ends_when_the_holder_lets_go() {
    let dir = tempfile::tempdir().unwrap();
    let lock = acquire(dir.path()).unwrap();
    assert!(matches!(
        wait(dir.path(), Duration::ZERO).await,
        Err(LockError::Held { .. })
    ));
    let short = wait(dir.path(), Duration::from_millis(120)).await;
    assert!(matches!(short, Err(LockError::Held { .. })));
    let path = dir.path().to_owned();
    let waiting = tokio::spawn(async move { wait(&path, Duration::from_secs(30)).await });
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert!(!waiting.is_finished());
    let released = tokio::time::Instant::now();
    drop(lock);
    waiting.await.unwrap().unwrap();
    assert!(released.elapsed() < Duration::from_secs(1));
}

/// Not a test by itself: the process that [`a_killed_holder_holds_no_longer`] kills.
#[test]
fn hold_a_directory_for_the_parent() {
    let Some(dir) = std::env::var_os(HOLD) else { return };
    let _lock = loop {
        // The parent looks now and then, and holds it while it does.
        if let Ok(lock) = acquire(Path::new(&dir)) {
            break lock;
        }
        std::thread::yield_now();
    };
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

#[tokio::test]
async fn a_killed_holder_holds_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "storage::lock::tests::hold_a_directory_for_the_parent"])
        .env(HOLD, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let child = Killed(child);
    let pid = child.0.id();
    let holder = loop {
        // A holder that has not written its name yet is found without one.
        match acquire(dir.path()) {
            Ok(lock) => drop(lock),
            Err(error) => {
                if let Some(holder) = holder_of(error) {
                    break holder;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(holder.pid, pid);
    drop(child);
    wait(dir.path(), Duration::from_secs(5)).await.unwrap();
}
