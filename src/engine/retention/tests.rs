use super::*;

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
/// Calls `check` with the moment, the past, and when each byte was written.
fn simulate(gap: Millis, mut check: impl FnMut(Millis, &Retention, &[Millis])) {
    let (mut past, mut written) = (Retention::default(), Vec::new());
    let mut next_append = 0;
    for now in (0..20 * AGE).step_by(500) {
        if now >= next_append {
            written.push(now);
            next_append = now + gap;
            if past.due_at.is_none_or(|due_at| due_at > now + STEP) {
                past.due_at = Some(now + STEP);
            }
        }
        if past.due_at.is_some_and(|due_at| due_at <= now) {
            age(&mut past, AGE, now, written.len() as u64);
        }
        check(now, &past, &written);
    }
}

#[test]
fn what_is_given_up_is_old_enough_and_nothing_stays_for_long() {
    for gap in [500, 3_000, STEP, AGE / 3, AGE, 5 * AGE] {
        simulate(gap, |now, past, written| {
            let (gone, kept) = written.split_at(usize::try_from(past.earliest).unwrap());
            if let Some(youngest) = gone.last() {
                assert!(now - youngest >= AGE, "gap {gap} at {now}: {youngest} went");
            }
            if let Some(oldest) = kept.first() {
                assert!(
                    now - oldest <= AGE + 2 * STEP + 1_000,
                    "gap {gap} at {now}: {oldest} stayed"
                );
            }
            assert!(past.marks.len() as u64 <= PARTS + 2, "{}", past.marks.len());
        });
    }
}

#[test]
fn a_stream_that_has_given_up_everything_is_never_due() {
    let mut idle = 0;
    simulate(5 * AGE, |_, past, written| {
        if past.earliest == written.len() as u64 {
            assert_eq!(past.due_at, None);
            assert!(past.marks.is_empty());
            idle += 1;
        }
    });
    assert!(idle > 0);
}

#[test]
fn a_clock_that_was_set_back_keeps_nothing_for_longer() {
    let (wrong, right) = (1_000 * AGE, 10 * AGE);
    let mut past = Retention::default();
    age(&mut past, AGE, wrong, 5);
    age(&mut past, AGE, right, 5);
    assert_eq!(past.due_at, Some(right + AGE));
    age(&mut past, AGE, right + STEP, 8);
    age(&mut past, AGE, right + AGE + STEP, 8);
    assert_eq!(past.earliest, 8);
}

#[test]
fn the_store_keeps_what_forks_read() {
    let mut past = Retention {
        earliest: 10,
        given_up: 4,
        ..Retention::default()
    };
    settle(&mut past, 1);
    assert_eq!(past.given_up, 4);
    settle(&mut past, 0);
    assert_eq!(past.given_up, 10);
}
