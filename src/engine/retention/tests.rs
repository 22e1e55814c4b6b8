use super::*;
use crate::storage::contract::record;

fn rule(streams: &str) -> RetentionRule {
    RetentionRule {
        streams: streams.to_owned(),
        max_age_secs: None,
        max_bytes: None,
    }
}

#[test]
fn a_star_stands_for_any_run_of_characters() {
    let matching = [
        ("*", "anything"),
        ("logs/*", "logs/"),
        ("logs/*", "logs/a/b"),
        ("gid://app/Room/*/messages", "gid://app/Room/1/messages"),
        ("*/messages", "a/messages"),
        ("a*b*c", "a-b-b-c"),
        ("a*c", "abcabc"),
        ("exact", "exact"),
        ("a**b", "ab"),
    ];
    for (pattern, name) in matching {
        assert!(rule(pattern).matches(name), "{pattern} {name}");
    }
    let not = [
        ("logs/*", "log/a"),
        ("exact", "exactly"),
        ("exact", "an exact"),
        ("gid://app/Room/*/messages", "gid://app/Room/1/messages/2"),
        ("a*b*c", "a-c"),
        ("ab*ba", "aba"),
        ("LOGS/*", "logs/a"),
    ];
    for (pattern, name) in not {
        assert!(!rule(pattern).matches(name), "{pattern} {name}");
    }
}

const AGE: Millis = 160_000;
const STEP: Millis = AGE / PARTS;

/// Appends `gap` apart for a long time, with a sweep whenever one is due, as the engine does.
/// Calls `check` with the time, the stream's retention, and when each byte was written.
fn simulate(gap: Millis, mut check: impl FnMut(Millis, &Retention, &[Millis])) {
    let (mut retention, mut written) = (Retention::default(), Vec::new());
    let mut next_append = 0;
    for now in (0..20 * AGE).step_by(500) {
        if now >= next_append {
            written.push(now);
            next_append = now + gap;
            retention.due_at = earlier_due(Some(&retention), AGE, now).or(retention.due_at);
        }
        if retention.due_at.is_some_and(|due_at| due_at <= now) {
            trim_by_age(&mut retention, AGE, now, written.len() as u64);
        }
        check(now, &retention, &written);
    }
}

#[test]
fn trimmed_data_is_old_enough_and_none_stays_for_long() {
    for gap in [500, 3_000, STEP, AGE / 3, AGE, 5 * AGE] {
        simulate(gap, |now, retention, written| {
            let (gone, kept) = written.split_at(usize::try_from(retention.earliest).unwrap());
            if let Some(youngest) = gone.last() {
                assert!(now - youngest >= AGE, "gap {gap} at {now}: {youngest} went");
            }
            if let Some(oldest) = kept.first() {
                assert!(
                    now - oldest <= AGE + 2 * STEP + 1_000,
                    "gap {gap} at {now}: {oldest} stayed"
                );
            }
            assert!(retention.marks.len() as u64 <= PARTS + 2, "{}", retention.marks.len());
        });
    }
}

#[test]
fn a_stream_trimmed_to_nothing_is_never_due() {
    let mut idle = 0;
    simulate(5 * AGE, |_, retention, written| {
        if retention.earliest == written.len() as u64 {
            assert_eq!(retention.due_at, None);
            assert!(retention.marks.is_empty());
            idle += 1;
        }
    });
    assert!(idle > 0);
}

#[test]
fn a_clock_set_back_keeps_nothing_for_longer() {
    let (wrong, right) = (1_000 * AGE, 10 * AGE);
    let mut retention = Retention::default();
    trim_by_age(&mut retention, AGE, wrong, 5);
    trim_by_age(&mut retention, AGE, right, 5);
    assert_eq!(retention.due_at, Some(right + AGE));
    trim_by_age(&mut retention, AGE, right + STEP, 8);
    trim_by_age(&mut retention, AGE, right + AGE + STEP, 8);
    assert_eq!(retention.earliest, 8);
}

#[test]
fn the_store_keeps_what_forks_read() {
    let mut retention = Retention {
        earliest: 10,
        given_up: 4,
        ..Retention::default()
    };
    release_unforked(&mut retention, 1);
    assert_eq!(retention.given_up, 4);
    release_unforked(&mut retention, 0);
    assert_eq!(retention.given_up, 10);
}

#[test]
fn a_stream_that_is_too_large_is_cut_with_room_to_spare() {
    let record = StreamRecord {
        retention: Some(Box::new(Retention {
            earliest: 1_000,
            ..Retention::default()
        })),
        ..record(1)
    };
    assert_eq!(size_cut(&record, 1_160, 160), None);
    assert_eq!(size_cut(&record, 1_161, 160), Some(1_161 - 150));
}

#[test]
fn a_cut_forgets_the_marks_below_it() {
    let mark = |position| Mark { at: 1, position };
    let mut retention = Retention {
        marks: vec![mark(5), mark(10), mark(15)],
        ..Retention::default()
    };
    trim_below(&mut retention, 10, 1);
    assert_eq!((retention.earliest, retention.given_up), (10, 0));
    assert_eq!(retention.marks, [mark(15)]);
}

#[test]
fn a_new_rule_concerns_the_streams_that_exceed_it() {
    let stored = |tail| Stored {
        record: record(1),
        tail,
        rev: 0,
    };
    let size = RetentionPolicy {
        max_bytes: Some(10),
        max_age_secs: None,
    };
    assert!(needs_policy(size, &stored(11), 0) && !needs_policy(size, &stored(10), 0));
    let age = RetentionPolicy {
        max_bytes: None,
        max_age_secs: Some(60),
    };
    assert!(needs_policy(age, &stored(1), 0) && !needs_policy(age, &stored(0), 0));
    let mut marked = stored(1);
    let mut retention = Retention::default();
    trim_by_age(&mut retention, 60_000, 5_000, 1);
    marked.record.retention = Some(Box::new(retention));
    assert!(!needs_policy(age, &marked, 5_000));
}
