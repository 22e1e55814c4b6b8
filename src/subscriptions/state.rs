//! The state of a subscription, and the events that change it. Both are stored, as lines of JSON in
//! the subscription's log.

use std::{collections::BTreeMap, fmt, time::Duration};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{pattern::Pattern, token::Secret};
use crate::protocol::{Millis, Offset, StreamName};

/// The longest wait for the next attempt, before a fifth of it is added or taken away at random.
pub(super) const MAX_RETRY: Duration = Duration::from_secs(60);
/// How far clocks of servers of one store may be apart.
const MAX_CLOCK_ERROR: Millis = 5_000;

/// How a subscription is configured when it is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// How its workers are woken.
    #[serde(flatten)]
    pub delivery: Delivery,
    /// Which streams are linked when they appear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Pattern>,
    /// How long a worker may be silent.
    pub lease_ttl_ms: u64,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// How workers are woken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Delivery {
    /// By a request to a URL.
    #[serde(rename = "webhook")]
    Webhook {
        /// The receiver.
        url: String,
    },
    /// By an event in a stream; workers then claim the subscription.
    #[serde(rename = "pull-wake")]
    PullWake {
        /// The stream.
        wake_stream: StreamName,
    },
}

impl Definition {
    /// Whether the pattern links a stream. A subscription does not follow its own wake stream, where
    /// each of its wakes would cause the next one.
    pub(super) fn links(&self, name: &StreamName) -> bool {
        !self.wakes_in(name) && self.pattern.as_ref().is_some_and(|pattern| pattern.matches(name))
    }

    /// Whether a stream is its wake stream.
    pub(super) fn wakes_in(&self, name: &StreamName) -> bool {
        matches!(&self.delivery, Delivery::PullWake { wake_stream } if wake_stream == name)
    }

    /// The hash of the normalized configuration, with the streams that are linked at creation
    /// (section 6.2).
    pub(super) fn hash(&self, streams: &[StreamName]) -> String {
        let mut keys: Vec<&str> = streams.iter().map(StreamName::key).collect();
        keys.sort_unstable();
        keys.dedup();
        let normalized = serde_json::json!({ "definition": self, "streams": keys }).to_string();
        let hash = digest::digest(&digest::SHA256, normalized.as_bytes());
        URL_SAFE_NO_PAD.encode(hash)
    }
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) definition: Definition,
    pub(super) hash: String,
    pub(super) created_at: Millis,
    /// The URL of the streams' root, for callbacks.
    pub(super) root_url: String,
    pub(super) secret: Secret,
    #[serde(default)]
    pub(super) paused: bool,
    pub(super) links: BTreeMap<StreamName, Link>,
    /// Counts the wakes.
    pub(super) generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) wake: Option<Wake>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry: Option<Retry>,
}

/// A stream of a subscription, and its cursor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Link {
    #[serde(default)]
    pub(super) explicit: bool,
    #[serde(default)]
    pub(super) glob: bool,
    /// The last processed offset.
    pub(super) acked: Cursor,
}

/// Why a stream is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkType {
    /// The pattern matches it.
    Glob,
    /// It was named.
    Explicit,
}

impl Link {
    pub(super) fn new(link_type: LinkType, acked: Offset) -> Self {
        Self {
            explicit: link_type == LinkType::Explicit,
            glob: link_type == LinkType::Glob,
            acked: Cursor(acked),
        }
    }

    pub(super) fn link_type(self) -> LinkType {
        if self.explicit {
            LinkType::Explicit
        } else {
            LinkType::Glob
        }
    }
}

/// The wake of the current generation, until it is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Wake {
    pub(super) id: String,
    /// The worker's lease ends then. `None`: a pull-wake that is not claimed yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lease_until: Option<Millis>,
    /// The worker that has claimed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) holder: Option<String>,
    /// The streams that it was issued for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) streams: Vec<StreamName>,
    /// The webhook's receiver has answered, and works on it.
    #[serde(default)]
    pub(super) accepted: bool,
}

/// Deliveries have failed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Retry {
    /// The generation whose delivery has failed.
    pub(super) generation: u64,
    /// In a row.
    pub(super) failures: u32,
    pub(super) next_attempt_at: Millis,
}

impl Retry {
    /// Whether the next attempt is not due yet.
    pub(super) fn is_waiting(&self, now: Millis) -> bool {
        is_ahead(self.next_attempt_at, now, millis(MAX_RETRY + MAX_RETRY / 5))
    }
}

/// Whether a moment is ahead that was chosen at most `longest` ahead. One that is further ahead was
/// chosen before the clock was set back, and counts as past.
fn is_ahead(moment: Millis, now: Millis, longest: Millis) -> bool {
    let ahead = moment.saturating_sub(now);
    (1..=longest.saturating_add(MAX_CLOCK_ERROR)).contains(&ahead)
}

/// A change of a subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// The whole state: at creation, and when the log before it is dropped.
    State {
        version: u32,
        state: Box<State>,
    },
    /// A stream was linked. A cursor that exists stays.
    Linked {
        stream: StreamName,
        link: LinkType,
        acked: Cursor,
    },
    /// A link was removed, and the cursor with the last one.
    Unlinked {
        stream: StreamName,
        link: LinkType,
    },
    /// A wake was issued, and replaces the one before it.
    Woken {
        generation: u64,
        wake: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease_until: Option<Millis>,
        /// The pending streams. The wake may be claimed, or taken over, at a server that has not marked them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        streams: Vec<StreamName>,
    },
    /// A worker has claimed the wake.
    Claimed {
        worker: String,
        lease_until: Millis,
    },
    /// The worker is alive.
    Extended {
        lease_until: Millis,
    },
    /// A cursor has moved.
    Acked {
        stream: StreamName,
        offset: Cursor,
    },
    /// The receiver has accepted the wake, and has not finished.
    Accepted,
    /// The wake's work is done, or given up by its worker.
    Ended {
        done: bool,
    },
    /// The delivery has failed.
    Failed {
        failures: u32,
        next_attempt_at: Millis,
    },
    Paused,
    Resumed,
}

impl Event {
    /// The stream whose link it changes.
    pub(super) fn stream(&self) -> Option<&StreamName> {
        match self {
            Self::Linked { stream, .. } | Self::Unlinked { stream, .. } | Self::Acked { stream, .. } => Some(stream),
            Self::State { .. }
            | Self::Woken { .. }
            | Self::Claimed { .. }
            | Self::Extended { .. }
            | Self::Accepted
            | Self::Ended { .. }
            | Self::Failed { .. }
            | Self::Paused
            | Self::Resumed => None,
        }
    }

    /// Whether it changes which streams the subscription watches. Those of a pattern are watched
    /// before they are linked.
    pub(super) fn changes_what_is_watched(&self) -> bool {
        match self {
            Self::State { .. } => true,
            Self::Linked { link, .. } | Self::Unlinked { link, .. } => *link == LinkType::Explicit,
            Self::Woken { .. }
            | Self::Claimed { .. }
            | Self::Extended { .. }
            | Self::Acked { .. }
            | Self::Accepted
            | Self::Ended { .. }
            | Self::Failed { .. }
            | Self::Paused
            | Self::Resumed => false,
        }
    }
}

/// The version of [`Event::State`] that this server writes.
pub(super) const VERSION: u32 = 1;

impl State {
    /// Applies an event that is committed.
    pub(super) fn apply(&mut self, event: Event) {
        match event {
            Event::State { state, .. } => *self = *state,
            Event::Linked { stream, link, acked } => {
                let new = Link::new(link, acked.0);
                let known = self.links.entry(stream).or_insert(new);
                known.explicit |= new.explicit;
                known.glob |= new.glob;
            }
            Event::Unlinked { stream, link } => {
                if let Some(known) = self.links.get_mut(&stream) {
                    match link {
                        LinkType::Explicit => {
                            known.explicit = false;
                            // The pattern follows a stream from its beginning, but not a second time.
                            known.glob |= known.acked.0 != Offset::BEGINNING && self.definition.links(&stream);
                        }
                        LinkType::Glob => known.glob = false,
                    }
                    if !known.explicit && !known.glob {
                        self.links.remove(&stream);
                    }
                }
            }
            Event::Woken {
                generation,
                wake,
                lease_until,
                streams,
            } => {
                self.generation = generation;
                self.wake = Some(Wake {
                    id: wake,
                    lease_until,
                    holder: None,
                    streams,
                    accepted: false,
                });
            }
            Event::Claimed { worker, lease_until } => {
                if let Some(wake) = &mut self.wake {
                    wake.holder = Some(worker);
                    wake.lease_until = Some(lease_until);
                }
                self.retry = None;
            }
            Event::Extended { lease_until } => {
                if let Some(wake) = &mut self.wake {
                    wake.lease_until = Some(lease_until);
                    wake.accepted = true;
                }
                self.retry = None;
            }
            Event::Acked { stream, offset } => {
                if let Some(link) = self.links.get_mut(&stream) {
                    link.acked = offset;
                }
            }
            Event::Accepted => {
                if let Some(wake) = &mut self.wake {
                    wake.accepted = true;
                }
                self.retry = None;
            }
            Event::Ended { done } => {
                self.wake = None;
                if done {
                    self.retry = None;
                }
            }
            Event::Failed {
                failures,
                next_attempt_at,
            } => {
                self.retry = Some(Retry {
                    generation: self.generation,
                    failures,
                    next_attempt_at,
                });
            }
            Event::Paused => self.paused = true,
            Event::Resumed => self.paused = false,
        }
    }

    /// The wake, unless its lease has ended.
    pub(super) fn current_wake(&self, now: Millis) -> Option<&Wake> {
        let lives = |wake: &&Wake| wake.lease_until.is_none_or(|until| self.lease_lasts(until, now));
        self.wake.as_ref().filter(lives)
    }

    /// The event of a pull-wake is on its way to a worker.
    pub(super) fn is_unclaimed(&self) -> bool {
        let wake = self.wake.as_ref();
        wake.is_some_and(|wake| wake.holder.is_none()) && !self.is_webhook()
    }

    fn lease_lasts(&self, until: Millis, now: Millis) -> bool {
        is_ahead(until, now, self.definition.lease_ttl_ms)
    }

    /// The next moment after `now` at which something is due: the end of a lease, or the next
    /// attempt.
    pub(super) fn due_at(&self, now: Millis) -> Option<Millis> {
        let retry = self.retry.filter(|retry| retry.is_waiting(now));
        let retry = retry.map(|retry| retry.next_attempt_at);
        let lease = self.current_wake(now).and_then(|wake| wake.lease_until);
        retry.into_iter().chain(lease).min()
    }

    /// Whether a lease has ended, or the next delivery is due, and no event says more.
    pub(super) fn is_overdue(&self, now: Millis) -> bool {
        let has_ended = self.wake.is_some() && self.current_wake(now).is_none();
        has_ended || self.retry.is_some_and(|retry| !retry.is_waiting(now))
    }

    /// Whether it watches every stream that another state watches.
    pub(super) fn watches_all_of(&self, other: &Self) -> bool {
        let is_named = |name: &StreamName| self.links.get(name).is_some_and(|link| link.explicit);
        self.definition.pattern == other.definition.pattern && other.named().all(is_named)
    }

    /// The streams that are linked by their names.
    pub(super) fn named(&self) -> impl Iterator<Item = &StreamName> {
        let explicit = self.links.iter().filter(|(_, link)| link.explicit);
        explicit.map(|(name, _)| name)
    }

    pub(super) fn is_webhook(&self) -> bool {
        matches!(self.definition.delivery, Delivery::Webhook { .. })
    }
}

pub(super) fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An offset, stored as clients see it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor(pub(super) Offset);

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let offset = Offset::parse("offset", &text);
        offset.map(Self).map_err(|error| serde::de::Error::custom(error.reason))
    }
}
