//! Looks through the streams: for those that a new pattern matches, and at the start for work that
//! no mark tells of any longer.

use std::{collections::BTreeMap, sync::Arc, sync::atomic::Ordering};

use super::{
    Inner,
    index::Id,
    live::Subscription,
    state::{Definition, Link, LinkType},
};
use crate::{
    engine::{Listed, Unavailable},
    protocol::{Offset, StreamName},
};

/// Streams that one step examines.
const PAGE: usize = 1000;

/// More streams match than may be linked.
pub(super) struct TooMany;

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
            for (log, _) in page {
                let subscription = Subscription::id_of(&log, &folder).and_then(|id| Subscription::new(&id).ok());
                let Some(subscription) = subscription else { continue };
                found += 1;
                self.load_one(subscription).await?;
            }
            after = Some(last);
        }
        self.count_logs(found).await?;
        Ok(found > 0)
    }

    /// Notes how many streams of the store are the server's own.
    pub(super) async fn count_logs(&self, subscriptions: usize) -> Result<(), Unavailable> {
        let keys = u64::from(self.keys.are_stored(&self.engine).await?);
        self.engine.set_logs(subscriptions as u64 + keys);
        Ok(())
    }

    pub(super) async fn load_one(&self, subscription: Subscription) -> Result<(), Unavailable> {
        let subscription = self.known_or(subscription);
        let mut live = subscription.live.lock().await;
        match self.refresh(&subscription, &mut live).await {
            // One that cannot be read must not keep the others from being delivered.
            Err(Unavailable::Damaged(_)) => {}
            Err(error) => return Err(error),
            Ok(_) => {
                let generation = live.state().map(|state| state.generation);
                if !self.engine.is_shared() {
                    live.orphan = generation;
                }
                self.arm(&subscription, &live);
            }
        }
        drop(live);
        Ok(())
    }

    /// Marks every stream that concerns a subscription and has other content than its cursor says.
    pub(super) async fn scan(&self) -> Result<(), Unavailable> {
        let mut after = None;
        loop {
            let page = self.engine.list(String::new(), after, PAGE).await?;
            for listed in &page.streams {
                for id in self.marks.concerned(&listed.name) {
                    self.examine(&id, listed).await;
                }
            }
            match page.next {
                Some(next) => after = Some(next.key().to_owned()),
                None => return Ok(()),
            }
        }
    }

    async fn examine(&self, id: &Id, listed: &Listed) {
        let Some(subscription) = self.get(id) else { return };
        let live = subscription.live.lock().await;
        let link = live.state().and_then(|state| state.links.get(&listed.name));
        let is_settled = link.is_some_and(|link| link.acked.0 == listed.metadata.tail);
        drop(live);
        if !is_settled {
            subscription.mark(&listed.name, self.clock.millis());
            self.schedule(&subscription);
        }
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
