//! A subscription's log: how its state is read from it and changed with it.

use super::{
    Inner,
    codec::{self, CodecError, Line},
    live::{ChangeError, Live, Notice, Noticed, Subscription},
    state::{Event, State},
};
use crate::engine::{Extent, LogChange, LogError, LogWrite, Unavailable};

/// A log is replaced by its state once it has grown past twice the state's size and this.
const MIN_COMPACTED: usize = 64 * 1024;

/// Other changes in the same commit.
#[derive(Default)]
struct Beside {
    notice: Option<Notice>,
    /// The other servers must learn of the change at once.
    is_announced: bool,
}

impl Inner {
    /// Brings a subscription up to its log. Returns whether it exists.
    pub(super) async fn refresh(&self, subscription: &Subscription, live: &mut Live) -> Result<bool, Unavailable> {
        if live.is_forgotten {
            // The log may belong to another subscription of this id by now.
            return Ok(false);
        }
        if self.engine.is_shared() {
            let extent = self.engine.extent(&subscription.log).await?;
            live.is_stale |= extent.as_ref().map(Extent::tail) != live.tail;
            self.note_log(subscription, live, extent.map(|extent| extent.id()));
        }
        if live.is_stale {
            self.read(subscription, live).await?;
        }
        Ok(live.state.is_some())
    }

    async fn read(&self, subscription: &Subscription, live: &mut Live) -> Result<(), Unavailable> {
        let known = live.tail.filter(|_| live.state.is_some() && !live.is_unfounded);
        let mut log = self.engine.read_log(&subscription.log, known).await?;
        if let Some(part) = log.as_ref().filter(|log| !log.is_whole) {
            // The messages after the known part may be of another history.
            match codec::decode(&part.messages) {
                Ok(lines) => {
                    live.tail = Some(part.tail);
                    self.take_over(subscription, live, lines);
                    return Ok(());
                }
                Err(_) => log = self.engine.read_log(&subscription.log, None).await?,
            }
        }
        let read = match &log {
            Some(log) => codec::decode_whole(&log.messages).map_err(|error| self.damaged(subscription, &error))?,
            None => Vec::new(),
        };
        live.tail = log.map(|log| log.tail);
        if live.tail.is_none() {
            self.unwatch(subscription, live.state.as_ref());
            live.state = None;
        }
        self.take_over(subscription, live, read);
        Ok(())
    }

    /// Takes over what is stored.
    fn take_over(&self, subscription: &Subscription, live: &mut Live, lines: Vec<Line>) {
        let mut watches_more = false;
        for Line { event, len } in lines {
            if let Event::State { .. } = event {
                (live.log_bytes, live.state_bytes) = (0, len);
            }
            live.log_bytes += len;
            watches_more |= self.apply(subscription, live, event);
        }
        (live.is_stale, live.is_unfounded, live.is_own) = (false, false, false);
        self.count_links(live);
        self.note_secret(subscription, live);
        if watches_more && self.engine.is_shared() {
            // This server has not marked its appends to these streams.
            self.want_examined(&subscription.id);
        }
    }

    /// Commits events and applies them.
    pub(super) async fn commit(
        &self,
        subscription: &Subscription,
        live: &mut Live,
        events: Vec<Event>,
        notice: Option<Notice>,
    ) -> Result<Noticed, ChangeError> {
        let Some(state) = live.state() else {
            return Err(ChangeError::Moved);
        };
        if events.is_empty() {
            return Ok(Noticed::Appended);
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
        let beside = Beside {
            notice,
            is_announced: events.iter().any(Event::changes_what_is_watched),
        };
        let noticed = self.write(subscription, live, change, beside).await?;
        if is_whole {
            (live.log_bytes, live.state_bytes) = (len, len);
        } else {
            live.log_bytes += len;
        }
        for event in events {
            self.apply(subscription, live, event);
        }
        self.count_links(live);
        Ok(noticed)
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
        let beside = Beside {
            notice: None,
            is_announced: true,
        };
        self.write(subscription, live, LogChange::Append(data), beside).await?;
        (live.log_bytes, live.state_bytes) = (len, len);
        self.note_links(&state);
        live.state = Some(state);
        self.count_links(live);
        self.note_secret(subscription, live);
        Ok(())
    }

    /// Deletes a subscription.
    pub(super) async fn remove(&self, subscription: &Subscription, live: &mut Live) -> Result<(), ChangeError> {
        let beside = Beside {
            notice: None,
            is_announced: true,
        };
        self.write(subscription, live, LogChange::Remove, beside).await?;
        self.unwatch(subscription, live.state.as_ref());
        (live.state, live.tail) = (None, None);
        self.note_log(subscription, live, None);
        self.count_links(live);
        self.note_secret(subscription, live);
        Ok(())
    }

    async fn write(
        &self,
        subscription: &Subscription,
        live: &mut Live,
        change: LogChange,
        beside: Beside,
    ) -> Result<Noticed, ChangeError> {
        // Until the answer is known, also if the caller disconnects.
        live.is_stale = true;
        let is_announced = beside.is_announced && self.engine.is_shared();
        let write = LogWrite {
            expected: live.tail,
            change,
            notice: beside.notice,
            announcement: is_announced
                .then(|| self.announcements.of(&subscription.id))
                .transpose()
                .map_err(unwritable)?,
        };
        match self.engine.write_log(&subscription.log, write).await {
            Ok(logged) => {
                live.tail = Some(logged.tail);
                (live.is_stale, live.is_own) = (false, true);
                self.note_log(subscription, live, Some(logged.id));
                let Some(refused) = logged.notice_refused else {
                    return Ok(Noticed::Appended);
                };
                if let Some(suppressed) = self.failures.allow("wake stream") {
                    let id = &*subscription.id;
                    tracing::warn!(
                        subscription = id,
                        %refused,
                        suppressed,
                        "could not append a wake to the wake stream; will retry, and workers can claim without it"
                    );
                }
                Ok(Noticed::Refused)
            }
            Err(LogError::Moved) => Err(ChangeError::Moved),
            Err(LogError::Unavailable(unavailable)) => Err(unavailable.into()),
        }
    }

    fn damaged(&self, subscription: &Subscription, error: &CodecError) -> Unavailable {
        if let Some(suppressed) = self.failures.allow("damaged subscription") {
            tracing::error!(subscription = &*subscription.id, %error, suppressed, "a subscription cannot be read");
        }
        Unavailable::Damaged(format!("the subscription {}: {error}", subscription.id))
    }

    fn note_secret(&self, subscription: &Subscription, live: &Live) {
        let secret = live.state.as_ref().map(|state| state.secret.clone());
        let is_known = *subscription.secret.read() == secret;
        if !is_known {
            *subscription.secret.write() = secret;
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn unwritable(error: serde_json::Error) -> ChangeError {
    tracing::error!(%error, "a subscription cannot be encoded");
    Unavailable::Damaged("the subscription cannot be encoded".into()).into()
}
