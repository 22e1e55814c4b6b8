use std::{sync::LazyLock, time::Duration};

use aws_lc_rs::digest::{Context, SHA256};
use tokio_util::sync::CancellationToken;

use super::throttle::{Rate, Refusals};
use crate::protocol::StreamName;

/// Identifies a writer without revealing it.
pub type WriterDigest = [u8; 16];

/// The party that a verified token speaks for.
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
    writer: Option<WriterDigest>,
}

impl Verified {
    pub(super) fn new(principal: Principal, expires_at: u64) -> Self {
        static NEVER: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);
        Self {
            principal,
            expires_at,
            key_withdrawn: NEVER.clone(),
            refusals: Refusals::none(),
            writer: None,
        }
    }

    /// Ends with its key as well.
    pub(super) fn until(self, key_withdrawn: CancellationToken) -> Self {
        Self { key_withdrawn, ..self }
    }

    /// Names the writer of a client's token: its `identity`, which may have many tokens one after
    /// the other, or without one the token itself.
    pub(super) fn of_token(mut self, token: &str) -> Self {
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

    /// The scope of the holder's producers; `None`: they share the plain scope.
    #[must_use]
    pub fn writer(&self) -> Option<WriterDigest> {
        self.writer
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
/// Kept with streams: a change would make every client a new writer.
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
        Verified::new(principal, 0).of_token(token).writer()
    }

    #[test]
    fn a_writer_is_its_identity_or_else_its_token() {
        assert_eq!(writer(Some("7"), "a"), writer(Some("7"), "b"));
        assert_ne!(writer(Some("7"), "a"), writer(Some("8"), "a"));
        assert_eq!(writer(None, "a"), writer(None, "a"));
        assert_ne!(writer(None, "a"), writer(None, "b"));
        assert_ne!(writer(Some("a"), "a"), writer(None, "a"));
        let server = Verified::new(Principal::Server { name: None }, 0);
        assert_eq!(server.of_token("a").writer(), None);
    }
}
