//! What may happen to servers, to PostgreSQL, and between them.

use std::{thread, time::Duration};

use super::{
    super::{fleet::Fleet, support::rng::TestRng, support::shared::postgres::Stop},
    relay::Mode,
    scene::Scene,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL of a server, and a new one in its place.
    Kill,
    /// SIGSTOP of a server, for less or more than its clients' patience.
    Pause,
    /// PostgreSQL ends some of its connections, whatever they are doing.
    Terminate,
    /// A server's requests arrive at PostgreSQL, and their answers are lost.
    LoseAnswers,
    /// A server is cut off without noticing, for less or more than its timeouts.
    Partition,
    /// A server's connections are cut.
    Cut,
    /// PostgreSQL crashes and recovers.
    Crash,
    /// Somebody holds a lock for longer than `lock_timeout`.
    Lock,
    /// `PgBouncer` is killed and started again.
    Pooler,
    /// PostgreSQL has no space for its tables.
    Full,
}

impl Fault {
    pub const ALL: [Self; 8] = [
        Self::Kill,
        Self::Pause,
        Self::Terminate,
        Self::LoseAnswers,
        Self::Partition,
        Self::Cut,
        Self::Crash,
        Self::Lock,
    ];

    /// Lets it happen, and heals it.
    pub fn happen(self, scene: &Scene, fleet: &Fleet, rng: &mut TestRng) {
        let mut millis = |limit| Duration::from_millis(rng.below(limit));
        let place = usize::try_from(millis(fleet.len() as u64).as_millis()).unwrap();
        let relay = &scene.relays[place];
        match self {
            Self::Kill => {
                fleet.kill(place);
                thread::sleep(millis(200));
                fleet.fill(place);
            }
            Self::Pause => {
                fleet.signal(place, "STOP");
                let long = millis(4).is_zero();
                thread::sleep(if long {
                    Duration::from_millis(2_500)
                } else {
                    millis(400)
                });
                fleet.signal(place, "CONT");
            }
            Self::Terminate => {
                let part = millis(3).as_millis() + 1;
                scene.sql(&format!(
                    "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                     where backend_type = 'client backend' and pid <> pg_backend_pid() and pid % {part} = 0"
                ));
            }
            Self::LoseAnswers => {
                relay.set(Mode::LoseAnswers);
                thread::sleep(millis(60));
                relay.set(Mode::Open);
            }
            Self::Partition => {
                relay.set(Mode::Hold);
                let long = millis(4).is_zero();
                thread::sleep(if long {
                    Duration::from_millis(2_500)
                } else {
                    millis(400)
                });
                if millis(2).is_zero() {
                    relay.cut();
                }
                relay.set(Mode::Open);
            }
            Self::Cut => relay.cut(),
            Self::Crash => scene.postgres.restart(Stop::Immediate),
            Self::Lock => {
                let lock = "lock table durable_streams.heads in share row exclusive mode; select pg_sleep(2.4)";
                scene.sql(lock);
            }
            Self::Full => {
                let disk = scene.disk.as_ref().unwrap();
                disk.fill();
                thread::sleep(millis(900));
                disk.free();
            }
            Self::Pooler => scene.pooler.as_ref().unwrap().restart(),
        }
    }
}

/// One of these faults after a moment without.
pub fn any_of<'s>(scene: &'s Scene, faults: &'s [Fault]) -> impl FnMut(&Fleet, &mut TestRng) + 's {
    move |fleet, rng| {
        thread::sleep(Duration::from_millis(30 + rng.below(250)));
        let fault = rng.pick(faults).copied().unwrap();
        fault.happen(scene, fleet, rng);
    }
}
