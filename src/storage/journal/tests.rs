//! The two files of the journal.

use super::{
    FILE_NAMES, Journal,
    entry::Encoded,
    frame::HEADER_LEN,
    fuzzing::{Memory, change, check_found, open},
};
use crate::storage::StorageError;

/// The offset of the first record.
const FIRST_RECORD: usize = 4096;

fn encoded(data: &[u8]) -> Encoded {
    Encoded::batch(&[change(data)]).unwrap()
}

fn write(journal: &mut Journal, written: &[&[u8]]) {
    for data in written {
        journal.append(&encoded(data)).unwrap();
    }
}

/// A journal with `older` in its first file and `newer` in the second one.
fn divided(older: &[&[u8]], newer: &[&[u8]]) -> Memory {
    let disk = Memory::default();
    let (mut journal, _) = open(&disk, true).unwrap();
    write(&mut journal, older);
    journal.begin_table(0);
    write(&mut journal, newer);
    disk
}

/// Damages the last byte of the last record of a file with these records.
fn damage_last(disk: &Memory, file: usize, records: &[&[u8]]) {
    let len: usize = records
        .iter()
        .map(|data| HEADER_LEN + encoded(data).len() as usize)
        .sum();
    disk.file(FILE_NAMES[file]).0.lock()[FIRST_RECORD + len - 1] ^= 1;
}

#[test]
fn the_records_of_both_files_are_found_in_order() {
    let disk = divided(&[b"1", b"2"], &[b"3", b"4"]);
    let (mut journal, found) = open(&disk, true).unwrap();
    check_found(&found, &[b"1", b"2", b"3", b"4"]);
    // The first file has records that the index has not: the second one goes on.
    journal.begin_table(0);
    write(&mut journal, &[b"5"]);
    let (mut journal, found) = open(&disk, true).unwrap();
    check_found(&found, &[b"1", b"2", b"3", b"4", b"5"]);
    // The index has those of the first file now.
    journal.begin_table(2);
    write(&mut journal, &[b"6"]);
    let (_, found) = Journal::open(&disk, true, 2, [7, 8]).unwrap();
    check_found(&found, &[b"3", b"4", b"5", b"6"]);
    let (_, found) = Journal::open(&disk, true, 6, [7, 8]).unwrap();
    check_found(&found, &[]);
}

#[test]
fn a_record_whose_write_failed_does_not_come_before_the_one_with_its_number() {
    let disk = Memory::default();
    let (mut journal, _) = open(&disk, true).unwrap();
    write(&mut journal, &[b"1"]);
    let before = (journal.next_seq, journal.last_crc);
    write(&mut journal, &[b"failed"]);
    (journal.next_seq, journal.last_crc) = before;
    journal.begin_table(0);
    write(&mut journal, &[b"2", b"3"]);
    check_found(&open(&disk, true).unwrap().1, &[b"1", b"2", b"3"]);
}

#[test]
fn damage_at_the_end_of_the_older_file_is_detected() {
    let older: [&[u8]; 2] = [b"1", b"2"];
    let disk = divided(&older, &[b"3"]);
    damage_last(&disk, 0, &older);
    let refused = open(&disk, true).unwrap_err();
    assert!(matches!(refused, StorageError::Corrupt(_)), "{refused}");
    // Without syncs, a damaged record ends the journal.
    let (mut journal, found) = open(&disk, false).unwrap();
    check_found(&found, &[b"1"]);
    write(&mut journal, &[b"other"]);
    for sync in [false, true] {
        check_found(&open(&disk, sync).unwrap().1, &[b"1", b"other"]);
    }
}

/// The index has what was found, and the next records have the numbers of those that were lost.
#[test]
fn lost_records_do_not_come_back() {
    let older: [&[u8]; 2] = [b"1", b"2"];
    let disk = divided(&older, &[b"3", b"4", b"5"]);
    damage_last(&disk, 0, &older);
    let (mut journal, _) = open(&disk, false).unwrap();
    write(&mut journal, &[b"other", b"next"]);
    for applied in 1..=3 {
        let (_, found) = Journal::open(&disk, false, applied, [7, 8]).unwrap();
        check_found(&found, &[b"1".as_slice(), b"other", b"next"][applied as usize..]);
    }
    // The beginning of what the index lacks.
    let disk = divided(&[b"1"], &[b"2"]);
    damage_last(&disk, 0, &[b"1"]);
    assert!(matches!(open(&disk, true), Err(StorageError::Corrupt(_))));
    check_found(&open(&disk, false).unwrap().1, &[]);
    check_found(&open(&disk, true).unwrap().1, &[]);
}

#[test]
fn a_record_whose_write_failed_does_not_hide_what_follows_the_index() {
    let disk = Memory::default();
    let (mut journal, _) = open(&disk, true).unwrap();
    write(&mut journal, &[b"1"]);
    journal.begin_table(0);
    write(&mut journal, &[b"2"]);
    let before = (journal.next_seq, journal.last_crc);
    write(&mut journal, &[b"failed"]);
    (journal.next_seq, journal.last_crc) = before;
    journal.begin_table(1);
    write(&mut journal, &[b"3"]);
    let (mut journal, found) = Journal::open(&disk, true, 3, [7, 8]).unwrap();
    assert!(found.is_empty());
    write(&mut journal, &[b"4", b"5"]);
    check_found(&Journal::open(&disk, true, 3, [7, 8]).unwrap().1, &[b"4", b"5"]);
}

#[test]
fn the_chain_goes_on_after_a_clean_stop() {
    let disk = divided(&[b"1"], &[b"2"]);
    // Twice: in each of the files.
    for applied in 2..6 {
        let (mut journal, found) = Journal::open(&disk, true, applied, [7, 8]).unwrap();
        assert!(found.is_empty());
        write(&mut journal, &[b"next"]);
        check_found(&Journal::open(&disk, true, applied, [7, 8]).unwrap().1, &[b"next"]);
        journal.begin_table(applied);
    }
}

#[test]
fn a_torn_record_at_the_end_of_the_newer_file_is_dropped() {
    let newer: [&[u8]; 2] = [b"2", b"3"];
    let disk = divided(&[b"1"], &newer);
    damage_last(&disk, 1, &newer);
    check_found(&open(&disk, true).unwrap().1, &[b"1", b"2"]);
    let disk = divided(&[b"1"], &[b"2"]);
    damage_last(&disk, 1, &[b"2"]);
    check_found(&open(&disk, true).unwrap().1, &[b"1"]);
}

#[test]
fn a_journal_with_one_file_is_upgraded() {
    let disk = Memory::default();
    let (mut journal, _) = open(&disk, true).unwrap();
    write(&mut journal, &[b"1"]);
    let [first, second] = FILE_NAMES.map(|name| disk.file(name));
    {
        let mut header = first.0.lock();
        header[16..24].copy_from_slice(&1u64.to_le_bytes());
        let checksum = crc32c::crc32c(&header[..32]).to_le_bytes();
        header[32..36].copy_from_slice(&checksum);
        second.0.lock().clear();
    }
    let (mut journal, found) = open(&disk, true).unwrap();
    check_found(&found, &[b"1"]);
    assert_eq!(first.0.lock()[16], 2, "an older version would not see the second file");
    journal.begin_table(0);
    write(&mut journal, &[b"2"]);
    check_found(&open(&disk, true).unwrap().1, &[b"1", b"2"]);
    second.0.lock().clear();
    assert!(matches!(open(&disk, true), Err(StorageError::Corrupt(_))));
}
