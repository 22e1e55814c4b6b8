//! The operations of those who own subscriptions (sections 6.2 to 6.5).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::time::sleep;

use super::{
    Inner, Subscriptions,
    create::{Create, check_id, own_wake_stream},
    errors::{CreateError, MemberError, NotFound},
    keys::KeysError,
    live::{MAX_MOVES, Subscription, unless_moved},
    state::{Definition, Delivery, Event, LinkType, State},
    view::{View, show},
};
use crate::{
    engine::Unavailable,
    protocol::{Millis, StreamName},
};

/// How long a request waits for the subscriptions to be read after a start.
const MAX_LOAD_WAIT: Duration = Duration::from_secs(5);

impl Subscriptions {
    /// Waits until what is stored is known, but not for long: the store may fail for hours.
    pub(super) async fn loaded(&self) -> Result<(), Unavailable> {
        let mut loaded = self.inner.loaded.subscribe();
        tokio::select! {
            biased;
            loading = loaded.wait_for(|loaded| *loaded) => loading.map(|_| ()).map_err(|_| Unavailable::Stopping),
            () = self.inner.stopped.cancelled() => Err(Unavailable::Stopping),
            () = sleep(MAX_LOAD_WAIT) => Err(Unavailable::Loading),
        }
    }

    /// Makes a change to its end although the caller may disconnect: a commit has consequences, such
    /// as a timer or a turn, which must not be left out.
    pub(super) async fn complete<T, E>(
        &self,
        change: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
    {
        let aborted = self.inner.aborted.clone();
        let task = self.inner.tasks.spawn(async move {
            tokio::select! {
                biased;
                result = change => result,
                () = aborted.cancelled() => Err(Unavailable::Stopping.into()),
            }
        });
        task.await.unwrap_or_else(|_| Err(Unavailable::Stopping.into()))
    }

    /// The subscription of an id. Refresh it before its state is used: another server may have
    /// changed or deleted it.
    pub(super) async fn find(&self, id: &str) -> Result<Arc<Subscription>, NotFound> {
        if let Some(known) = self.inner.get(&id.into()) {
            return Ok(known);
        }
        // Another server may have created it.
        if !self.inner.engine.is_shared() || check_id(id).is_err() {
            return Err(NotFound::NotFound);
        }
        // Nothing in memory for an id that only a client has named.
        let log = Subscription::log_of(id).map_err(|_| NotFound::NotFound)?;
        if self.inner.engine.extent(&log).await?.is_none() {
            return Err(NotFound::NotFound);
        }
        let (subscription, mut live) = self.inner.lock_known(id).await?;
        if self.inner.refresh(&subscription, &mut live).await? {
            drop(live);
            return Ok(subscription);
        }
        self.inner.forget(&subscription, &mut live);
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
        if streams.iter().any(|stream| definition.wakes_in(stream)) {
            return Err(own_wake_stream().into());
        }
        self.loaded().await?;
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
        self.loaded().await?;
        let subscription = self.find(id).await?;
        let mut live = subscription.live.lock().await;
        self.inner.refresh(&subscription, &mut live).await?;
        let view = self.inner.view(&subscription, &live).await;
        view.map_err(unavailable)?.ok_or(NotFound::NotFound)
    }

    /// Subscriptions after an id, in the order of their ids, and without their streams.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub async fn list(&self, after: Option<&str>, limit: usize) -> Result<(Vec<View>, bool), Unavailable> {
        self.loaded().await?;
        let inner = &self.inner;
        if inner.engine.is_shared() {
            inner.catch_up().await?;
        }
        let known: Vec<_> = {
            let known = inner.known.read();
            let later = known.iter().filter(|(id, _)| after.is_none_or(|after| &***id > after));
            later
                .map(|(_, subscription)| Arc::clone(subscription))
                .take(limit + 1)
                .collect()
        };
        let has_more = known.len() > limit;
        let shown = known.iter().take(limit).map(|subscription| async move {
            let mut live = subscription.live.lock().await;
            match inner.refresh(subscription, &mut live).await {
                // One that cannot be read must not hide the others.
                Ok(_) | Err(Unavailable::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
            Ok(live.state().map(|state| show(subscription, state, None, false)))
        });
        let views = try_join_all(shown).await?;
        Ok((views.into_iter().flatten().collect(), has_more))
    }

    /// Deletes a subscription with its cursors.
    ///
    /// # Errors
    /// See [`NotFound`].
    pub async fn delete(&self, id: &str) -> Result<(), NotFound> {
        self.loaded().await?;
        let subscription = self.find(id).await?;
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.delete(&subscription).await }).await
    }

    /// Links streams explicitly, at their tails.
    ///
    /// # Errors
    /// See [`MemberError`].
    pub async fn add_streams(&self, id: &str, streams: Vec<StreamName>) -> Result<(), MemberError> {
        self.loaded().await?;
        let subscription = self.find(id).await?;
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.add(&subscription, streams).await })
            .await
    }

    /// Removes an explicit link, if there is one.
    ///
    /// # Errors
    /// See [`MemberError`].
    pub async fn remove_stream(&self, id: &str, stream: &StreamName) -> Result<(), MemberError> {
        self.loaded().await?;
        let stream = stream.clone();
        let removed = move |state: &State| {
            let is_linked = state.links.get(&stream).is_some_and(|link| link.explicit);
            let unlinked = is_linked.then(|| Event::Unlinked {
                stream: stream.clone(),
                link: LinkType::Explicit,
            });
            unlinked.into_iter().collect()
        };
        Ok(self.change(id, removed).await?)
    }

    /// Pauses a subscription, which then issues no wakes, or resumes it.
    ///
    /// # Errors
    /// See [`NotFound`].
    pub async fn set_paused(&self, id: &str, is_paused: bool) -> Result<View, NotFound> {
        self.loaded().await?;
        self.change(id, move |state: &State| state.pause(is_paused)).await?;
        self.read(id).await
    }

    /// The public keys of webhooks.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub async fn jwks(&self) -> Result<Bytes, KeysError> {
        self.inner.keys.jwks(&self.inner.engine, &self.inner.clock).await
    }

    /// Commits the events that a state asks for, and gives a turn.
    async fn change<E>(&self, id: &str, events: E) -> Result<(), NotFound>
    where
        E: Fn(&State) -> Vec<Event> + Send + Sync + 'static,
    {
        let subscription = self.find(id).await?;
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.change(&subscription, events).await })
            .await
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

impl Inner {
    async fn delete(&self, subscription: &Arc<Subscription>) -> Result<(), NotFound> {
        for _ in 0..MAX_MOVES {
            let mut live = subscription.live.lock().await;
            if !self.refresh(subscription, &mut live).await? {
                return Err(NotFound::NotFound);
            }
            let removed = self.remove(subscription, &mut live).await;
            if unless_moved(removed)?.is_some() {
                self.set_timer(subscription, None);
                self.forget(subscription, &mut live);
                return Ok(());
            }
        }
        Err(Unavailable::Raced.into())
    }

    async fn change<E>(&self, subscription: &Subscription, events: E) -> Result<(), NotFound>
    where
        E: Fn(&State) -> Vec<Event> + Send + Sync,
    {
        for _ in 0..MAX_MOVES {
            let mut live = subscription.live.lock().await;
            self.refresh(subscription, &mut live).await?;
            let state = live.state().ok_or(NotFound::NotFound)?;
            let changes = events(state);
            let committed = self.commit(subscription, &mut live, changes, None).await;
            if unless_moved(committed)?.is_some() {
                drop(live);
                self.schedule(subscription);
                return Ok(());
            }
        }
        Err(Unavailable::Raced.into())
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
