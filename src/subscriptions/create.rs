//! Creating a subscription, and linking further streams (sections 6.2 and 6.4).

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::OwnedMutexGuard;

use super::{
    Inner,
    errors::{CreateError, MemberError, NotFound},
    keys::KeysError,
    live::{ChangeError, Live, MAX_MOVES, Subscription, unless_moved},
    scan::TooMany,
    state::{Cursor, Definition, Delivery, Event, Link, LinkType, State},
    token::Secret,
    view::View,
};
use crate::{
    engine::Unavailable,
    protocol::{BadInput, Offset, StreamName},
    webhook::KeyError,
};

/// Bytes of an id.
const MAX_ID_BYTES: usize = 256;

/// What is to be created.
pub(super) struct Create {
    pub(super) definition: Definition,
    pub(super) streams: Vec<StreamName>,
    pub(super) root_url: String,
}

impl Inner {
    /// `None` when it must be tried again.
    pub(super) async fn create(self: &Arc<Self>, id: &str, new: Create) -> Result<Option<(bool, View)>, CreateError> {
        let (subscription, mut live) = self.lock_known(id).await?;
        let hash = new.definition.hash(&new.streams);
        match self.refresh(&subscription, &mut live).await {
            Ok(false) => {}
            Ok(true) => {
                if live.state().is_none_or(|state| state.hash != hash) {
                    return Err(CreateError::Exists);
                }
                let view = self.view(&subscription, &live).await?;
                return Ok(view.map(|view| (false, view)));
            }
            Err(error) => {
                let is_stored = live.state.is_some() || matches!(error, Unavailable::Damaged(_));
                if !is_stored {
                    self.forget(&subscription, &mut live);
                }
                return Err(error.into());
            }
        }
        let created = self.create_new(&subscription, &mut live, new, hash).await;
        if let Ok(true) = created {
            self.schedule(&subscription);
            let view = self.view(&subscription, &live).await?;
            return Ok(view.map(|view| (true, view)));
        }
        // It may have been stored after all, or by another server.
        if let Ok(false) = self.refresh(&subscription, &mut live).await {
            self.forget(&subscription, &mut live);
        }
        created.map(|_| None)
    }

    /// Whether it was created; otherwise it must be tried again.
    async fn create_new(
        self: &Arc<Self>,
        subscription: &Subscription,
        live: &mut Live,
        new: Create,
        hash: String,
    ) -> Result<bool, CreateError> {
        let limit = self.config.max_subscriptions;
        if self.known.read().len() > limit {
            return Err(CreateError::TooManySubscriptions(limit));
        }
        if matches!(new.definition.delivery, Delivery::Webhook { .. }) {
            self.keys.kid(&self.engine, &self.clock).await?;
        }
        let mut state = State {
            hash,
            created_at: self.clock.millis(),
            root_url: new.root_url,
            secret: Secret::generate().map_err(|_| KeysError::Key(KeyError::Generate))?,
            definition: new.definition,
            paused: false,
            links: BTreeMap::new(),
            generation: 0,
            wake: None,
            retry: None,
        };
        let explicit = Link::new(LinkType::Explicit, Offset::BEGINNING);
        state.links = new.streams.into_iter().map(|name| (name, explicit)).collect();
        // From now on changes are marked, so that nothing is missed after the tails are read.
        self.index(subscription, &state);
        if let Err(error) = self.link(&mut state).await {
            self.unindex(subscription, &state);
            return Err(error);
        }
        let stored = self.store(subscription, live, state.clone()).await;
        if stored.is_err() {
            self.unindex(subscription, &state);
        }
        Ok(unless_moved(stored)?.is_some())
    }

    /// Links the streams of a new subscription at their tails.
    async fn link(&self, state: &mut State) -> Result<(), CreateError> {
        if state.links.len() > self.config.max_links_per_subscription || !self.has_room_for(state.links.len()) {
            return Err(CreateError::TooManyLinks);
        }
        for (name, link) in &mut state.links {
            link.acked = Cursor(self.tail_of(name).await?);
        }
        if let Err(TooMany) = self.backfill(&state.definition, &mut state.links).await? {
            return Err(CreateError::TooManyLinks);
        }
        Ok(())
    }

    pub(super) async fn add(
        self: &Arc<Self>,
        subscription: &Subscription,
        streams: Vec<StreamName>,
    ) -> Result<(), MemberError> {
        for _ in 0..MAX_MOVES {
            let mut live = subscription.live.lock().await;
            self.refresh(subscription, &mut live).await?;
            let state = live.state().ok_or(NotFound::NotFound)?;
            if streams.iter().any(|stream| state.definition.wakes_in(stream)) {
                return Err(own_wake_stream().into());
            }
            let is_new = |name: &&StreamName| state.links.get(*name).is_none_or(|link| !link.explicit);
            let new: Vec<StreamName> = streams.iter().filter(is_new).cloned().collect();
            let links = state.links.len().saturating_add(new.len());
            if links > self.config.max_links_per_subscription || !self.has_room_for(new.len()) {
                return Err(MemberError::TooManyLinks);
            }
            self.marks
                .with_index(|index| new.iter().for_each(|name| index.add_name(name, &subscription.id)));
            self.engine.watch_more();
            let added = self.add_new(subscription, &mut live, &new).await;
            if added.is_err() {
                self.marks
                    .with_index(|index| new.iter().for_each(|name| index.remove_name(name, &subscription.id)));
            }
            if unless_moved(added)?.is_some() {
                self.schedule(subscription);
                return Ok(());
            }
        }
        Err(Unavailable::Raced.into())
    }

    async fn add_new(
        &self,
        subscription: &Subscription,
        live: &mut Live,
        new: &[StreamName],
    ) -> Result<(), ChangeError> {
        let mut events = Vec::with_capacity(new.len());
        for name in new {
            events.push(Event::Linked {
                stream: name.clone(),
                link: LinkType::Explicit,
                acked: Cursor(self.tail_of(name).await?),
            });
        }
        self.commit(subscription, live, events, None).await.map(drop)
    }

    /// The subscription of an id, which becomes a known one. Have it forgotten if it does not exist.
    pub(super) async fn lock_known(&self, id: &str) -> Result<(Arc<Subscription>, OwnedMutexGuard<Live>), BadId> {
        loop {
            let subscription = self.get_or_new(id)?;
            let live = Arc::clone(&subscription.live).lock_owned().await;
            if !live.is_forgotten {
                return Ok((subscription, live));
            }
        }
    }

    fn get_or_new(&self, id: &str) -> Result<Arc<Subscription>, BadId> {
        let new = Subscription::new(id).map_err(|_| BadId)?;
        let mut known = self.known.write();
        let entry = known.entry(Arc::clone(&new.id));
        Ok(Arc::clone(entry.or_insert_with(|| Arc::new(new))))
    }

    /// Forgets a subscription that does not exist. Whoever waits for it looks again.
    pub(super) fn forget(&self, subscription: &Arc<Subscription>, live: &mut Live) {
        live.is_forgotten = true;
        let mut known = self.known.write();
        if known
            .get(&subscription.id)
            .is_some_and(|present| Arc::ptr_eq(present, subscription))
        {
            known.remove(&subscription.id);
        }
    }
}

/// The id cannot be a part of a stream's name.
#[derive(Debug)]
pub(super) struct BadId;

impl From<BadId> for CreateError {
    fn from(_: BadId) -> Self {
        Self::Bad(BadInput::new("subscription id", "cannot be used"))
    }
}

impl From<BadId> for NotFound {
    fn from(_: BadId) -> Self {
        Self::NotFound
    }
}

/// Whether an id can be used.
pub(super) fn check_id(id: &str) -> Result<(), BadInput> {
    let bad = |reason: &str| Err(BadInput::new("subscription id", reason.to_owned()));
    match id {
        "" => bad("is empty"),
        "." | ".." => bad("is `.` or `..`"),
        long if long.len() > MAX_ID_BYTES => bad("is longer than 256 bytes"),
        slashed if slashed.contains('/') => bad("contains a slash"),
        odd if odd.chars().any(char::is_control) => bad("contains a control character"),
        _ => Ok(()),
    }
}

/// Each wake would cause the next one.
pub(super) fn own_wake_stream() -> BadInput {
    BadInput::new(
        "streams",
        "has the subscription's own wake stream, where each wake would cause the next one",
    )
}
