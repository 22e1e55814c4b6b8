//! Watches files and applies their changed contents without a restart.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, sleep},
};

/// How long changed files must stay the same before they are applied: most tools write a file in
/// several steps, and a half-written one is not worth a warning.
const SETTLE_TIME: Duration = Duration::from_millis(100);

/// Stands for "never" where files are only read on request.
const MAX_INTERVAL: Duration = Duration::from_secs(86_400);

/// The contents of watched files, or why they cannot be read.
pub(crate) type Contents<T> = Result<T, String>;

/// Reads watched files; runs on a thread that may block.
pub(crate) type ReadFiles<T> = Box<dyn FnOnce() -> Contents<T> + Send>;

/// Files that belong together, and what becomes of them.
pub(crate) trait WatchedFiles {
    type Contents: Clone + PartialEq + Send + 'static;
    /// The result of a change.
    type Change;
    /// For the log.
    const NAME: &'static str;

    /// `None` ends the watch.
    fn reader(&self) -> Option<ReadFiles<Self::Contents>>;

    fn apply(&mut self, contents: Contents<Self::Contents>) -> Self::Change;
}

/// Compares contents, not modification times: tools that deploy files by renaming directories or
/// symbolic links (Kubernetes, certbot) do not always change the times.
pub(crate) struct FileWatcher<F: WatchedFiles> {
    files: F,
    /// The last applied state, so that each state is applied and reported once.
    applied: Contents<F::Contents>,
}

/// The outcome of one check.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Check<T> {
    Unchanged,
    Changed(T),
    /// Nobody needs the files any longer.
    Unused,
}

impl<F: WatchedFiles> FileWatcher<F> {
    /// `in_use` has been applied before.
    pub(crate) fn new(files: F, in_use: F::Contents) -> Self {
        Self {
            files,
            applied: Ok(in_use),
        }
    }

    /// Checks the files after each `period` and whenever `reload` is notified, until nobody needs
    /// them. Without a period they are checked on request only.
    pub(crate) async fn run(mut self, period: Option<Duration>, reload: Arc<Notify>) {
        let mut ticks = interval(period.unwrap_or(MAX_INTERVAL));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let requested = tokio::select! {
                _ = ticks.tick() => false,
                () = reload.notified() => true,
            };
            match self.check().await {
                Check::Unchanged if requested => tracing::info!("{} have not changed", F::NAME),
                Check::Unchanged | Check::Changed(_) => {}
                Check::Unused => return,
            }
        }
    }

    /// Reads the files and applies them if they have changed and settled.
    pub(crate) async fn check(&mut self) -> Check<F::Change> {
        let Some(mut contents) = self.read().await else {
            return Check::Unused;
        };
        if contents == self.applied {
            return Check::Unchanged;
        }
        loop {
            sleep(SETTLE_TIME).await;
            let Some(later) = self.read().await else {
                return Check::Unused;
            };
            if later == contents {
                break;
            }
            contents = later;
        }
        if contents == self.applied {
            return Check::Unchanged;
        }
        self.applied = contents.clone();
        Check::Changed(self.files.apply(contents))
    }

    async fn read(&self) -> Option<Contents<F::Contents>> {
        let read = self.files.reader()?;
        Some(
            spawn_blocking(read)
                .await
                .unwrap_or_else(|error| Err(error.to_string())),
        )
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tokio::time::Instant;

    use super::*;

    /// Files in memory, and the states that were applied.
    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        /// The result of each read; the last one stays.
        reads: Vec<Contents<u32>>,
        applied: Vec<Contents<u32>>,
        unused: bool,
    }

    impl Fake {
        fn set(&self, reads: &[Contents<u32>]) {
            self.0.lock().reads = reads.to_vec();
        }

        fn applied(&self) -> Vec<Contents<u32>> {
            self.0.lock().applied.clone()
        }
    }

    impl WatchedFiles for Fake {
        type Contents = u32;
        type Change = ();
        const NAME: &'static str = "the files";

        fn reader(&self) -> Option<ReadFiles<u32>> {
            let state = Arc::clone(&self.0);
            let used = !state.lock().unused;
            used.then(|| {
                Box::new(move || {
                    let reads = &mut state.lock().reads;
                    if reads.len() > 1 {
                        reads.remove(0)
                    } else {
                        reads[0].clone()
                    }
                }) as ReadFiles<u32>
            })
        }

        fn apply(&mut self, contents: Contents<u32>) {
            self.0.lock().applied.push(contents);
        }
    }

    fn broken() -> Contents<u32> {
        Err("broken".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn each_state_of_the_files_is_applied_once() {
        let files = Fake::default();
        let mut watcher = FileWatcher::new(files.clone(), 1);
        for (contents, expected) in [
            (Ok(1), Check::Unchanged),
            (broken(), Check::Changed(())),
            (broken(), Check::Unchanged),
            (Ok(2), Check::Changed(())),
            (Ok(2), Check::Unchanged),
        ] {
            files.set(&[contents]);
            assert_eq!(watcher.check().await, expected);
        }
        assert_eq!(files.applied(), [broken(), Ok(2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_are_being_written_are_left_alone() {
        let files = Fake::default();
        let mut watcher = FileWatcher::new(files.clone(), 1);
        files.set(&[broken(), Ok(3), Ok(2)]);
        assert_eq!(watcher.check().await, Check::Changed(()));
        files.set(&[broken(), Ok(2)]);
        assert_eq!(watcher.check().await, Check::Unchanged);
        assert_eq!(files.applied(), [Ok(2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_checked_each_period_and_on_request_until_nobody_needs_them() {
        let (files, reload) = (Fake::default(), Arc::new(Notify::new()));
        files.set(&[Ok(1)]);
        let watcher = FileWatcher::new(files.clone(), 1);
        let watch = tokio::spawn(watcher.run(Some(Duration::from_secs(60)), Arc::clone(&reload)));
        let until = async |expected: &[Contents<u32>]| {
            let start = Instant::now();
            while files.applied() != expected {
                sleep(Duration::from_millis(10)).await;
            }
            start.elapsed()
        };
        sleep(Duration::from_secs(1)).await;
        files.set(&[Ok(2)]);
        assert!(until(&[Ok(2)]).await > Duration::from_secs(50));
        files.set(&[Ok(3)]);
        reload.notify_one();
        assert!(until(&[Ok(2), Ok(3)]).await < Duration::from_secs(1));
        files.0.lock().unused = true;
        watch.await.unwrap();
    }
}
