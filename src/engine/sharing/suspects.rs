//! Streams with a commit of unknown outcome, which may still happen for a while. Nobody else announces
//! it here: to the other servers it is a change of this one.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::Sharing;
use crate::{engine::stream::Stream, storage::StreamId};

/// How long a commit of unknown outcome may still happen.
const MAX_LATE_COMMIT: Duration = Duration::from_secs(30);
/// Suspects beyond this number are kept only if live readers follow them. Subscriptions find what
/// happens to the others by comparing all streams with their cursors.
const MAX_UNFOLLOWED: usize = 10_000;

/// The suspects, and until when their commits may still happen.
#[derive(Default)]
pub(super) struct Suspects(Mutex<HashMap<StreamId, (Arc<Stream>, Instant)>>);

impl Sharing {
    /// Has live readers and subscriptions look at streams whose commit has an unknown outcome, now
    /// and for a while. Every other read refreshes them anyway.
    pub(in crate::engine) fn suspect(&self, streams: &[Arc<Stream>]) {
        let until = self.clock.instant() + MAX_LATE_COMMIT;
        let mut suspects = self.suspects.0.lock();
        for stream in streams {
            let is_watched = self.watch.published(stream);
            if self.registry.has(stream.id) || (is_watched && suspects.len() < MAX_UNFOLLOWED) {
                suspects.insert(stream.id, (Arc::clone(stream), until));
            }
        }
        self.refresh_followed(streams.iter().map(|stream| stream.id));
    }

    /// Looks again at the streams whose commit may still happen.
    pub(in crate::engine) fn look_at_suspects(&self) {
        let now = self.clock.instant();
        let mut suspects = self.suspects.0.lock();
        suspects.retain(|id, (stream, until)| {
            let is_watched = self.watch.published(stream);
            *until > now && (is_watched || self.registry.has(*id))
        });
        if !suspects.is_empty() {
            self.refresh_followed(suspects.keys().copied());
        }
    }

    fn refresh_followed(&self, ids: impl Iterator<Item = StreamId>) {
        self.news.refresh(ids.filter(|id| self.registry.has(*id)));
    }
}
