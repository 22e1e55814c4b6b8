//! Subscriptions: durable cursors that wake workers (sections 6 and 7 of the protocol).
//!
//! Each subscription has a log, a stream of the same store that no request can name. It holds the
//! subscription's events, one JSON object on a line; the state follows from them. A change is an
//! append on the exact tail on which it was decided, so of two servers of one store only one makes
//! it, and the other reads the log and decides again. Hence a generation is issued once, a cursor
//! moves only with a committed event, and journal, backup, migration and every backend need to know
//! nothing of subscriptions. A log that has grown past twice its state is replaced by the state.
//!
//! The committer marks a changed stream after its commit is published, if it concerns a
//! subscription. The dispatcher passes the marks on to the subscriptions, and gives each of them a
//! turn. A turn commits the next wake before anything is delivered; for a pull-wake, the event on the
//! wake stream is in the same commit. Marks are not stored: a start compares all cursors with the
//! streams' tails, and of several servers one does so every minute.
//!
//! Of several servers of one store, each marks its own appends and issues the wakes that they cause.
//! The announcements, a log that all of them follow, tell which streams to watch. One server has the
//! duty of looking after what the others have begun, so that nothing waits for a server that ended.
//!
//! | file | contents |
//! |---|---|
//! | `state.rs`, `decide.rs` | the state, its events, and what a request does to it; no I/O |
//! | `live.rs`, `log.rs`, `codec.rs` | a subscription in memory; its log, from which it is read and with which it is changed; the form of the log |
//! | `watched.rs` | what has to be noticed for a subscription |
//! | `pattern.rs`, `index.rs` | patterns; which subscriptions a stream concerns |
//! | `marks.rs`, `pending.rs` | changed streams; those of one subscription |
//! | `dispatcher.rs`, `turn.rs`, `deliver.rs` | who has a turn, and when; the next wake; its delivery by webhook |
//! | `scan.rs` | loading at the start, lost work, existing streams that a new pattern matches |
//! | `announcements.rs`, `sync.rs` | what the servers of one store tell each other; what other servers have done |
//! | `create.rs`, `manage.rs`, `view.rs` | create and add streams; read, delete, remove streams, pause; a subscription as it is shown |
//! | `work.rs` | claim, acknowledge, release |
//! | `token.rs`, `keys.rs` | tokens of workers; keys that sign deliveries |

mod announcements;
mod codec;
mod config;
mod create;
mod decide;
mod deliver;
mod dispatcher;
mod errors;
mod index;
mod keys;
mod live;
mod log;
mod manage;
mod marks;
mod pattern;
mod pending;
mod scan;
mod state;
mod sync;
mod token;
mod turn;
mod view;
mod watched;
mod work;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

pub use config::SubscriptionsConfig;
pub use decide::{Ack, BadAck, PendingStream, WakeRef};
pub use errors::{AckError, ClaimError, CreateError, MemberError, NotFound, TokenError};
pub use keys::KeysError;
pub use pattern::Pattern;
pub use state::{Definition, Delivery};
pub use view::View;
pub use work::{Claimed, Holder};

use announcements::Announcements;
use index::Id;
use keys::Keys;
use live::Known;
use marks::Marks;

use crate::{
    clock::Clock,
    engine::Engine,
    log_throttle::LogThrottle,
    protocol::Millis,
    random::Random,
    telemetry::SubscriptionMetrics,
    webhook::{Deliverer, TargetPolicy, WebhooksConfig},
};

/// Turns of pull-wake subscriptions at a time.
const MAX_TURNS: usize = 64;

/// All subscriptions of one store. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Subscriptions {
    inner: Arc<Inner>,
    /// Ends the background work with the last clone, also without [`Subscriptions::stop`].
    _ends: Arc<[DropGuard; 2]>,
}

/// Everything that subscriptions need from the server.
pub struct Parts {
    /// The streams.
    pub engine: Engine,
    /// `[subscriptions]`
    pub config: SubscriptionsConfig,
    /// `[webhooks]`
    pub webhooks: WebhooksConfig,
    /// Calls receivers.
    pub deliverer: Arc<Deliverer>,
    /// Counts.
    pub metrics: SubscriptionMetrics,
    /// Ids and jitter.
    pub random: Random,
}

struct Inner {
    engine: Engine,
    config: SubscriptionsConfig,
    policy: TargetPolicy,
    deliverer: Arc<Deliverer>,
    keys: Keys,
    metrics: SubscriptionMetrics,
    clock: Clock,
    random: Random,
    marks: Arc<Marks>,
    announcements: Announcements,
    known: RwLock<Known>,
    /// Links of all subscriptions.
    links: AtomicUsize,
    ready: Mutex<VecDeque<Id>>,
    timers: Mutex<BTreeSet<(Millis, Id)>>,
    scan_wanted: AtomicBool,
    /// Subscriptions for which marks are missing.
    unexamined: Mutex<BTreeSet<Id>>,
    examination_wanted: Notify,
    /// Subscriptions that other servers have changed, if this one looks after their work.
    overseen: Mutex<BTreeSet<Id>>,
    turns: Arc<Semaphore>,
    loaded: watch::Sender<bool>,
    failures: LogThrottle,
    /// No further wakes.
    stopped: CancellationToken,
    /// No further deliveries.
    aborted: CancellationToken,
    tasks: TaskTracker,
}

impl Subscriptions {
    /// Loads what is stored and begins to deliver, in the background.
    ///
    /// # Errors
    /// None that depends on anything: a defect in the names of the logs.
    pub fn start(parts: Parts) -> Result<Self, crate::protocol::NameError> {
        let Parts {
            engine,
            config,
            webhooks,
            deliverer,
            metrics,
            random,
        } = parts;
        let clock = engine.clock().clone();
        let inner = Arc::new(Inner {
            engine,
            config,
            policy: TargetPolicy::new(&webhooks),
            deliverer,
            keys: Keys::new(&webhooks)?,
            metrics,
            failures: LogThrottle::new(clock.clone()),
            clock,
            random,
            marks: Arc::default(),
            announcements: Announcements::new()?,
            known: RwLock::default(),
            links: AtomicUsize::new(0),
            ready: Mutex::default(),
            timers: Mutex::default(),
            scan_wanted: AtomicBool::new(false),
            unexamined: Mutex::default(),
            examination_wanted: Notify::new(),
            overseen: Mutex::default(),
            turns: Arc::new(Semaphore::new(MAX_TURNS)),
            loaded: watch::Sender::new(false),
            stopped: CancellationToken::new(),
            aborted: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        inner
            .engine
            .watch(Arc::clone(&inner.marks) as Arc<dyn crate::engine::Watcher>);
        inner.tasks.spawn(dispatcher::dispatch(Arc::clone(&inner)));
        inner.tasks.spawn(scan::examine_wanted(Arc::clone(&inner)));
        if inner.engine.is_shared() {
            inner.tasks.spawn(sync::follow(Arc::clone(&inner)));
        }
        let ends = [inner.stopped.clone().drop_guard(), inner.aborted.clone().drop_guard()];
        Ok(Self {
            inner,
            _ends: Arc::new(ends),
        })
    }

    /// Issues no more wakes, and waits for deliveries in flight, at most for `max_wait`. Those that
    /// were cut off are made again after the next start.
    pub async fn stop(&self, max_wait: Duration) {
        self.inner.stopped.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(max_wait, self.inner.tasks.wait()).await.is_err() {
            self.inner.aborted.cancel();
            self.inner.tasks.wait().await;
        }
    }
}

/// The index must agree with the pattern, and forget it without a trace.
#[cfg(any(test, fuzzing))]
#[allow(clippy::panic)]
pub(crate) fn fuzzing_pattern(pattern: &str, name: &crate::protocol::StreamName) {
    let Ok(pattern) = Pattern::parse(pattern) else { return };
    let (mut index, id) = (index::Index::default(), Id::from("s"));
    index.add_pattern(&pattern, &id);
    assert_eq!(index.concerns_any(name), pattern.matches(name), "{pattern:?} {name}");
    index.remove_pattern(&pattern, &id);
    assert!(!index.concerns_any(name), "{pattern:?} {name}");
}

/// The root of the subscriptions' URLs, for the root of the streams.
fn root(streams: &str) -> String {
    format!("{streams}/__ds/subscriptions")
}

/// An id as a segment of a URL.
fn encoded(id: &str) -> String {
    /// Everything that RFC 3986 does not allow in a segment without a meaning.
    const RESERVED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(id, RESERVED).to_string()
}
