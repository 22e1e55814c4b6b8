//! The state machine by itself.

use super::{
    super::{
        codec::{CodecError, decode_whole, encode, encode_state},
        decide::ClaimConflict,
        state::{Cursor, Event, Link, LinkType, State},
        token::Secret,
    },
    *,
};

fn offset(position: u64) -> Offset {
    Offset {
        incarnation: 7,
        position,
    }
}

fn state() -> State {
    State {
        definition: pulling(Some("a/*")),
        hash: "h".into(),
        created_at: NOW,
        root_url: root_url(),
        secret: serde_json::from_str("\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"").unwrap(),
        paused: false,
        links: [(name("a/1"), Link::new(LinkType::Glob, offset(0)))].into(),
        generation: 0,
        wake: None,
        retry: None,
    }
}

/// The state that a log describes.
fn replay(log: &[u8]) -> Result<State, CodecError> {
    let mut replayed = state();
    decode_whole(log)?
        .into_iter()
        .for_each(|line| replayed.apply(line.event));
    Ok(replayed)
}

fn pending(tail: u64, acked: Offset) -> PendingStream {
    PendingStream {
        stream: name("a/1"),
        link: LinkType::Glob,
        acked,
        tail: offset(tail),
        is_new: false,
    }
}

/// Stored subscriptions must be readable for ever.
#[test]
fn the_stored_form_is_pinned() {
    let stored = encode_state(state()).unwrap();
    let expected = r#"{"event":"state","version":1,"state":{"definition":{"type":"pull-wake","wake_stream":"wake","pattern":"a/*","lease_ttl_ms":30000},"hash":"h","created_at":1800000000000,"root_url":"https://streams.example/v1/stream","secret":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","paused":false,"links":{"a/1":{"explicit":false,"glob":true,"acked":"0000000000000007_0000000000000000"}},"generation":0}},
"#;
    assert_eq!(std::str::from_utf8(&stored).unwrap(), expected);
    let events = [
        Event::Linked {
            stream: name("a/2"),
            link: LinkType::Explicit,
            acked: Cursor(Offset::BEGINNING),
        },
        Event::Woken {
            generation: 1,
            wake: "w_1".into(),
            lease_until: None,
            streams: vec![name("a/1")],
        },
        Event::Claimed {
            worker: "me".into(),
            lease_until: 5,
        },
        Event::Acked {
            stream: name("a/1"),
            offset: Cursor(offset(4)),
        },
        Event::Extended { lease_until: 6 },
        Event::Accepted,
        Event::Failed {
            failures: 1,
            next_attempt_at: 9,
        },
        Event::Ended { done: true },
        Event::Unlinked {
            stream: name("a/2"),
            link: LinkType::Explicit,
        },
        Event::Paused,
        Event::Resumed,
    ];
    let expected = r#"{"event":"linked","stream":"a/2","link":"explicit","acked":"0000000000000000_0000000000000000"},
{"event":"woken","generation":1,"wake":"w_1","streams":["a/1"]},
{"event":"claimed","worker":"me","lease_until":5},
{"event":"acked","stream":"a/1","offset":"0000000000000007_0000000000000040"},
{"event":"extended","lease_until":6},
{"event":"accepted"},
{"event":"failed","failures":1,"next_attempt_at":9},
{"event":"ended","done":true},
{"event":"unlinked","stream":"a/2","link":"explicit"},
{"event":"paused"},
{"event":"resumed"},
"#;
    assert_eq!(std::str::from_utf8(&encode(&events).unwrap()).unwrap(), expected);
}

#[test]
fn a_log_that_is_damaged_or_of_a_later_version_is_refused() {
    let whole = encode_state(state()).unwrap();
    assert_eq!(replay(&whole).unwrap(), state());
    assert_eq!(decode_whole(&whole).unwrap()[0].len, whole.len());
    let later = String::from_utf8(whole.to_vec())
        .unwrap()
        .replace("\"version\":1", "\"version\":2");
    for broken in ["", "{\"event\":\"accepted\"},\n", "{\"event\":\"x\"},\n", &later] {
        assert!(replay(broken.as_bytes()).is_err(), "{broken}");
    }
}

/// Workers, leases and time at random: one holder at a time, generations only grow, cursors move
/// only forwards and only by their holder, and the log always yields the same state.
#[test]
fn no_order_of_requests_breaks_a_rule() {
    for seed in 0..300 {
        let random = Random::seeded(seed);
        let mut log = encode_state(state()).unwrap().to_vec();
        let (mut state, mut now, mut tail) = (state(), NOW, 0u64);
        // The wakes that were given to workers, and the cursor at that time.
        let mut given: Vec<WakeRef> = Vec::new();
        for _ in 0..60 {
            let before = state.clone();
            let cursor = before.links[&name("a/1")].acked.0;
            let has_pending = cursor.position < tail;
            let work = if has_pending {
                vec![pending(tail, cursor)]
            } else {
                vec![]
            };
            let mut by_holder = false;
            let events = match random.between(0, 6) {
                0 => {
                    tail += random.between(1, 5);
                    vec![]
                }
                1 => {
                    now += random.between(1, 40_000);
                    vec![]
                }
                2 if has_pending && state.current_wake(now).is_none() => vec![state.wake(&work, random.id(), now)],
                3 => match state.claim("w", &work, random.id(), now) {
                    Ok(events) => events,
                    Err(ClaimConflict::Claimed { .. }) => {
                        assert!(state.current_wake(now).unwrap().holder.is_some());
                        vec![]
                    }
                    Err(_) => vec![],
                },
                _ if given.is_empty() => vec![],
                operation => {
                    let wake = &given[random.between(0, given.len() as u64 - 1) as usize];
                    let is_last = given.last() == Some(wake);
                    by_holder = state.is_current(wake.generation, wake, now);
                    assert!(!by_holder || is_last, "an earlier worker acted");
                    let wrong = WakeRef {
                        wake_id: "x".into(),
                        ..wake.clone()
                    };
                    assert!(!state.is_current(wake.generation, &wrong, now));
                    assert!(!state.is_current(wake.generation + 1, wake, now));
                    match (by_holder, operation) {
                        (false, _) => vec![],
                        (true, 4) => vec![Event::Ended { done: false }],
                        (true, _) => {
                            let ack = Ack {
                                stream: name("a/1"),
                                offset: offset(random.between(cursor.position, tail)),
                            };
                            state.acknowledge(&[ack], operation == 5, now)
                        }
                    }
                }
            };
            log.extend(encode(&events).unwrap());
            for event in events {
                if let Event::Claimed { .. } = event {
                    let wake_id = state.wake.as_ref().unwrap().id.clone();
                    let generation = state.generation;
                    state.apply(event);
                    given.push(WakeRef { wake_id, generation });
                    continue;
                }
                state.apply(event);
            }
            let after = state.links[&name("a/1")].acked.0;
            assert!(after >= cursor, "a cursor went back");
            assert!(after == cursor || by_holder, "a cursor was moved by nobody");
            assert!(state.generation >= before.generation);
            let generations: Vec<u64> = given.iter().map(|wake| wake.generation).collect();
            assert!(generations.is_sorted_by(|one, other| one < other), "{generations:?}");
            assert_eq!(replay(&log).unwrap(), state, "seed {seed}");
        }
    }
}

#[test]
fn retries_back_off_to_a_minute() {
    let (mut state, random) = (state(), Random::seeded(3));
    for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
        let event = state.fail(NOW, &random);
        let Event::Failed { next_attempt_at, .. } = event else {
            panic!("{event:?}")
        };
        let delay = next_attempt_at - NOW;
        assert!(
            (expected * 800..=expected * 1200).contains(&delay),
            "{expected} s: {delay}"
        );
        state.apply(event);
    }
    // The clock was set back.
    assert!(!state.is_overdue(NOW) && state.due_at(NOW).is_some());
    assert!(state.is_overdue(NOW - 60_000) && state.due_at(NOW - 60_000).is_none());
    state.apply(Event::Ended { done: true });
    assert_eq!(state.retry, None);
}

#[test]
fn the_hash_is_of_the_normalized_configuration() {
    let hash = |definition: &Definition, streams: &[&str]| {
        let streams: Vec<_> = streams.iter().map(|stream| name(stream)).collect();
        definition.hash(&streams)
    };
    let definition = pulling(Some("gid:/app/*"));
    let same = hash(&definition, &["b", "a", "b"]);
    assert_eq!(hash(&pulling(Some("gid://app/*")), &["a", "b"]), same);
    let described = Definition {
        description: Some("x".into()),
        ..definition.clone()
    };
    let longer = Definition {
        lease_ttl_ms: 1000,
        ..definition.clone()
    };
    for other in [
        hash(&definition, &["a"]),
        hash(&pulling(None), &["a", "b"]),
        hash(&described, &["a", "b"]),
        hash(&longer, &["a", "b"]),
    ] {
        assert_ne!(other, same);
    }
    assert_ne!(Secret::generate().unwrap(), Secret::generate().unwrap());
}
