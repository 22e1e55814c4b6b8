//! Small histories, one for each way to break a rule, and one that breaks none.

use super::{
    super::history::{Answer, Call, Message, Mode, NEVER, Nanos, Offset, Op, Stamp},
    check,
};

/// A history of one stream.
#[derive(Default)]
struct Told(Vec<Op>);

fn message(number: u32) -> Message {
    Message { client: 1, number }
}

fn at(position: u64) -> Offset {
    Offset { life: 7, position }
}

fn append(numbers: &[u32]) -> Call {
    Call::Append {
        messages: numbers.iter().copied().map(message).collect(),
        stamp: None,
        expected: None,
        close: false,
    }
}

fn produced(number: u32, seq: u64) -> Call {
    Call::Append {
        messages: vec![message(number)],
        stamp: Some(Stamp { epoch: 0, seq }),
        expected: None,
        close: false,
    }
}

fn appended(tail: u64) -> Answer {
    Answer::Appended {
        tail: at(tail),
        closed: false,
        duplicate: false,
    }
}

fn duplicate(tail: u64) -> Answer {
    Answer::Appended {
        tail: at(tail),
        closed: false,
        duplicate: true,
    }
}

fn state(tail: u64, closed: bool) -> Answer {
    Answer::State { tail: at(tail), closed }
}

impl Told {
    /// A stream that is created at 1 to 2.
    fn created() -> Self {
        let answer = Answer::Created {
            tail: at(0),
            closed: false,
        };
        Self::default().op(1, 2, Call::Create { closed: false }, answer)
    }

    fn op(mut self, begin: Nanos, end: Nanos, call: Call, answer: Answer) -> Self {
        self.0.push(Op {
            client: 1,
            server: 0,
            name: "s".to_owned(),
            begin,
            end,
            call,
            answer,
        });
        self
    }

    fn read(self, begin: Nanos, from: Option<u64>, numbers: &[u32], next: u64) -> Self {
        self.reads(begin, from, numbers, next, Mode::CatchUp, true, false)
    }

    #[expect(clippy::too_many_arguments)]
    fn reads(
        self,
        begin: Nanos,
        from: Option<u64>,
        numbers: &[u32],
        next: u64,
        mode: Mode,
        up_to_date: bool,
        closed: bool,
    ) -> Self {
        let answer = Answer::Content {
            messages: numbers.iter().copied().map(message).collect(),
            next: at(next),
            up_to_date,
            closed,
        };
        let from = from.map(at);
        self.op(begin, begin + 1, Call::Read { from, mode }, answer)
    }

    fn breaks_nothing(&self) {
        assert_eq!(
            check(&self.0).iter().map(ToString::to_string).collect::<Vec<_>>(),
            [""; 0]
        );
    }

    #[track_caller]
    fn breaks(&self, rule: &str, part: &str) {
        let found = check(&self.0);
        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        let right = found
            .iter()
            .any(|violation| violation.rule == rule && violation.what.contains(part));
        assert!(right, "{rule}, {part}: {told:#?}");
        assert!(
            found
                .iter()
                .all(|violation| !violation.ops.is_empty() && violation.ops.len() <= 3)
        );
    }
}

#[test]
fn a_history_of_one_server_breaks_nothing() {
    Told::created()
        .op(3, 6, append(&[1, 2]), appended(20))
        // Began before the first was answered, and stands before it.
        .op(4, 7, append(&[3]), appended(8))
        .op(8, NEVER, append(&[4]), Answer::Unknown)
        .op(9, NEVER, append(&[5]), Answer::Unknown)
        .op(10, NEVER, produced(6, 0), Answer::Unknown)
        .op(20, 21, produced(6, 0), duplicate(44))
        .op(22, 23, append(&[7]), Answer::Refused(409))
        .op(24, 25, Call::Head, state(44, false))
        .read(26, None, &[3, 1, 2, 5, 6], 44)
        .read(28, Some(8), &[1, 2, 5, 6], 44)
        .reads(30, Some(20), &[5], 32, Mode::Sse, false, false)
        .op(32, 34, Call::Close, state(44, true))
        .op(35, 36, append(&[8]), Answer::Closed { tail: at(44) })
        .reads(37, Some(44), &[], 44, Mode::LongPoll, true, true)
        .op(40, 41, Call::Delete, Answer::Deleted)
        .op(42, 43, Call::Head, Answer::Absent)
        .op(
            44,
            45,
            Call::Read {
                from: Some(at(8)),
                mode: Mode::CatchUp,
            },
            Answer::Absent,
        )
        .breaks_nothing();
}

#[test]
fn an_acknowledged_append_must_be_there() {
    let told = Told::created().op(3, 4, append(&[1]), appended(10));
    told.op(5, 6, append(&[2]), appended(20))
        .read(7, None, &[1], 20)
        .breaks("acknowledged", "not there");
    let told = Told::created().op(3, NEVER, produced(1, 0), Answer::Unknown);
    told.op(5, 6, produced(1, 0), duplicate(10))
        .read(7, None, &[], 10)
        .breaks("acknowledged", "not there");
}

#[test]
fn an_acknowledged_append_must_end_at_its_offset() {
    let told = Told::created()
        .op(3, 6, append(&[1]), appended(20))
        .op(3, 6, append(&[2]), appended(10));
    told.read(7, None, &[1, 2], 20)
        .read(9, None, &[1], 10)
        .breaks("acknowledged", "as message");
    let told = Told::created().op(3, 6, append(&[1]), appended(10));
    told.op(3, 6, append(&[2]), appended(10))
        .breaks("acknowledged", "same offset");
    let at_ten = Call::Append {
        messages: vec![message(3)],
        stamp: None,
        expected: Some(at(10)),
        close: false,
    };
    Told::created()
        .op(3, 9, append(&[1]), appended(10))
        .op(3, 9, append(&[2]), appended(20))
        .op(4, 9, at_ten, appended(30))
        .read(10, None, &[1], 10)
        .read(12, None, &[1, 2, 3], 30)
        .breaks("acknowledged", "was to follow");
}

#[test]
fn what_was_answered_before_stands_before() {
    let told = Told::created().op(3, 4, append(&[1]), appended(20));
    told.op(5, 6, append(&[2]), appended(10))
        .breaks("order", "before it began");
    // Without an answer, only the log tells.
    let told = Told::created().op(3, 4, append(&[1]), appended(20));
    told.op(5, NEVER, append(&[2]), Answer::Unknown)
        .read(7, None, &[2, 1], 20)
        .breaks("order", "stands after");
}

#[test]
fn a_read_contains_what_was_acknowledged_before_it() {
    let told = || Told::created().op(3, 4, append(&[1]), appended(10));
    told().read(5, None, &[], 0).breaks("fresh", "lacks");
    told().op(5, 6, Call::Head, state(0, false)).breaks("fresh", "lacks");
    // It began earlier.
    Told::created()
        .op(3, 6, append(&[1]), appended(10))
        .read(5, None, &[], 0)
        .breaks_nothing();
}

#[test]
fn tails_never_go_back() {
    let told = || {
        Told::created()
            .op(3, NEVER, append(&[1]), Answer::Unknown)
            .read(5, None, &[1], 10)
    };
    told().read(7, None, &[], 0).breaks("fresh", "went back");
    told()
        .op(7, 8, Call::Head, state(0, false))
        .breaks("fresh", "went back");
}

#[test]
fn nothing_is_there_twice() {
    let told = Told::created().op(3, NEVER, append(&[1]), Answer::Unknown);
    told.read(5, None, &[1, 1], 20).breaks("once", "twice");
    let told = Told::created()
        .op(3, NEVER, produced(1, 0), Answer::Unknown)
        .op(5, 6, produced(1, 0), appended(20));
    told.read(7, None, &[1, 1], 20).breaks("once", "twice");
    let told = Told::created().op(3, 4, produced(1, 0), appended(10));
    told.op(5, 6, produced(1, 0), appended(20))
        .breaks("producer", "new twice");
}

#[test]
fn what_was_refused_is_not_there() {
    let told = Told::created().op(3, 4, append(&[1]), Answer::Refused(409));
    told.read(5, None, &[1], 10).breaks("once", "refused");
    Told::created().read(5, None, &[1], 10).breaks("once", "never sent");
    let told = Told::created().read(3, None, &[1], 10);
    told.op(5, 6, append(&[1]), appended(10))
        .breaks("content", "before it was sent");
}

#[test]
fn an_append_is_whole() {
    let told = || Told::created().op(3, NEVER, append(&[1, 2]), Answer::Unknown);
    told().read(5, None, &[1], 10).breaks("once", "in part");
    let told = told().op(3, NEVER, append(&[3]), Answer::Unknown);
    told.read(5, None, &[1, 3, 2], 30).breaks("once", "within");
}

#[test]
fn nothing_follows_the_close() {
    let told = || Told::created().op(3, 4, Call::Close, state(0, true));
    told()
        .op(3, 9, append(&[1]), appended(10))
        .breaks("closed", "has content up to 10");
    told()
        .op(5, 6, Call::Head, state(0, false))
        .breaks("closed", "then open");
    told()
        .op(5, 6, append(&[1]), appended(10))
        .breaks("closed", "has content up to 10");
    Told::created()
        .op(5, 6, Call::Head, state(0, true))
        .breaks("closed", "nobody");
    let told = Told::created().op(3, 8, Call::Close, state(0, true));
    told.op(3, 8, append(&[1]), appended(10))
        .op(4, 8, Call::Close, state(10, true))
        .breaks("closed", "at 0");
}

#[test]
fn readers_agree() {
    let told = || {
        Told::created()
            .op(3, 9, append(&[1]), appended(10))
            .op(3, 9, append(&[2]), appended(20))
            .op(3, 9, append(&[3]), appended(30))
            .read(10, None, &[1, 2, 3], 30)
    };
    let sse = |told: Told, from, numbers: &[u32], next| told.reads(12, from, numbers, next, Mode::Sse, false, false);
    sse(told(), Some(10), &[2], 20).breaks_nothing();
    // A gap, a repeat, another order, and another offset.
    sse(told(), None, &[1, 3], 30).breaks("content", "same place");
    sse(told(), Some(10), &[1, 2], 20).breaks("content", "same place");
    sse(told(), None, &[2, 1], 20).breaks("content", "same place");
    sse(told(), Some(10), &[], 20).breaks("acknowledged", "before offset");
    sse(told(), Some(20), &[3, 3], 40).breaks("once", "twice");
    sse(told(), Some(20), &[3], 10).breaks("content", "before its beginning");
}

#[test]
fn a_name_has_one_life_at_a_time() {
    let later = |position| Offset { life: 9, position };
    let created = |tail| Answer::Created { tail, closed: false };
    let create = || Call::Create { closed: false };
    let seen = |life, position| Answer::State {
        tail: Offset { life, position },
        closed: false,
    };
    let told = || Told::created().op(3, 4, Call::Delete, Answer::Deleted);
    told()
        .op(5, 6, create(), created(later(0)))
        .op(7, 8, Call::Head, seen(9, 0))
        .breaks_nothing();
    told().op(5, 6, Call::Head, seen(7, 0)).breaks("lives", "was over");
    told()
        .op(5, 6, create(), created(at(0)))
        .breaks("lives", "created twice");
    told()
        .op(5, 6, create(), created(later(0)))
        .op(7, 8, Call::Head, seen(7, 0))
        .breaks("lives", "after life 9");
    told()
        .op(5, 6, Call::Delete, Answer::Deleted)
        .breaks("lives", "2 deletions of 1 lives");
    let told = Told::created().op(3, 4, Call::Head, Answer::Absent);
    told.breaks("lives", "nobody had deleted");
    let told = Told::created()
        .op(3, 4, Call::Head, Answer::Absent)
        .op(5, NEVER, Call::Delete, Answer::Unknown);
    told.op(6, 7, Call::Head, state(0, false)).breaks("lives", "was over");
    let other = Call::Read {
        from: Some(at(0)),
        mode: Mode::CatchUp,
    };
    let told = Told::created()
        .op(2, NEVER, Call::Delete, Answer::Unknown)
        .op(3, 4, other, Answer::OtherLife);
    told.op(5, 6, Call::Head, state(0, false)).breaks("lives", "was over");
    Told::default()
        .op(1, 2, Call::Head, state(0, false))
        .breaks("lives", "nobody had created");
    let told = Told::default().op(1, 2, Call::Head, state(0, false));
    told.op(3, 4, create(), created(at(0)))
        .breaks("lives", "before it was created");
}

#[test]
fn a_producer_keeps_its_state() {
    let told = || Told::created().op(3, 4, produced(1, 0), appended(10));
    told()
        .op(5, 6, produced(2, 1), Answer::Gap { expected: 0 })
        .breaks("producer", "missed");
    told()
        .op(5, 6, produced(2, 1), Answer::StaleEpoch { epoch: 4 })
        .breaks("producer", "never sent");
    // Only what was accepted can be known.
    told()
        .op(5, 6, produced(3, 2), Answer::Gap { expected: 1 })
        .breaks_nothing();
}

#[test]
fn streams_are_judged_by_name() {
    let mut told = Told::created().op(3, 4, append(&[1]), appended(10));
    let mut other = Told::created().read(5, None, &[], 0);
    other.0.iter_mut().for_each(|op| "other".clone_into(&mut op.name));
    told.0.append(&mut other.0);
    told.breaks_nothing();
}

/// Long histories take time that grows with their length, not with its square.
#[test]
fn a_long_history_is_judged_quickly() {
    const APPENDS: u32 = 50_000;
    let mut told = Told::created();
    for number in 1..=APPENDS {
        let (time, tail) = (u64::from(number) * 10, u64::from(number) * 5);
        told = told.op(time, time + 1, append(&[number]), appended(tail));
        told = told.read(time + 2, Some(tail - 5), &[number], tail);
        told = told.op(time + 4, time + 5, Call::Head, state(tail, false));
    }
    let all: Vec<u32> = (1..=APPENDS).collect();
    let told = told.read(u64::from(APPENDS) * 20, None, &all, u64::from(APPENDS) * 5);
    let start = std::time::Instant::now();
    told.breaks_nothing();
    let taken = start.elapsed();
    assert!(taken < std::time::Duration::from_secs(20), "{taken:?}");
}
