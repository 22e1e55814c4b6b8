//! A subscription as it is shown.

use std::sync::Arc;

use super::{
    Inner,
    index::Id,
    keys::KeysError,
    live::{Live, Subscription},
    state::{Definition, LinkType, State},
};
use crate::protocol::{Millis, Offset, StreamName};

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
    /// When the last delivery is repeated, if it failed.
    pub next_attempt_at: Option<Millis>,
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
    /// When this server last saw a matching stream that is not linked because of a limit, and whose
    /// events are not delivered.
    pub link_refused_at: Option<Millis>,
}

impl Inner {
    pub(super) async fn view(&self, subscription: &Subscription, live: &Live) -> Result<Option<View>, KeysError> {
        let Some(state) = live.state() else { return Ok(None) };
        let kid = match state.is_webhook() {
            true => Some(self.keys.kid(&self.engine, &self.clock).await?),
            false => None,
        };
        Ok(Some(show(subscription, state, kid, true)))
    }
}

/// Shows a state.
pub(super) fn show(subscription: &Subscription, state: &State, kid: Option<String>, with_streams: bool) -> View {
    let links = state.links.iter().filter(|_| with_streams);
    View {
        id: Arc::clone(&subscription.id),
        definition: state.definition.clone(),
        streams: links
            .map(|(name, link)| (name.clone(), link.link_type(), link.acked.0))
            .collect(),
        created_at: state.created_at,
        next_attempt_at: state.retry.map(|retry| retry.next_attempt_at),
        is_paused: state.paused,
        root_url: state.root_url.clone(),
        kid,
        generation: state.generation,
        pending_streams: subscription.pending.lock().len(),
        link_refused_at: subscription.link_refused_at(),
    }
}
