//! The party that a verified token speaks for.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{Context, SHA256};

use super::throttle::{Rate, Refusals};
use crate::{protocol::StreamName, signal::Signal};

/// Identifies a writer without revealing its identity.
pub type WriterDigest = [u8; 16];

/// The party that a verified token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// An app server, which has every permission.
    Server {
        /// The `server` claim when it is a name; `None` for `true`.
        name: Option<String>,
    },
    /// A client, which may read or append to one stream.
    Client {
        /// Its stream.
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
    /// The name that the app gave to the holder of the token.
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

/// A principal whose token was verified. Only [`super::token`] makes one.
#[derive(Debug)]
pub struct Verified {
    principal: Principal,
    expires_at: u64,
    key_withdrawn: Arc<Signal>,
    refusals: Refusals,
    writer: Option<WriterDigest>,
}

impl Verified {
    pub(super) fn new(principal: Principal, expires_at: u64) -> Self {
        static NEVER: LazyLock<Arc<Signal>> = LazyLock::new(Arc::default);
        Self {
            principal,
            expires_at,
            key_withdrawn: Arc::clone(&NEVER),
            refusals: Refusals::none(),
            writer: None,
        }
    }

    /// Ties it to its key.
    pub(super) fn until(self, key_withdrawn: Arc<Signal>) -> Self {
        Self { key_withdrawn, ..self }
    }

    /// Derives the writer of a client's token: from its `identity`, which outlives a token, or else
    /// from the token.
    pub(super) fn with_writer(mut self, token: &str) -> Self {
        self.writer = match &self.principal {
            Principal::Server { .. } => None,
            Principal::Client {
                identity: Some(identity),
                ..
            } => Some(writer_digest("identity", identity)),
            Principal::Client { identity: None, .. } => Some(writer_digest("token", token)),
        };
        self
    }

    /// The scope of the holder's producers; `None` for the shared scope of app servers.
    #[must_use]
    pub fn writer(&self) -> Option<WriterDigest> {
        self.writer
    }

    /// The party.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The first second since the Unix epoch at which the token is expired: its `exp` plus the
    /// configured leeway. A live read ends then.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// Sent when the key that verified the token is withdrawn. A live read ends then.
    #[must_use]
    pub fn key_withdrawn(&self) -> &Arc<Signal> {
        &self.key_withdrawn
    }

    /// Counts a refusal (403), or returns the time to wait.
    pub(super) fn count_refusal(&self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.refusals.count(rate, now)
    }
}

impl PartialEq for Verified {
    fn eq(&self, other: &Self) -> bool {
        (&self.principal, self.expires_at) == (&other.principal, other.expires_at)
    }
}

impl Eq for Verified {}

/// Stored with streams: a change would make every client a new writer.
fn writer_digest(kind: &str, text: &str) -> WriterDigest {
    let mut context = Context::new(&SHA256);
    for part in [kind, ":", text] {
        context.update(part.as_bytes());
    }
    let mut digest = WriterDigest::default();
    digest
        .iter_mut()
        .zip(context.finish().as_ref())
        .for_each(|(to, from)| *to = *from);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(identity: Option<&str>, token: &str) -> Option<WriterDigest> {
        let principal = Principal::Client {
            stream: StreamName::new("s").unwrap(),
            read: false,
            write: true,
            identity: identity.map(str::to_owned),
        };
        Verified::new(principal, 0).with_writer(token).writer()
    }

    #[test]
    fn a_writer_is_its_identity_or_else_its_token() {
        assert_eq!(writer(Some("7"), "a"), writer(Some("7"), "b"));
        assert_ne!(writer(Some("7"), "a"), writer(Some("8"), "a"));
        assert_eq!(writer(None, "a"), writer(None, "a"));
        assert_ne!(writer(None, "a"), writer(None, "b"));
        assert_ne!(writer(Some("a"), "a"), writer(None, "a"));
        let server = Verified::new(Principal::Server { name: None }, 0);
        assert_eq!(server.with_writer("a").writer(), None);
    }
}
