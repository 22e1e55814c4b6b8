//! Names that legacy versions accepted, in the journal and in the index.

use std::path::Path;

use crate::storage::{
    AcidStorage, Change, Storage,
    contract::{append, record, remove, scratch},
    disk::Directory,
    index,
    journal::{Journal, entry::Encoded},
};

fn acid(dir: &Path) -> AcidStorage {
    AcidStorage::open(dir, 1 << 20).unwrap()
}

/// Writes a journal as a killed legacy version leaves it.
fn leave(dir: &Path, streams: &[(&str, u64, &'static str)], then: &[Change]) {
    drop(acid(dir));
    let disk = Directory::create(dir).unwrap();
    let (mut journal, _) = Journal::open(&disk, true, 0, [1, 2]).unwrap();
    for (name, id, data) in streams {
        journal.append(&Encoded::legacy(name, &record(*id), data)).unwrap();
    }
    for change in then {
        journal
            .append(&Encoded::batch(std::slice::from_ref(change)).unwrap())
            .unwrap();
    }
}

/// The names of all streams and their content.
fn listed(store: &AcidStorage) -> Vec<(String, String)> {
    let all = store.list("", None, 100).unwrap();
    all.into_iter()
        .map(|(name, stored)| {
            let bytes = store.read(stored.record.id, 0..stored.tail).unwrap();
            (name.to_string(), String::from_utf8(bytes.to_vec()).unwrap())
        })
        .collect()
}

fn expected(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter()
        .map(|(name, data)| ((*name).into(), (*data).into()))
        .collect()
}

#[test]
fn a_legacy_journal_keeps_every_stream() {
    let long = format!("{}zz", "x:/".repeat(340));
    type Case<'a> = (
        &'a [(&'a str, u64, &'static str)],
        &'a [Change],
        &'a [(&'a str, &'a str)],
    );
    let cases: [Case<'_>; 4] = [
        (
            &[("a//b", 1, "one"), ("a/b", 2, "two")],
            &[append(1, 3, "+"), append(2, 3, "+")],
            &[("a//b", "one+"), ("a/b~2", "two+")],
        ),
        // Removing one does not remove the other.
        (
            &[("a//b", 1, "one"), ("a/b", 2, "two")],
            &[remove("a/b", 2)],
            &[("a//b", "one")],
        ),
        (
            &[("a//b", 1, "one"), ("a/b", 2, "two")],
            &[remove("a//b", 1)],
            &[("a/b~2", "two")],
        ),
        (
            &[("//__ds/x", 1, "one"), ("/__ds", 2, "two"), (&long, 3, "three")],
            &[append(1, 3, "+")],
            &[("/__ds~2", "two"), ("renamed~1", "one+"), ("renamed~3", "three")],
        ),
    ];
    for (streams, then, found) in cases {
        let dir = scratch();
        leave(dir.path(), streams, then);
        // The second time, from the index.
        for _ in 0..2 {
            assert_eq!(listed(&acid(dir.path())), expected(found), "{streams:?}");
        }
    }
}

#[test]
fn an_index_with_names_that_are_refused_today_opens() {
    let dir = scratch();
    let long = format!("{}zz", "x:/".repeat(340));
    leave(dir.path(), &[("a", 1, "one"), ("b", 2, "two"), ("c", 3, "three")], &[]);
    drop(acid(dir.path()));
    let index_file = dir.path().join(index::FILE_NAME);
    index::testing::make_names_legacy(&index_file, &[("a", "//__ds/x"), ("b", "/__ds"), ("c", &long)]);
    let found = [("/__ds~2", "two"), ("renamed~1", "one"), ("renamed~3", "three")];
    for _ in 0..2 {
        assert_eq!(listed(&acid(dir.path())), expected(&found));
    }
}
