//! A subscription in memory: its state as of a tail of its log, and how that is read and changed.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    Inner,
    codec::{self, CodecError},
    index::Id,
    pending::Pending,
    state::{Event, LinkType, State},
};
use crate::{
    engine::{LogChange, LogError, Unavailable},
    protocol::{Millis, NameError, Offset, StreamName},
};

/// A log is replaced by its state once it has grown past twice the state's size and this.
const MIN_COMPACTED: usize = 64 * 1024;
/// How often a decision is made again because another server was faster.
pub(super) const MAX_MOVES: u32 = 8;
/// The folder of the logs.
const FOLDER: &str = "subscriptions/";

/// One subscription, stored or about to be created.
pub(super) struct Subscription {
    pub(super) id: Id,
    log: StreamName,
    pub(super) live: tokio::sync::Mutex<Live>,
    pub(super) pending: Mutex<Pending>,
    /// The dispatcher will look at it.
    pub(super) is_scheduled: AtomicBool,
    pub(super) timer: Mutex<Option<Millis>>,
}

/// What is known of the log.
#[derive(Default)]
pub(super) struct Live {
    state: Option<State>,
    tail: Option<Offset>,
    /// The log must be read before the state is used.
    is_stale: bool,
    log_bytes: usize,
    state_bytes: usize,
    /// Links that the limit of all subscriptions counts.
    counted_links: usize,
    /// It was not created, and another one may have its place.
    pub(super) is_forgotten: bool,
    /// The generation that this server is delivering.
    pub(super) delivering: Option<u64>,
    /// The generation whose delivery was cut off when the last holder of the store ended.
    pub(super) orphan: Option<u64>,
}

impl Live {
    /// Whether the state is that of a log with this tail.
    pub(super) fn is_at(&self, tail: Offset) -> bool {
        !self.is_stale && self.tail == Some(tail)
    }

    pub(super) fn state(&self) -> Option<&State> {
        self.state.as_ref().filter(|_| !self.is_stale)
    }
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangeError {
    /// Another server was faster: decide again.
    #[error("the subscription was changed by another server")]
    Moved,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Messages for another stream, committed together with a change.
pub(super) type Notice = (StreamName, Bytes);

impl Subscription {
    /// # Errors
    /// The id cannot be a part of a name.
    pub(super) fn new(id: &str) -> Result<Self, NameError> {
        Ok(Self {
            id: id.into(),
            log: StreamName::internal(&format!("{FOLDER}{id}"))?,
            live: tokio::sync::Mutex::new(Live {
                is_stale: true,
                ..Live::default()
            }),
            pending: Mutex::default(),
            is_scheduled: AtomicBool::new(false),
            timer: Mutex::default(),
        })
    }

    /// Where the logs of all subscriptions are.
    pub(super) fn folder() -> Result<StreamName, NameError> {
        StreamName::internal(FOLDER)
    }

    /// The id of the subscription that has this log.
    pub(super) fn id_of(log: &StreamName, folder: &StreamName) -> Option<String> {
        log.key().strip_prefix(folder.key()).map(str::to_owned)
    }

    pub(super) fn mark(&self, name: &StreamName, now: Millis) {
        self.pending.lock().mark(name, now);
    }
}

impl Inner {
    /// Brings a subscription up to its log. Returns whether it exists.
    pub(super) async fn refresh(&self, subscription: &Subscription, live: &mut Live) -> Result<bool, Unavailable> {
        if !live.is_stale && self.engine.is_shared() {
            let extent = self.engine.extent(&subscription.log).await?;
            live.is_stale = extent.map(|extent| extent.tail()) != live.tail;
        }
        if !live.is_stale {
            return Ok(live.state.is_some());
        }
        let log = self.engine.read_log(&subscription.log).await?;
        let read = match &log {
            Some(log) => Some(codec::replay(&log.messages).map_err(|error| damaged(subscription, &error))?),
            None => None,
        };
        self.unindex(subscription, live.state.as_ref());
        live.tail = log.as_ref().map(|log| log.tail);
        live.log_bytes = log.map_or(0, |log| log.messages.len());
        let (state, state_bytes) = read.unzip();
        (live.state, live.state_bytes) = (state, state_bytes.unwrap_or(0));
        live.is_stale = false;
        self.index(subscription, live.state.as_ref());
        self.count_links(live);
        Ok(live.state.is_some())
    }

    /// Commits events and applies them.
    pub(super) async fn commit(
        &self,
        subscription: &Subscription,
        live: &mut Live,
        events: Vec<Event>,
        notice: Option<Notice>,
    ) -> Result<(), ChangeError> {
        let Some(state) = live.state() else {
            return Err(ChangeError::Moved);
        };
        if events.is_empty() {
            return Ok(());
        }
        let data = codec::encode(&events).map_err(unwritable)?;
        let (change, is_whole) = if live.log_bytes + data.len() > 2 * live.state_bytes + MIN_COMPACTED {
            let mut next = state.clone();
            events.iter().cloned().for_each(|event| next.apply(event));
            (codec::encode_state(next).map_err(unwritable)?, true)
        } else {
            (data, false)
        };
        let len = change.len();
        let change = if is_whole {
            LogChange::Replace(change)
        } else {
            LogChange::Append(change)
        };
        self.write(subscription, live, change, notice).await?;
        if is_whole {
            (live.log_bytes, live.state_bytes) = (len, len);
        } else {
            live.log_bytes += len;
        }
        self.apply(subscription, live, events);
        Ok(())
    }

    /// Stores a new subscription.
    pub(super) async fn store(
        &self,
        subscription: &Subscription,
        live: &mut Live,
        state: State,
    ) -> Result<(), ChangeError> {
        let data = codec::encode_state(state.clone()).map_err(unwritable)?;
        let len = data.len();
        self.write(subscription, live, LogChange::Append(data), None).await?;
        (live.log_bytes, live.state_bytes) = (len, len);
        live.state = Some(state);
        self.count_links(live);
        Ok(())
    }

    /// Deletes a subscription.
    pub(super) async fn remove(&self, subscription: &Subscription, live: &mut Live) -> Result<(), ChangeError> {
        self.write(subscription, live, LogChange::Remove, None).await?;
        self.unindex(subscription, live.state.as_ref());
        (live.state, live.tail) = (None, None);
        self.count_links(live);
        Ok(())
    }

    async fn write(
        &self,
        subscription: &Subscription,
        live: &mut Live,
        change: LogChange,
        notice: Option<Notice>,
    ) -> Result<(), ChangeError> {
        // Until the answer is known, also if the caller disconnects.
        live.is_stale = true;
        match self
            .engine
            .write_log(&subscription.log, live.tail, change, notice)
            .await
        {
            Ok(logged) => {
                live.tail = Some(logged.tail);
                live.is_stale = false;
                if let Some(refused) = logged.notice_refused
                    && let Some(suppressed) = self.failures.allow("wake stream")
                {
                    let id = &*subscription.id;
                    tracing::warn!(subscription = id, %refused, suppressed, "could not append a wake to the wake stream; workers can claim without it");
                }
                Ok(())
            }
            Err(LogError::Moved) => Err(ChangeError::Moved),
            Err(LogError::Unavailable(unavailable)) => Err(unavailable.into()),
        }
    }

    fn apply(&self, subscription: &Subscription, live: &mut Live, events: Vec<Event>) {
        let Some(state) = &mut live.state else { return };
        for event in events {
            if let Event::Unlinked {
                stream,
                link: LinkType::Explicit,
            } = &event
            {
                let id = &subscription.id;
                self.marks.with_index(|index| index.remove_name(stream, id));
            }
            state.apply(event);
        }
        self.count_links(live);
    }

    /// Has changes of the subscription's streams marked.
    pub(super) fn index(&self, subscription: &Subscription, state: Option<&State>) {
        let Some(state) = state else { return };
        let id = &subscription.id;
        self.marks.with_index(|index| {
            if let Some(pattern) = &state.definition.pattern {
                index.add_pattern(pattern, id);
            }
            let explicit = state.links.iter().filter(|(_, link)| link.explicit);
            explicit.for_each(|(name, _)| index.add_name(name, id));
        });
        self.engine.watch_more();
    }

    pub(super) fn unindex(&self, subscription: &Subscription, state: Option<&State>) {
        let Some(state) = state else { return };
        let id = &subscription.id;
        self.marks.with_index(|index| {
            if let Some(pattern) = &state.definition.pattern {
                index.remove_pattern(pattern, id);
            }
            state.links.keys().for_each(|name| index.remove_name(name, id));
        });
    }

    fn count_links(&self, live: &mut Live) {
        let links = live.state.as_ref().map_or(0, |state| state.links.len());
        let counted = std::mem::replace(&mut live.counted_links, links);
        self.links.fetch_add(links, Ordering::Relaxed);
        self.links.fetch_sub(counted, Ordering::Relaxed);
    }
}

fn damaged(subscription: &Subscription, error: &CodecError) -> Unavailable {
    tracing::error!(subscription = &*subscription.id, %error, "a subscription cannot be read");
    Unavailable::Damaged(format!("the subscription {}: {error}", subscription.id))
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn unwritable(error: serde_json::Error) -> ChangeError {
    tracing::error!(%error, "a subscription cannot be encoded");
    Unavailable::Damaged("the subscription cannot be encoded".into()).into()
}

/// Subscriptions by id.
pub(super) type Known = std::collections::BTreeMap<Id, Arc<Subscription>>;
