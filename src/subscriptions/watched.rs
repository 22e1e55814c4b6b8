//! What has to be noticed for a subscription: changes of its streams, and of its log.

use std::sync::atomic::Ordering;

use super::{
    Inner,
    index::Id,
    live::{Live, Subscription},
    state::{Event, Link, State},
};
use crate::{protocol::StreamName, storage::StreamId};

impl Inner {
    /// Applies an event that is stored. Returns whether streams are watched since that were not.
    pub(super) fn apply(&self, subscription: &Subscription, live: &mut Live, event: Event) -> bool {
        let id = &subscription.id;
        if let Event::State { state, .. } = event {
            let before = live.state.replace(*state);
            let watches_more = match (&before, &live.state) {
                (Some(before), Some(now)) => !before.watches_all_of(now),
                _ => true,
            };
            if let Some(now) = &live.state {
                self.rewatch(subscription, before.as_ref(), now);
            }
            return watches_more;
        }
        let Some(state) = &mut live.state else { return false };
        let Some(stream) = event.stream().cloned() else {
            state.apply(event);
            return false;
        };
        let before = state.links.get(&stream).copied();
        state.apply(event);
        self.relink(id, &stream, before, state.links.get(&stream).copied())
    }

    /// Has changes of the subscription's streams marked.
    pub(super) fn index(&self, subscription: &Subscription, state: &State) {
        self.reindex(subscription, None, Some(state));
        self.engine.watch_more();
    }

    pub(super) fn unindex(&self, subscription: &Subscription, state: &State) {
        self.reindex(subscription, Some(state), None);
    }

    /// Has other servers' changes of the linked streams noted.
    pub(super) fn note_links(&self, state: &State) {
        if self.engine.is_shared() {
            self.marks.note_streams(state.links.iter().filter_map(identified));
        }
    }

    fn forget_links(&self, state: &State) {
        if self.engine.is_shared() {
            self.marks.forget_streams(state.links.iter().filter_map(identified));
        }
    }

    /// Watches for another state. A stream that both of them watch is watched all the time.
    fn rewatch(&self, subscription: &Subscription, before: Option<&State>, now: &State) {
        self.reindex(subscription, before, Some(now));
        self.engine.watch_more();
        self.note_links(now);
        if let Some(before) = before {
            self.forget_links(before);
        }
    }

    pub(super) fn unwatch(&self, subscription: &Subscription, state: Option<&State>) {
        let Some(state) = state else { return };
        self.unindex(subscription, state);
        self.forget_links(state);
    }

    /// Changes the index in one step.
    fn reindex(&self, subscription: &Subscription, before: Option<&State>, now: Option<&State>) {
        let id = &subscription.id;
        self.marks.with_index(|index| {
            if let Some(before) = before {
                before
                    .definition
                    .pattern
                    .iter()
                    .for_each(|pattern| index.remove_pattern(pattern, id));
                before.named().for_each(|name| index.remove_name(name, id));
            }
            if let Some(now) = now {
                now.definition
                    .pattern
                    .iter()
                    .for_each(|pattern| index.add_pattern(pattern, id));
                now.named().for_each(|name| index.add_name(name, id));
            }
        });
    }

    /// Returns whether the stream is watched by its name since.
    fn relink(&self, id: &Id, name: &StreamName, before: Option<Link>, now: Option<Link>) -> bool {
        let was_named = before.is_some_and(|link| link.explicit);
        let is_named = now.is_some_and(|link| link.explicit);
        if was_named && !is_named {
            self.marks.with_index(|index| index.remove_name(name, id));
        } else if is_named && !was_named {
            self.marks.with_index(|index| index.add_name(name, id));
            self.engine.watch_more();
        }
        if self.engine.is_shared() {
            let of = |link: &Option<Link>| link.as_ref().and_then(|link| identified((name, link)));
            let (before, now) = (of(&before), of(&now));
            if before != now {
                self.marks.note_streams(now.into_iter());
                self.marks.forget_streams(before.into_iter());
            }
        }
        is_named && !was_named
    }

    /// Notes the id of a subscription's log.
    pub(super) fn note_log(&self, subscription: &Subscription, live: &mut Live, id: Option<StreamId>) {
        if self.engine.is_shared() && live.log_id != id {
            let before = std::mem::replace(&mut live.log_id, id);
            self.marks.note_log(&subscription.id, before, id);
        }
    }

    pub(super) fn count_links(&self, live: &mut Live) {
        let links = live.state.as_ref().map_or(0, |state| state.links.len());
        let counted = std::mem::replace(&mut live.counted_links, links);
        self.links.fetch_add(links, Ordering::Relaxed);
        self.links.fetch_sub(counted, Ordering::Relaxed);
    }
}

/// A linked stream and its id, as far as the cursor tells: the stream that has issued it is the one
/// that is linked, unless that is a fork or was imported. Changes of those are found more slowly.
fn identified<'s>((name, link): (&'s StreamName, &Link)) -> Option<(StreamId, &'s StreamName)> {
    let id = link.acked.0.incarnation;
    (id > 0).then_some((id, name))
}
