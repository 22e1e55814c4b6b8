//! One round: clients and live readers at work, faults, an audit, and the verdict.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    caller::{Caller, Name, World},
    checker::{self, Summary},
    client::{Client, named},
    fleet::Fleet,
    history::{Answer, Call, Mode, Offset, Op},
    messages::Form,
    support::rng::TestRng,
};

/// How long an audit's request may take. All servers are well by then.
const AUDIT: Duration = Duration::from_secs(20);

/// Offsets of a stream that the audit reads from.
const SAMPLES: usize = 40;

/// How much a round is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub clients: u16,
    /// For each stream.
    pub readers: u16,
    pub time: Duration,
}

/// Streams of both forms: some last, some come and go.
pub fn names() -> Vec<Name> {
    let name = |path: &str, form, churns| Name {
        path: path.to_owned(),
        form,
        churns,
    };
    vec![
        name("json", Form::Json, false),
        name("bytes", Form::Bytes, false),
        name("quiet", Form::Json, false),
        name("json/churn", Form::Json, true),
        name("bytes/churn", Form::Bytes, true),
        name("other/churn", Form::Json, true),
    ]
}

/// Runs a round. `faults` is called again and again until the time is over, and leaves all servers
/// well. Panics with the seed and the operations that show it if the history breaks a rule.
#[track_caller]
pub fn run(fleet: Fleet, seed: u64, size: Size, mut faults: impl FnMut(&Fleet, &mut TestRng)) -> (Fleet, Summary) {
    let world = World::new(fleet, names());
    let mut history = audit(&world, seed, 900, |auditor| {
        for name in &auditor.world.names {
            auditor.ask_surely(name, Call::Create { closed: false });
        }
    });
    let finished = AtomicUsize::new(0);
    thread::scope(|scope| {
        let world = &world;
        let clients: Vec<_> = (0..size.clients)
            .map(|number| {
                let finished = &finished;
                scope.spawn(move || {
                    let ops = Client::new(world, number, seed).run();
                    finished.fetch_add(1, Ordering::SeqCst);
                    ops
                })
            })
            .collect();
        let readers: Vec<_> = (0..size.readers)
            .flat_map(|copy| world.names.iter().zip(100 + copy * 100..))
            .map(|(name, number)| scope.spawn(move || super::reader::Reader::new(world, number, seed, name).run()))
            .collect();
        let mut rng = TestRng::new(seed ^ 0xfau64);
        let begin = Instant::now();
        while begin.elapsed() < size.time && clients.iter().all(|client| !client.is_finished()) {
            faults(&world.fleet, &mut rng);
        }
        world.done.store(true, Ordering::Release);
        history.extend(clients.into_iter().flat_map(|client| client.join().unwrap()));
        let offsets = acknowledged(&history);
        history.extend(audit(world, seed, 901, |auditor| auditor.look_at_all(&offsets)));
        history.extend(readers.into_iter().flat_map(|reader| reader.join().unwrap()));
    });
    judge(&world, seed, &history);
    let summary = checker::summary(&history);
    (world.fleet, summary)
}

/// Every offset that an append was answered with.
fn acknowledged(history: &[Op]) -> Vec<(String, Offset)> {
    let appends = history.iter().filter(|op| matches!(op.answer, Answer::Appended { .. }));
    appends
        .filter_map(|op| Some((op.name.clone(), named(&op.answer)?)))
        .collect()
}

fn audit(world: &World, seed: u64, number: u16, look: impl FnOnce(&mut Caller<'_>)) -> Vec<Op> {
    let mut auditor = Caller::new(world, number, seed);
    look(&mut auditor);
    auditor.ops
}

impl Caller<'_> {
    /// Asks until there is an answer.
    #[track_caller]
    fn ask_surely(&mut self, name: &Name, call: Call) -> Answer {
        let begin = Instant::now();
        loop {
            match self.ask(name, call.clone(), AUDIT) {
                Some(answer) if answer != Answer::Unknown => return answer,
                _ => assert!(begin.elapsed() < AUDIT, "no server answers {call:?} of {}", name.path),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Reads every stream at every server, from the start and from offsets that were answered, and
    /// closes those that last.
    fn look_at_all(&mut self, offsets: &[(String, Offset)]) {
        let names = self.world.names.clone();
        for name in &names {
            let mut life = None;
            for place in 0..self.world.fleet.len() {
                let Some(to) = self.world.fleet.address(place) else {
                    continue;
                };
                self.ask_at(place, to, name, Call::Head, AUDIT);
                let read = Call::Read {
                    from: None,
                    mode: Mode::CatchUp,
                };
                let answer = self.ask_at(place, to, name, read, AUDIT);
                life = answer.as_ref().and_then(named).map(|offset| offset.life);
            }
            let own: Vec<Offset> = offsets
                .iter()
                .filter(|(path, offset)| *path == name.path && Some(offset.life) == life)
                .map(|(_, offset)| *offset)
                .collect();
            for _ in 0..SAMPLES.min(own.len()) {
                let from = self.rng.pick(&own).copied();
                self.ask_surely(
                    name,
                    Call::Read {
                        from,
                        mode: Mode::CatchUp,
                    },
                );
            }
            if !name.churns {
                self.ask_surely(name, Call::Close);
            }
        }
    }
}

/// Panics if anything is wrong.
#[track_caller]
fn judge(world: &World, seed: u64, history: &[Op]) {
    let strange = world.strange.lock().unwrap();
    let violations = checker::check(history);
    if violations.is_empty() && strange.is_empty() {
        return;
    }
    if let Ok(path) = std::env::var("DS_TEST_HISTORY") {
        let lines: Vec<String> = history.iter().map(ToString::to_string).collect();
        std::fs::write(path, lines.join("\n")).unwrap();
    }
    // The pieces that show it with the fewest operations come first.
    let mut sorted: Vec<_> = violations.iter().collect();
    sorted.sort_by_key(|violation| violation.ops.len());
    let told: Vec<String> = sorted
        .iter()
        .take(8)
        .map(|violation| format!("  {violation}"))
        .collect();
    panic!(
        "DS_TEST_SEED={seed}: {} operations break {} rules:\n{}\n  {}",
        history.len(),
        violations.len(),
        told.join("\n"),
        strange.iter().take(8).cloned().collect::<Vec<_>>().join("\n  ")
    );
}
