//! A watcher hears of changes that this server may not have made, and that nobody else announces to it.

use super::*;
use crate::{engine::Watcher, storage::Changed};

/// Watches everything.
#[derive(Default)]
struct Seen {
    names: Mutex<Vec<StreamName>>,
    elsewhere: AtomicUsize,
    late: AtomicUsize,
}

impl Watcher for Seen {
    fn changed(&self, name: &StreamName) -> bool {
        self.names.lock().push(name.clone());
        true
    }

    fn changed_elsewhere(&self, changes: &[Changed]) {
        self.elsewhere.fetch_add(changes.len(), SeqCst);
    }

    fn happened_late(&self) {
        self.late.fetch_add(1, SeqCst);
    }

    fn missed(&self) {}

    fn restored(&self) {}
}

impl Seen {
    fn of(server: &Server) -> Arc<Self> {
        let seen = Arc::<Self>::default();
        server.engine.watch(Arc::clone(&seen) as Arc<dyn Watcher>);
        server.engine.watch_more();
        seen
    }

    fn take(&self) -> Vec<StreamName> {
        std::mem::take(&mut *self.names.lock())
    }
}

#[tokio::test]
async fn a_change_that_a_refused_write_met_is_announced() {
    let (_, a, b) = servers();
    let stream = name("s");
    let tail = a.engine.create(&stream, plain()).await.unwrap().tail;
    let seen = Seen::of(&a);
    let (engine, other) = (b.engine.clone(), stream.clone());
    a.between(async move {
        append(&engine, &other, "b").await.unwrap();
    });
    let late = AppendRequest {
        expected_tail: Some(tail),
        ..appending("a")
    };
    assert!(a.engine.append(&stream, late).await.is_err());
    assert_eq!(seen.take(), [stream]);
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_is_announced_whatever_it_was() {
    let (_, a, _) = servers();
    let (old, new) = (name("old"), name("new"));
    a.engine.create(&old, plain()).await.unwrap();
    let seen = Seen::of(&a);
    *a.connection.unknown.lock() = Some(true);
    assert!(append(&a.engine, &old, "x").await.is_err());
    assert_eq!(seen.take(), [old]);
    *a.connection.unknown.lock() = Some(true);
    assert!(a.engine.create(&new, plain()).await.is_err());
    assert_eq!(seen.take(), [new]);
}

#[tokio::test]
async fn a_commit_that_happens_late_is_announced_as_such() {
    let (_, a, _) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    let seen = Seen::of(&a);
    *a.connection.unknown.lock() = Some(false);
    assert!(append(&a.engine, &stream, "late").await.is_err());
    assert_eq!(seen.elsewhere.load(SeqCst), 0);
    a.connection.commit_late();
    assert_eq!((seen.elsewhere.load(SeqCst), seen.late.load(SeqCst)), (1, 1));
}
