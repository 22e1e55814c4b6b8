//! The stored bytes, as versions in use have written them.

use super::{legacy::LegacyRecord, *};
use crate::storage::contract;

/// A record with a value in every field.
fn full() -> StreamRecord {
    StreamRecord {
        id: 300,
        start: 5,
        content_type: "text/plain".into(),
        created_at: 1000,
        lifetime: Lifetime::Ttl(60),
        touched_at: 2000,
        due_at: Some(62_000),
        closed: true,
        closed_by: Some(ProducerStamp {
            id: "p".into(),
            epoch: 1,
            seq: 2,
        }),
        stream_seq: Some("s".into()),
        fork: Some(Box::new(Fork {
            source: contract::name("a//b"),
            source_id: 7,
            offset: 4,
            sub_offset: 1,
            lineage: vec![Inherited { id: 7, end: 5 }],
        })),
        forks: 3,
        soft_deleted: true,
        lives: vec![Life { incarnation: 7, end: 5 }],
        renewed: Some(301),
        framing: Framing::NEW,
        retention: Some(Box::new(Retention {
            policy: Some(RetentionPolicy {
                max_age_secs: Some(9),
                max_bytes: None,
            }),
            earliest: 6,
            given_up: 5,
            marks: vec![Mark { at: 1500, position: 6 }],
            due_at: Some(9000),
        })),
    }
}

const FULL: &[u8] = b"\xac\x02\x05\x0atext/plain\xe8\x07\x01\x3c\xd0\x0f\x01\xb0\xe4\x03\x01\x01\x01p\x01\x02\x01\x01s\
    \x01\x04a//b\x07\x04\x01\x01\x07\x05\x03\x01\x01\x07\x05\x01\xad\x02\x10\x01\x01\x01\x09\x00\x06\x05\x01\xdc\x0b\
    \x06\x01\xa8\x46";

#[test]
fn a_record_has_the_bytes_of_format_3() {
    assert_eq!(postcard::to_stdvec(&StoredRecord::from(&full())).unwrap(), FULL);
    let read: StoredRecord<'_> = postcard::from_bytes(FULL).unwrap();
    assert_eq!(StreamRecord::from(read), full());
    let plain: &[u8] = b"\x01\x00\x10application/json\x80\xd0\x95\xff\xbc\x31\x00\x80\xd0\x95\xff\xbc\x31\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    assert_eq!(
        postcard::to_stdvec(&StoredRecord::from(&contract::record(1))).unwrap(),
        plain
    );
}

#[test]
fn a_legacy_record_has_the_bytes_of_formats_1_and_2() {
    let legacy = postcard::to_stdvec(&LegacyRecord::from(&full())).unwrap();
    let shared =
        FULL.len() - b"\x01\x07\x05\x01\xad\x02\x10\x01\x01\x01\x09\x00\x06\x05\x01\xdc\x0b\x06\x01\xa8\x46".len();
    assert_eq!(legacy, FULL[..shared]);
}

#[test]
fn every_lifetime_and_writer_has_its_bytes() {
    for (lifetime, bytes) in [
        (Lifetime::Unlimited, vec![0]),
        (Lifetime::Ttl(60), vec![1, 60]),
        (Lifetime::ExpiresAt(5), vec![2, 5]),
    ] {
        assert_eq!(postcard::to_stdvec(&StoredLifetime::from(lifetime)).unwrap(), bytes);
    }
    let producer = ProducerState { epoch: 3, seq: 200 };
    for (progress, bytes) in [
        (Progress::Producer(producer), vec![0, 3, 0xc8, 1, 9]),
        (Progress::Sequence("b".into()), vec![1, 1, b'b', 9]),
    ] {
        let writer = WriterState { progress, used_at: 9 };
        assert_eq!(postcard::to_stdvec(&StoredWriter::from(&writer)).unwrap(), bytes);
        let read: StoredWriter<'_> = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(WriterState::from(read), writer);
    }
}
