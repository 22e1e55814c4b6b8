//! Tells the other servers what commits have changed: by NOTIFY, after the commit, on a connection of its own.
//!
//! Inside the commit, NOTIFY would take a lock of the whole cluster and hold it for the flush. What a server
//! that dies in between does not send is found in the log, which every server reads each second.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_postgres::types::Type;

use super::{Core, connections::query};
use crate::storage::Changed;

/// Changes in one notification. PostgreSQL takes less than 8,000 bytes, and a change up to 31 before base64.
const MAX_CHANGES: usize = 180;
/// Changes that wait for the notifier. With more, the other servers read the log.
const MAX_WAITING: usize = 20_000;
/// Notifications of another form have another prefix.
const PREFIX: &str = "1:";
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// A notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// Commits `first` to `last` of a lane; `None`: read them in the log.
    Commits {
        lane: i64,
        first: i64,
        last: i64,
        changes: Option<Vec<Change>>,
    },
    /// A server finds out whether it hears notifications.
    Test { lane: i64, number: u64 },
}

/// A [`Changed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    id: u64,
    rev: u64,
    tail: u64,
    gone: bool,
}

impl From<Changed> for Change {
    fn from(changed: Changed) -> Self {
        let Changed { id, rev, tail, gone } = changed;
        Self { id, rev, tail, gone }
    }
}

impl From<Change> for Changed {
    fn from(change: Change) -> Self {
        let Change { id, rev, tail, gone } = change;
        Self { id, rev, tail, gone }
    }
}

impl Message {
    fn encode(&self) -> Option<String> {
        let bytes = postcard::to_stdvec(self).ok()?;
        Some(format!("{PREFIX}{}", STANDARD_NO_PAD.encode(bytes)))
    }

    /// `None`: not one of ours, or of another release.
    pub(super) fn decode(payload: &str) -> Option<Self> {
        let bytes = STANDARD_NO_PAD.decode(payload.strip_prefix(PREFIX)?).ok()?;
        postcard::from_bytes(&bytes).ok()
    }
}

/// What waits to be told.
#[derive(Default)]
pub(super) struct Notifier {
    waiting: Mutex<Waiting>,
    wake: Notify,
    slot: tokio::sync::Mutex<Option<super::connections::Session>>,
}

#[derive(Default)]
struct Waiting {
    lane: i64,
    first: i64,
    last: i64,
    changes: Vec<Change>,
    overflowed: bool,
    tests: Vec<(i64, u64)>,
}

impl Notifier {
    pub(super) fn push(&self, lane: i64, n: i64, changes: Vec<Changed>) {
        let mut waiting = self.waiting.lock();
        if waiting.lane != lane {
            *waiting = Waiting {
                lane,
                tests: std::mem::take(&mut waiting.tests),
                ..Waiting::default()
            };
        }
        if waiting.first == 0 {
            waiting.first = n;
        }
        waiting.last = n;
        if waiting.changes.len() + changes.len() > MAX_WAITING {
            waiting.overflowed = true;
            waiting.changes.clear();
        } else if !waiting.overflowed {
            waiting.changes.extend(changes.into_iter().map(Change::from));
        }
        drop(waiting);
        self.wake.notify_one();
    }

    pub(super) fn test(&self, lane: i64, number: u64) {
        let mut waiting = self.waiting.lock();
        // The last one is enough.
        waiting.tests = vec![(lane, number)];
        drop(waiting);
        self.wake.notify_one();
    }

    /// Everything that waits, as notifications.
    fn take(&self) -> Vec<Message> {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        let mut messages: Vec<Message> = waiting
            .tests
            .iter()
            .map(|(lane, number)| Message::Test {
                lane: *lane,
                number: *number,
            })
            .collect();
        if waiting.first > 0 {
            let told = !waiting.overflowed && waiting.changes.len() <= MAX_CHANGES;
            messages.push(Message::Commits {
                lane: waiting.lane,
                first: waiting.first,
                last: waiting.last,
                changes: told.then_some(waiting.changes),
            });
        }
        messages
    }
}

impl Core {
    /// Sends notifications. While one is under way, the next ones gather.
    pub(super) async fn notify(self: Arc<Self>) {
        loop {
            self.notifier.wake.notified().await;
            for message in self.notifier.take() {
                self.send(&message).await;
            }
        }
    }

    async fn send(&self, message: &Message) {
        // The transaction has nothing to be lost in a crash.
        const SEND: &str = "select set_config('synchronous_commit', 'off', true), \
            pg_notify((select name from durable_streams.channel), $1)";
        let Some(payload) = message.encode() else { return };
        let parameters = [(&payload as _, Type::TEXT)];
        let sent = match self.connections.session(&self.notifier.slot).await {
            Ok(session) => {
                let sent = query(&session, SEND, &parameters, TIMEOUT).await;
                if sent.is_err() {
                    self.connections.give_up(&self.notifier.slot, &session).await;
                }
                sent.map(|_| ())
            }
            Err(failure) => Err(failure),
        };
        match sent {
            Ok(()) => self.connections.figures.notifications_sent.add(1),
            // The other servers find it in the log.
            Err(failure) => tracing::debug!(%failure, "a notification was not sent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(id: u64) -> Changed {
        Changed {
            id,
            rev: u64::MAX,
            tail: u64::MAX,
            gone: false,
        }
    }

    #[test]
    fn the_largest_notification_fits() {
        let notifier = Notifier::default();
        notifier.push(i64::MAX, i64::MAX, vec![change(u64::MAX >> 1); MAX_CHANGES]);
        let messages = notifier.take();
        let payload = messages[0].encode().unwrap();
        assert!(payload.len() < 8_000, "{}", payload.len());
        assert_eq!(Message::decode(&payload).as_ref(), messages.first());
    }

    #[test]
    fn commits_gather_until_they_are_taken() {
        let notifier = Notifier::default();
        notifier.push(3, 7, vec![change(1)]);
        notifier.push(3, 8, vec![change(2)]);
        let [
            Message::Commits {
                lane,
                first,
                last,
                changes,
            },
        ] = &notifier.take()[..]
        else {
            panic!("one message");
        };
        assert_eq!((*lane, *first, *last, changes.as_ref().unwrap().len()), (3, 7, 8, 2));
        assert!(notifier.take().is_empty());
        for n in 9..1_000 {
            notifier.push(3, n, vec![change(1); 100]);
        }
        assert!(notifier.waiting.lock().changes.len() <= MAX_WAITING);
        assert!(matches!(
            notifier.take()[..],
            [Message::Commits {
                first: 9,
                last: 999,
                changes: None,
                ..
            }]
        ));
    }

    #[test]
    fn what_is_not_ours_is_ignored() {
        for payload in ["", "1:", "1:!!", "1:AAAA", "2:AAAA", "hello"] {
            assert!(
                !matches!(
                    Message::decode(payload),
                    Some(Message::Commits { changes: Some(_), .. })
                ),
                "{payload}"
            );
        }
    }
}
