//! The contract of [`Storage`], as a test suite that every store runs.

mod life;
mod model;
mod records;
mod scale;

use bytes::Bytes;

pub(crate) use self::{life::*, model::*, records::*, scale::*};
use super::{
    Change, CommitError, Group, ProducerState, Progress, Storage, Stored, StreamId, StreamRecord, Verdict, Verdicts,
    WriterState,
};
use crate::protocol::{Framing, Lifetime, Millis, StreamName};

/// A kind of store under test, and the place that one is kept in.
pub(crate) trait Subject {
    type Store: Storage;

    /// A new place for a store.
    fn new() -> Self;

    /// Opens the store, which must be closed.
    fn open(&self) -> Self::Store;

    /// Whether the store survives being closed.
    const LASTING: bool = true;
}

/// Commits changes as one group.
pub(crate) trait CommitChanges {
    fn commit_changes(&self, changes: &[Change]) -> Result<(), CommitError>;

    /// Whether a group with these changes has moved.
    fn moves(&self, changes: &[Change]) -> bool;
}

impl<S: Storage + ?Sized> CommitChanges for S {
    fn commit_changes(&self, changes: &[Change]) -> Result<(), CommitError> {
        match self.commit(&[Group::from(changes.to_vec())])? {
            Verdicts::AllCommitted => Ok(()),
            Verdicts::Each(verdicts) => {
                assert!(matches!(verdicts[..], [Verdict::Committed(_)]), "{verdicts:?}");
                Ok(())
            }
        }
    }

    fn moves(&self, changes: &[Change]) -> bool {
        let verdicts = self.commit(&[Group::from(changes.to_vec())]).unwrap();
        matches!(verdicts, Verdicts::Each(verdicts) if matches!(verdicts[..], [Verdict::Moved(_)]))
    }
}

/// A directory for a store under test, in memory if possible: the cost of a sync is not under test.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Runs the suite for a [`Subject`].
macro_rules! contract {
    ($subject:ty; $($case:ident),* $(,)?) => {
        $(
            #[test]
            fn $case() {
                $crate::storage::contract::$case::<$subject>();
            }
        )*
    };
    ($subject:ty) => {
        $crate::storage::contract::contract!(
            $subject;
            an_empty_store_has_nothing,
            a_record_is_read_as_written,
            streams_of_the_servers_own_are_kept,
            a_record_is_replaced,
            ranges_read_what_was_appended,
            a_batch_may_append_to_a_stream_several_times,
            streams_do_not_mix,
            a_fork_begins_at_its_fork_point,
            lists_are_sorted_and_paged,
            a_stream_keeps_the_spelling_of_its_creation,
            a_batch_is_refused_whole,
            a_removed_stream_is_gone_and_its_name_is_free,
            a_name_put_for_another_id_removes_the_first_stream,
            due_streams_come_soonest_first,
            writers_are_kept_by_stream,
            maintenance_frees_removed_streams,
            trimmed_bytes_are_freed,
            usage_counts,
            ids_are_never_repeated,
            large_values_survive,
            many_streams_in_one_batch,
            readers_see_whole_batches,
            random_batches_agree_with_a_model,
            everything_survives_reopening,
        );
    };
}
pub(crate) use contract;

pub(crate) fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

pub(crate) fn record(id: StreamId) -> StreamRecord {
    StreamRecord {
        id,
        start: 0,
        content_type: "application/json".to_owned(),
        created_at: 1_700_000_000_000,
        lifetime: Lifetime::Unlimited,
        touched_at: 1_700_000_000_000,
        due_at: None,
        closed: false,
        closed_by: None,
        stream_seq: None,
        fork: None,
        forks: 0,
        soft_deleted: false,
        lives: vec![],
        renewed: None,
        framing: Framing::NONE,
        retention: None,
    }
}

pub(crate) fn put(text: &str, record: StreamRecord) -> Change {
    Change::Put {
        name: name(text),
        record,
    }
}

pub(crate) fn append(id: StreamId, at: u64, data: impl AsRef<[u8]>) -> Change {
    Change::Append {
        id,
        at,
        data: vec![Bytes::copy_from_slice(data.as_ref())],
    }
}

pub(crate) fn producer(id: StreamId, key: &str, state: ProducerState, used_at: Millis) -> Change {
    Change::Writer {
        id,
        key: key.to_owned(),
        state: Some(WriterState {
            progress: Progress::Producer(state),
            used_at,
        }),
    }
}

/// The state of a stream's writer.
pub(crate) fn writer(store: &impl Storage, id: StreamId, key: &str) -> Option<WriterState> {
    let writers = store.writers(id).unwrap();
    writers
        .into_iter()
        .find(|(known, _)| known == key)
        .map(|(_, state)| state)
}

fn producer_state(store: &impl Storage, id: StreamId, key: &str) -> Option<ProducerState> {
    match writer(store, id, key)?.progress {
        Progress::Producer(state) => Some(state),
        Progress::Sequence(_) => None,
    }
}

pub(crate) fn remove(text: &str, id: StreamId) -> Change {
    Change::Remove { name: name(text), id }
}

fn drain(store: &impl Storage) {
    for _ in 0..10_000 {
        if !store.maintain().unwrap() {
            return;
        }
    }
    panic!("maintenance never ends");
}

/// A stream, without its revision, which only a shared store has.
fn get(store: &impl Storage, text: &str) -> Option<Stored> {
    let stored = store.get(&name(text)).unwrap()?;
    Some(Stored { rev: 0, ..stored })
}
