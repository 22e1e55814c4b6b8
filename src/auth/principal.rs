use std::{sync::LazyLock, time::Duration};

use tokio_util::sync::CancellationToken;

use super::throttle::{Rate, Refusals};
use crate::protocol::StreamName;

/// Who a verified token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// An app server, which may do everything.
    Server {
        /// The `server` claim when it is a name; `None` for `true`.
        name: Option<String>,
    },
    /// A client, which may read or append to one stream.
    Client {
        /// The one stream.
        stream: StreamName,
        /// The `permissions` claim holds `read`.
        read: bool,
        /// The `permissions` claim holds `write`.
        write: bool,
        /// The `identity` claim.
        identity: Option<String>,
    },
}

impl Principal {
    /// The name that the app gave to whoever holds the token.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        match self {
            Self::Server { name } => name.as_deref(),
            Self::Client { identity, .. } => identity.as_deref(),
        }
    }

    /// Whether this is an app server.
    #[must_use]
    pub fn is_server(&self) -> bool {
        matches!(self, Self::Server { .. })
    }
}

/// A principal whose token was verified, and until when that holds.
///
/// Only [`super::token`] makes one.
#[derive(Debug)]
pub struct Verified {
    principal: Principal,
    expires_at: u64,
    key_withdrawn: CancellationToken,
    refusals: Refusals,
}

impl Verified {
    pub(super) fn new(principal: Principal, expires_at: u64) -> Self {
        static NEVER: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);
        Self {
            principal,
            expires_at,
            key_withdrawn: NEVER.clone(),
            refusals: Refusals::none(),
        }
    }

    /// Ends with its key as well.
    pub(super) fn until(self, key_withdrawn: CancellationToken) -> Self {
        Self { key_withdrawn, ..self }
    }

    /// Who it is.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The first second (since the Unix epoch) at which the token counts no more: its `exp`
    /// plus the configured leeway. A live read ends then.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// Cancelled when the key that verified the token is withdrawn. A live read ends then.
    #[must_use]
    pub fn key_withdrawn(&self) -> &CancellationToken {
        &self.key_withdrawn
    }

    /// Counts a refusal (403), or says how long the token is to wait for the next.
    pub(super) fn count_refusal(&self, rate: Rate) -> Result<(), Duration> {
        self.refusals.count(rate)
    }
}

impl PartialEq for Verified {
    fn eq(&self, other: &Self) -> bool {
        (&self.principal, self.expires_at) == (&other.principal, other.expires_at)
    }
}

impl Eq for Verified {}
