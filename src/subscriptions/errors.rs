//! Why an operation was refused. A variant says what the caller must do.

use super::{decide::BadAck, keys::KeysError};
use crate::{engine::Unavailable, protocol::BadInput, webhook::TargetError};

/// There is no such subscription: create it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotFound {
    /// It was never created, or was deleted.
    #[error("the subscription does not exist")]
    NotFound,
    /// See [`Unavailable`].
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a subscription was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// It exists with another configuration: choose another id, or delete it.
    #[error("a subscription of this id exists with another configuration")]
    Exists,
    /// Choose another URL.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Delete one.
    #[error("there are {0} subscriptions already, which is the limit")]
    TooManySubscriptions(usize),
    /// Narrow the pattern.
    #[error(
        "more streams would be linked than subscriptions.max_links_per_subscription or subscriptions.max_links allow"
    )]
    TooManyLinks,
    /// The id cannot be used.
    #[error(transparent)]
    Bad(#[from] BadInput),
    /// Deliveries could not be signed.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// See [`Unavailable`].
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why the members of a subscription were not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MemberError {
    /// Create it first.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// Remove others first.
    #[error(
        "more streams would be linked than subscriptions.max_links_per_subscription or subscriptions.max_links allow"
    )]
    TooManyLinks,
    /// Name other streams.
    #[error(transparent)]
    Bad(#[from] BadInput),
}

/// Why a subscription was not claimed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClaimError {
    /// Create it first.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// Its workers are called.
    #[error("the subscription delivers by webhook and cannot be claimed")]
    WrongType,
    /// Wait for the next wake.
    #[error("another worker has claimed the subscription")]
    AlreadyClaimed {
        /// That worker.
        holder: String,
        /// The generation that it has.
        generation: u64,
    },
    /// Wait for the next wake.
    #[error("no linked stream has anything after its cursor")]
    NoPendingWork,
    /// Wait until it is resumed.
    #[error("the subscription is paused")]
    Paused,
}

/// Why a token of a wake was refused. The same for every subscription, whether or not it exists.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TokenError {
    /// It was not issued for this subscription.
    #[error("the token was not issued for a wake of this subscription")]
    Invalid,
    /// See [`Unavailable`].
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why nothing was acknowledged or released.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AckError {
    /// The subscription was deleted meanwhile.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Use the operation for the type of the subscription.
    #[error("{0}")]
    WrongType(&'static str),
    /// The work was given to somebody else: stop.
    #[error("the wake is over, or belongs to another generation")]
    Fenced,
    /// Acknowledge an offset that was read.
    #[error(transparent)]
    Bad(#[from] BadAck),
}

impl From<Unavailable> for AckError {
    fn from(error: Unavailable) -> Self {
        Self::Token(error.into())
    }
}

impl From<Unavailable> for ClaimError {
    fn from(error: Unavailable) -> Self {
        Self::NotFound(error.into())
    }
}

impl From<Unavailable> for MemberError {
    fn from(error: Unavailable) -> Self {
        Self::NotFound(error.into())
    }
}
