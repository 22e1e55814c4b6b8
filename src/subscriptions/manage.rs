//! Create, read, delete, members, pause (sections 6.2 to 6.4).

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{
    Inner, Subscriptions,
    errors::{CreateError, MemberError, NotFound},
    index::Id,
    keys::KeysError,
    live::{ChangeError, Live, Subscription},
    scan::TooMany,
    state::{Cursor, Definition, Delivery, Event, Link, LinkType, State},
    token::Secret,
    turn::MAX_MOVES,
};
use crate::{
    engine::Unavailable,
    protocol::{BadInput, Millis, Offset, StreamName},
    webhook::KeyError,
};

/// Bytes of an id.
const MAX_ID_BYTES: usize = 256;

/// A subscription as it is shown.
#[derive(Debug, Clone)]
pub struct View {
    /// Its id.
    pub id: Id,
    /// Its configuration.
    pub definition: Definition,
    /// Its streams, why they are linked, and their cursors.
    pub streams: Vec<(StreamName, LinkType, Offset)>,
    /// When it was created.
    pub created_at: Millis,
    /// Whether the last delivery failed.
    pub is_failing: bool,
    /// Whether it issues no wakes.
    pub is_paused: bool,
    /// The URL of the root of the streams.
    pub root_url: String,
    /// The key that signs its deliveries, if it has a webhook.
    pub kid: Option<String>,
    /// Its last generation.
    pub generation: u64,
    /// Streams that may have content after their cursors.
    pub pending_streams: usize,
}

impl Subscriptions {
    /// Waits until what is stored is known.
    pub(super) async fn loaded(&self) {
        let mut loaded = self.inner.loaded.subscribe();
        // An error means that the subscriptions have stopped, which the next call to the engine says.
        let loading = loaded.wait_for(|loaded| *loaded);
        tokio::select! {
            _ = loading => {}
            () = self.inner.stopped.cancelled() => {}
        }
    }

    pub(super) async fn find(&self, id: &str) -> Result<Arc<Subscription>, NotFound> {
        let found = self.inner.get(&id.into());
        let subscription = match found {
            Some(found) => found,
            // Another server may have created it.
            None if self.inner.engine.is_shared() && check_id(id).is_ok() => self.inner.get_or_new(id)?,
            None => return Err(NotFound::NotFound),
        };
        let mut live = subscription.live.lock().await;
        if self.inner.refresh(&subscription, &mut live).await? {
            drop(live);
            return Ok(subscription);
        }
        self.inner.forget(&subscription);
        Err(NotFound::NotFound)
    }

    /// Creates a subscription, or finds the one with the same configuration. Returns whether it is
    /// new.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub async fn create(
        &self,
        id: &str,
        definition: Definition,
        streams: Vec<StreamName>,
        root_url: String,
    ) -> Result<(bool, View), CreateError> {
        check_id(id)?;
        if let Delivery::Webhook { url } = &definition.delivery {
            self.inner.policy.check(url)?;
        }
        self.loaded().await;
        let (inner, id) = (Arc::clone(&self.inner), id.to_owned());
        // A client that disconnects must not leave half of it.
        let task = self.inner.tasks.spawn(async move {
            for _ in 0..MAX_MOVES {
                let new = Create {
                    definition: definition.clone(),
                    streams: streams.clone(),
                    root_url: root_url.clone(),
                };
                if let Some(created) = inner.create(&id, new).await? {
                    return Ok(created);
                }
            }
            Err(Unavailable::Raced.into())
        });
        task.await.unwrap_or(Err(Unavailable::Stopping.into()))
    }

    /// A subscription.
    ///
    /// # Errors
    /// See [`NotFound`].
    pub async fn read(&self, id: &str) -> Result<View, NotFound> {
        self.loaded().await;
        let subscription = self.find(id).await?;
        let live = subscription.live.lock().await;
        let view = self.inner.view(&subscription, &live).await;
        view.map_err(unavailable)?.ok_or(NotFound::NotFound)
    }

    /// Subscriptions after an id, in the order of their ids, and without their streams.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub async fn list(&self, after: Option<&str>, limit: usize) -> Result<(Vec<View>, bool), Unavailable> {
        self.loaded().await;
        let known: Vec<_> = {
            let known = self.inner.known.read();
            let later = known.iter().filter(|(id, _)| after.is_none_or(|after| &***id > after));
            later
                .map(|(_, subscription)| Arc::clone(subscription))
                .take(limit + 1)
                .collect()
        };
        let has_more = known.len() > limit;
        let mut views = Vec::new();
        for subscription in known.iter().take(limit) {
            let live = subscription.live.lock().await;
            if let Some(state) = live.state() {
                views.push(show(subscription, state, None, false));
            }
        }
        Ok((views, has_more))
    }

    /// Deletes a subscription with its cursors.
    ///
    /// # Errors
    /// See [`NotFound`].
    pub async fn delete(&self, id: &str) -> Result<(), NotFound> {
        self.loaded().await;
        let subscription = self.find(id).await?;
        for _ in 0..MAX_MOVES {
            let mut live = subscription.live.lock().await;
            if !self.inner.refresh(&subscription, &mut live).await? {
                return Err(NotFound::NotFound);
            }
            match self.inner.remove(&subscription, &mut live).await {
                Ok(()) => {
                    self.inner.set_timer(&subscription, None);
                    self.inner.forget(&subscription);
                    return Ok(());
                }
                Err(ChangeError::Moved) => {}
                Err(ChangeError::Unavailable(unavailable)) => return Err(unavailable.into()),
            }
        }
        Err(Unavailable::Raced.into())
    }

    /// Links streams explicitly, at their tails.
    ///
    /// # Errors
    /// See [`MemberError`].
    pub async fn add_streams(&self, id: &str, streams: Vec<StreamName>) -> Result<(), MemberError> {
        self.loaded().await;
        let subscription = self.find(id).await?;
        let inner = Arc::clone(&self.inner);
        let task = self
            .inner
            .tasks
            .spawn(async move { inner.add(&subscription, streams).await });
        task.await.unwrap_or(Err(Unavailable::Stopping.into()))
    }

    /// Removes an explicit link, if there is one.
    ///
    /// # Errors
    /// See [`MemberError`].
    pub async fn remove_stream(&self, id: &str, stream: &StreamName) -> Result<(), MemberError> {
        self.loaded().await;
        let is_linked = |state: &State| state.links.get(stream).is_some_and(|link| link.explicit);
        let removed = || Event::Unlinked {
            stream: stream.clone(),
            link: LinkType::Explicit,
        };
        let change = |state: &State| is_linked(state).then(removed);
        Ok(self.change(id, change).await.map(|_| ())?)
    }

    /// Pauses a subscription, which then issues no wakes, or resumes it.
    ///
    /// # Errors
    /// See [`NotFound`].
    pub async fn set_paused(&self, id: &str, is_paused: bool) -> Result<View, NotFound> {
        self.loaded().await;
        let event = || if is_paused { Event::Paused } else { Event::Resumed };
        let change = |state: &State| (state.paused != is_paused).then(event);
        let subscription = self.change(id, change).await?;
        self.inner.schedule(&subscription);
        self.read(id).await
    }

    /// The public keys of webhooks.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub async fn jwks(&self) -> Result<Bytes, KeysError> {
        self.inner.keys.jwks(&self.inner.engine, &self.inner.clock).await
    }

    /// Commits the event that a state asks for, if it asks for one.
    async fn change(&self, id: &str, event: impl Fn(&State) -> Option<Event>) -> Result<Arc<Subscription>, NotFound> {
        let subscription = self.find(id).await?;
        for _ in 0..MAX_MOVES {
            let mut live = subscription.live.lock().await;
            self.inner.refresh(&subscription, &mut live).await?;
            let state = live.state().ok_or(NotFound::NotFound)?;
            let events = event(state).into_iter().collect();
            match self.inner.commit(&subscription, &mut live, events, None).await {
                Ok(()) => {
                    drop(live);
                    return Ok(subscription);
                }
                Err(ChangeError::Moved) => {}
                Err(ChangeError::Unavailable(unavailable)) => return Err(unavailable.into()),
            }
        }
        Err(Unavailable::Raced.into())
    }

    /// How many subscriptions and pending streams there are, and for how many milliseconds the
    /// oldest has had something pending.
    #[must_use]
    pub fn lag(&self) -> (usize, usize, Millis) {
        let now = self.inner.clock.millis();
        let known = self.inner.known.read();
        let (mut pending, mut oldest) = (0, 0);
        for subscription in known.values() {
            let marks = subscription.pending.lock();
            pending += marks.len();
            oldest = oldest.max(marks.since().map_or(0, |since| now.saturating_sub(since)));
        }
        (known.len(), pending, oldest)
    }
}

struct Create {
    definition: Definition,
    streams: Vec<StreamName>,
    root_url: String,
}

impl Inner {
    /// `None` when it must be tried again.
    async fn create(self: &Arc<Self>, id: &str, new: Create) -> Result<Option<(bool, View)>, CreateError> {
        let subscription = self.get_or_new(id)?;
        let mut live = subscription.live.lock().await;
        if live.is_forgotten {
            return Ok(None);
        }
        let hash = new.definition.hash(&new.streams);
        if self.refresh(&subscription, &mut live).await? {
            if live.state().is_none_or(|state| state.hash != hash) {
                return Err(CreateError::Exists);
            }
            let view = self.view(&subscription, &live).await?;
            return Ok(view.map(|view| (false, view)));
        }
        let created = self.create_new(&subscription, &mut live, new, hash).await;
        match created {
            Ok(true) => {
                self.schedule(&subscription);
                let view = self.view(&subscription, &live).await?;
                Ok(view.map(|view| (true, view)))
            }
            // It may have been stored after all, which the next request finds out.
            Ok(false) => Ok(None),
            Err(error @ CreateError::Unavailable(_)) => Err(error),
            Err(refused) => {
                live.is_forgotten = true;
                self.forget(&subscription);
                Err(refused)
            }
        }
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
        self.index(subscription, Some(&state));
        if let Err(error) = self.link(&mut state).await {
            self.unindex(subscription, Some(&state));
            return Err(error);
        }
        match self.store(subscription, live, state.clone()).await {
            Ok(()) => Ok(true),
            Err(error) => {
                self.unindex(subscription, Some(&state));
                match error {
                    ChangeError::Moved => Ok(false),
                    ChangeError::Unavailable(unavailable) => Err(unavailable.into()),
                }
            }
        }
    }

    /// Links the streams of a new subscription at their tails.
    async fn link(&self, state: &mut State) -> Result<(), CreateError> {
        if state.links.len() > self.config.max_links_per_subscription || !self.has_room_for(state.links.len()) {
            return Err(CreateError::TooManyLinks);
        }
        for (name, link) in &mut state.links {
            link.acked = Cursor(self.tail_of(name).await?);
        }
        if let Some(pattern) = &state.definition.pattern
            && let Err(TooMany) = self.backfill(pattern, &mut state.links).await?
        {
            return Err(CreateError::TooManyLinks);
        }
        Ok(())
    }

    async fn add(self: &Arc<Self>, subscription: &Subscription, streams: Vec<StreamName>) -> Result<(), MemberError> {
        for _ in 0..MAX_MOVES {
            let mut live = subscription.live.lock().await;
            self.refresh(subscription, &mut live).await?;
            let state = live.state().ok_or(NotFound::NotFound)?;
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
            match added {
                Ok(()) => {
                    self.schedule(subscription);
                    return Ok(());
                }
                Err(ChangeError::Moved) => {}
                Err(ChangeError::Unavailable(unavailable)) => return Err(unavailable.into()),
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
        self.commit(subscription, live, events, None).await
    }

    async fn view(&self, subscription: &Subscription, live: &Live) -> Result<Option<View>, KeysError> {
        let Some(state) = live.state() else { return Ok(None) };
        let kid = match state.is_webhook() {
            true => Some(self.keys.kid(&self.engine, &self.clock).await?),
            false => None,
        };
        Ok(Some(show(subscription, state, kid, true)))
    }

    pub(super) fn get_or_new(&self, id: &str) -> Result<Arc<Subscription>, BadId> {
        let new = Subscription::new(id).map_err(|_| BadId)?;
        let mut known = self.known.write();
        let entry = known.entry(Arc::clone(&new.id));
        Ok(Arc::clone(entry.or_insert_with(|| Arc::new(new))))
    }

    /// Forgets a subscription that does not exist.
    fn forget(&self, subscription: &Arc<Subscription>) {
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

fn show(subscription: &Subscription, state: &State, kid: Option<String>, with_streams: bool) -> View {
    let links = state.links.iter().filter(|_| with_streams);
    View {
        id: Arc::clone(&subscription.id),
        definition: state.definition.clone(),
        streams: links
            .map(|(name, link)| (name.clone(), link.link_type(), link.acked.0))
            .collect(),
        created_at: state.created_at,
        is_failing: state.retry.is_some(),
        is_paused: state.paused,
        root_url: state.root_url.clone(),
        kid,
        generation: state.generation,
        pending_streams: subscription.pending.lock().len(),
    }
}

fn check_id(id: &str) -> Result<(), BadInput> {
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

fn unavailable(error: KeysError) -> NotFound {
    let unavailable = match error {
        KeysError::Unavailable(unavailable) => unavailable,
        other => {
            tracing::error!(error = %other, "the signing keys cannot be used");
            Unavailable::Damaged("the signing keys".into())
        }
    };
    NotFound::Unavailable(unavailable)
}
