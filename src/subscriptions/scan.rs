//! Looks through the streams: for those that a new pattern matches, and for work that no mark tells
//! of, at the start and later. Only streams that somebody watches are looked at, a page at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use futures_util::future::try_join_all;

use super::{
    Inner,
    dispatcher::retried,
    index::Id,
    live::Subscription,
    state::{Definition, Link, LinkType, State},
    sync::CONCURRENT_READS,
};
use crate::{
    engine::{Listed, Unavailable},
    protocol::{Offset, StreamName},
};

/// Streams that one step examines.
const PAGE: usize = 1000;
/// Streams that are looked up at a time, in one round trip of a shared store.
pub(super) const CONCURRENT_LOOK_UPS: usize = 256;

/// With more subscriptions to examine, one scan of all streams replaces the examinations.
const MAX_EXAMINED: usize = 64;

/// More streams match than may be linked.
pub(super) struct TooMany;

/// How many streams may be looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Breadth {
    All,
    /// As many as a request may wait for.
    Page,
}

/// Examines the subscriptions for which marks are missing, until stopped. A pattern may match a
/// million streams, which nothing else must wait for.
pub(super) async fn examine_wanted(inner: Arc<Inner>) {
    let stopped = inner.stopped.clone();
    let mut loaded = inner.loaded.subscribe();
    let examining = async {
        if loaded.wait_for(|loaded| *loaded).await.is_err() {
            return;
        }
        loop {
            inner.examination_wanted.notified().await;
            let examined = retried(&inner, "look for streams that are not marked", || {
                inner.examine_wanted()
            });
            if examined.await.is_none() {
                return;
            }
        }
    };
    tokio::select! {
        () = stopped.cancelled() => {}
        () = examining => {}
    }
}

impl Inner {
    /// Loads what is stored, and returns whether that is anything.
    pub(super) async fn load_all(&self) -> Result<bool, Unavailable> {
        let Ok(folder) = Subscription::folder() else {
            return Ok(false);
        };
        let (mut after, mut found) = (None, 0);
        loop {
            let page = self.engine.logs(&folder, after.as_ref()).await?;
            let Some((last, _)) = page.last().cloned() else { break };
            let ids = page
                .into_iter()
                .filter_map(|(log, _)| Subscription::id_of(&log, &folder));
            let new: Vec<Subscription> = ids.filter_map(|id| Subscription::new(&id).ok()).collect();
            found += new.len();
            let mut new = new.into_iter();
            loop {
                let some: Vec<_> = new.by_ref().take(CONCURRENT_READS).collect();
                if some.is_empty() {
                    break;
                }
                try_join_all(some.into_iter().map(|subscription| self.load_one(subscription))).await?;
            }
            after = Some(last);
        }
        // The scan of all streams finds the appends of this server meanwhile.
        self.unexamined.lock().clear();
        self.count_logs(found).await?;
        Ok(found > 0)
    }

    /// Notes how many streams of the store are the server's own.
    pub(super) async fn count_logs(&self, subscriptions: usize) -> Result<(), Unavailable> {
        let keys = u64::from(self.keys.are_stored(&self.engine).await?);
        let announcements = u64::from(self.announcements.are_stored(&self.engine).await?);
        self.engine.set_logs(subscriptions as u64 + keys + announcements);
        Ok(())
    }

    async fn load_one(&self, subscription: Subscription) -> Result<(), Unavailable> {
        let subscription = self.known_or(subscription);
        let mut live = subscription.live.lock().await;
        let as_of = self.clock.millis();
        match self.refresh(&subscription, &mut live).await {
            // One that cannot be read must not keep the others from being delivered.
            Err(Unavailable::Damaged(_)) => {}
            Err(error) => return Err(error),
            Ok(_) => {
                let generation = live.state().map(|state| state.generation);
                if !self.engine.is_shared() {
                    live.cut_off = generation;
                }
                self.arm(&subscription, &live, as_of);
            }
        }
        drop(live);
        Ok(())
    }

    /// Marks every stream that concerns a subscription and has other content than its cursor says.
    pub(super) async fn scan(&self) -> Result<(), Unavailable> {
        let (mut prefixes, mut named) = (BTreeSet::new(), Vec::new());
        for subscription in self.all() {
            let mut live = subscription.live.lock().await;
            if live.is_stale {
                // The outcome of its last change is unknown.
                match self.refresh(&subscription, &mut live).await {
                    Ok(_) | Err(Unavailable::Damaged(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            let Some(state) = live.state() else { continue };
            prefixes.extend(state.definition.pattern.as_ref().map(super::Pattern::prefix));
            if state.named().next().is_some() {
                named.push(Arc::clone(&subscription));
            }
        }
        for prefix in without_covered(prefixes) {
            let mut after = None;
            loop {
                let page = self.engine.list(prefix.clone(), after, PAGE).await?;
                for listed in &page.streams {
                    for id in self.concerned(&listed.name) {
                        self.compare(&id, listed).await;
                    }
                }
                match page.next {
                    Some(next) => after = Some(next.key().to_owned()),
                    None => break,
                }
            }
        }
        for subscription in named {
            let named = {
                let live = subscription.live.lock().await;
                live.state().map(named_links).unwrap_or_default()
            };
            if self.mark_pending(&subscription, named).await? {
                self.schedule(&subscription);
            }
        }
        Ok(())
    }

    /// Marks linked streams that do not exist any longer.
    pub(super) async fn mark_deleted(&self) -> Result<(), Unavailable> {
        for subscription in self.all() {
            let linked: Vec<StreamName> = {
                let live = subscription.live.lock().await;
                live.state().into_iter().flat_map(matched_links).cloned().collect()
            };
            for some in linked.chunks(CONCURRENT_LOOK_UPS) {
                let extents = try_join_all(some.iter().map(|name| self.engine.extent(name))).await?;
                let found = some.iter().zip(extents).filter(|(_, extent)| extent.is_none());
                for (name, _) in found {
                    subscription.mark(name, self.clock.millis());
                    self.schedule(&subscription);
                }
            }
        }
        Ok(())
    }

    async fn compare(&self, id: &Id, listed: &Listed) {
        let Some(subscription) = self.get(id) else { return };
        let live = subscription.live.lock().await;
        let is_settled = live.state().map_or(!live.is_stale, |state| is_settled(state, listed));
        drop(live);
        if !is_settled {
            subscription.mark(&listed.name, self.clock.millis());
            self.schedule(&subscription);
        }
    }

    async fn examine_wanted(&self) -> Result<(), Unavailable> {
        let wanted = std::mem::take(&mut *self.unexamined.lock());
        if wanted.len() > MAX_EXAMINED {
            self.want_scan();
            return Ok(());
        }
        for id in &wanted {
            let Some(subscription) = self.get(id) else { continue };
            if let Err(error) = self.examine(&subscription).await {
                self.unexamined.lock().extend(wanted);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Marks the streams of one subscription that have content after their cursors.
    async fn examine(&self, subscription: &Subscription) -> Result<(), Unavailable> {
        let state = subscription.live.lock().await.state().cloned();
        if let Some(state) = state
            && self.examine_state(subscription, &state, Breadth::All).await?
        {
            self.schedule(subscription);
        }
        Ok(())
    }

    /// Marks only what the next wake can have, and links of streams that are gone. Otherwise a set that
    /// overflows would be examined again and again, and never be worked off. Returns whether any
    /// stream was marked.
    pub(super) async fn examine_state(
        &self,
        subscription: &Subscription,
        state: &State,
        breadth: Breadth,
    ) -> Result<bool, Unavailable> {
        let (mut after, mut found) = (None, false);
        let mut links = named_links(state);
        if breadth == Breadth::Page {
            links.truncate(PAGE);
        }
        let mut missing: BTreeSet<&StreamName> = matched_links(state).collect();
        loop {
            let next = match &state.definition.pattern {
                Some(pattern) => {
                    let page = self.engine.list(pattern.prefix(), after, PAGE).await?;
                    for listed in &page.streams {
                        missing.remove(&listed.name);
                    }
                    links.extend(
                        page.streams
                            .into_iter()
                            .filter_map(|listed| self.unsettled(state, listed)),
                    );
                    page.next
                }
                None => None,
            };
            found |= self.mark_pending(subscription, std::mem::take(&mut links)).await?;
            match next {
                // Of a set that is full, the rest is examined later.
                Some(next) if breadth == Breadth::All && subscription.has_all_marks() => {
                    after = Some(next.key().to_owned());
                }
                Some(_) => return Ok(found),
                None => break,
            }
        }
        for name in &missing {
            subscription.mark(name, self.clock.millis());
        }
        Ok(found || !missing.is_empty())
    }

    /// The cursor of a stream that a pattern matches, if the stream may have content after it.
    fn unsettled(&self, state: &State, Listed { name, metadata, .. }: Listed) -> Option<(StreamName, Offset)> {
        let cursor = match state.links.get(&name) {
            Some(link) => link.acked.0,
            None if self.may_link_one(state) && metadata.tail != metadata.earliest => Offset::BEGINNING,
            None => return None,
        };
        let is_unsettled = cursor != metadata.tail && state.definition.links(&name);
        is_unsettled.then_some((name, cursor))
    }

    /// Marks those of the links whose streams have content after the cursor. Returns whether there
    /// are any.
    async fn mark_pending(
        &self,
        subscription: &Subscription,
        links: Vec<(StreamName, Offset)>,
    ) -> Result<bool, Unavailable> {
        let mut found = false;
        for some in links.chunks(CONCURRENT_LOOK_UPS) {
            let extents = try_join_all(some.iter().map(|(name, _)| self.engine.extent(name))).await?;
            for ((name, cursor), extent) in some.iter().zip(extents) {
                if extent.is_some_and(|extent| extent.continues_after(*cursor)) {
                    subscription.mark(name, self.clock.millis());
                    found = true;
                }
            }
        }
        Ok(found)
    }

    /// The existing streams that a pattern matches, linked at their tails (section 6.2).
    pub(super) async fn backfill(
        &self,
        definition: &Definition,
        links: &mut BTreeMap<StreamName, Link>,
    ) -> Result<Result<(), TooMany>, Unavailable> {
        let Some(pattern) = &definition.pattern else {
            return Ok(Ok(()));
        };
        let mut after = None;
        loop {
            let page = self.engine.list(pattern.prefix(), after, PAGE).await?;
            for listed in page.streams {
                if !definition.links(&listed.name) {
                    continue;
                }
                let tail = listed.metadata.tail;
                let link = links.entry(listed.name).or_insert(Link::new(LinkType::Glob, tail));
                link.glob = true;
                if links.len() > self.config.max_links_per_subscription || !self.has_room_for(links.len()) {
                    return Ok(Err(TooMany));
                }
            }
            match page.next {
                Some(next) => after = Some(next.key().to_owned()),
                None => return Ok(Ok(())),
            }
        }
    }

    /// The cursor of a stream that is linked explicitly: its tail, or the beginning of one that does
    /// not exist yet.
    pub(super) async fn tail_of(&self, name: &StreamName) -> Result<Offset, Unavailable> {
        let extent = self.engine.extent(name).await?;
        Ok(extent.map_or(Offset::BEGINNING, |extent| extent.tail()))
    }

    /// Whether a subscription may have one more link.
    pub(super) fn may_link_one(&self, state: &State) -> bool {
        state.links.len() < self.config.max_links_per_subscription && self.has_room_for(1)
    }

    pub(super) fn has_room_for(&self, links: usize) -> bool {
        let linked = self.links.load(Ordering::Relaxed);
        linked.saturating_add(links) <= self.config.max_links
    }

    fn known_or(&self, subscription: Subscription) -> Arc<Subscription> {
        let mut known = self.known.write();
        let id = Arc::clone(&subscription.id);
        Arc::clone(known.entry(id).or_insert_with(|| Arc::new(subscription)))
    }
}

fn is_settled(state: &State, listed: &Listed) -> bool {
    let link = state.links.get(&listed.name);
    link.is_some_and(|link| link.acked.0 == listed.metadata.tail)
}

fn named_links(state: &State) -> Vec<(StreamName, Offset)> {
    let named = state.links.iter().filter(|(_, link)| link.explicit);
    named.map(|(name, link)| (name.clone(), link.acked.0)).collect()
}

/// The streams that are linked by the pattern.
fn matched_links(state: &State) -> impl Iterator<Item = &StreamName> {
    let matched = state.links.iter().filter(|(_, link)| link.glob);
    matched.map(|(name, _)| name)
}

/// Prefixes without those that begin with another one of them.
fn without_covered(prefixes: BTreeSet<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    // A prefix is sorted right before those that begin with it.
    for prefix in prefixes {
        if kept.last().is_none_or(|last| !prefix.starts_with(last.as_str())) {
            kept.push(prefix);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_listed_once() {
        let prefixes = ["a", "a/b", "ab", "b/c", "b/d", "b/c/e"];
        let prefixes = prefixes.into_iter().map(str::to_owned).collect();
        assert_eq!(without_covered(prefixes), ["a", "b/c", "b/d"]);
        assert_eq!(without_covered(["".to_owned(), "a".to_owned()].into()), [""]);
    }
}
