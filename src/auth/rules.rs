use std::{fmt, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{Principal, Verified, WriterDigest};
use crate::{
    auth::{AuthConfig, AuthMode},
    protocol::StreamName,
};

/// What a request wants to do, as far as the rules tell operations apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// PUT
    Create,
    /// PUT with `Stream-Forked-From`
    Fork,
    /// POST
    Append,
    /// POST with `Stream-Closed: true` and perhaps a body: needs what both need.
    AppendAndClose,
    /// POST with `Stream-Closed: true` and surely no body
    Close,
    /// GET: catch-up, long-poll, SSE
    Read,
    /// HEAD
    Metadata,
    /// DELETE
    Delete,
    /// The list of streams below `__ds`
    List,
    /// The subscription API below `__ds`
    Subscriptions,
    /// `/metrics`
    Metrics,
}

impl Operation {
    /// Whether leave to do this includes leave to do `part`.
    #[must_use]
    pub fn covers(self, part: Self) -> bool {
        self == part || self == Self::AppendAndClose && matches!(part, Self::Append | Self::Close)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Fork => "fork",
            Self::Append => "append",
            Self::AppendAndClose => "append and close",
            Self::Close => "close",
            Self::Read => "read",
            Self::Metadata => "metadata",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Subscriptions => "subscriptions",
            Self::Metrics => "metrics",
        })
    }
}

/// The rule that refused a principal. Its text is what the client may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Only a server token reaches this operation.
    #[error("{0} needs a server token")]
    ServerOnly(Operation),
    /// The client's token lacks a word in `permissions`.
    #[error("{operation} needs the permission \"{permission}\", which the token does not have")]
    Permission {
        /// What was asked for.
        operation: Operation,
        /// The word.
        permission: &'static str,
    },
    /// The client's token is for another stream.
    #[error("the token is for another stream")]
    OtherStream,
}

/// Leave to do one thing to one stream, which handlers cannot run without.
///
/// Only this module makes one: from a verified token by [`authorize`], or for the gate from its
/// proof that the operator wants an open server.
#[derive(Debug, Clone)]
pub struct Permit {
    operation: Operation,
    stream: Option<StreamName>,
    holder: Option<Arc<Verified>>,
}

impl Permit {
    /// What may be done.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Whether the permit includes `operation`; ask before closing a stream.
    #[must_use]
    pub fn covers(&self, operation: Operation) -> bool {
        self.operation.covers(operation)
    }

    /// The stream that it may be done to; `None` where the operation is about no one stream.
    #[must_use]
    pub fn stream(&self) -> Option<&StreamName> {
        self.stream.as_ref()
    }

    /// Who holds it; `None` on an open server.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.holder.as_deref().map(Verified::principal)
    }

    /// The verified token that it was granted for: the same value for each request with that token
    /// while the token is cached. `None` on an open server.
    #[must_use]
    pub(crate) fn holder(&self) -> Option<&Arc<Verified>> {
        self.holder.as_ref()
    }

    /// The name that the app gave to whoever holds it.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.principal().and_then(Principal::identity)
    }

    /// The scope of its holder's producers and `Stream-Seq`; `None` for app servers and on an open
    /// server, which share one.
    #[must_use]
    pub fn writer(&self) -> Option<WriterDigest> {
        self.holder.as_deref().and_then(Verified::writer)
    }

    /// The first second (since the Unix epoch) at which it counts no more; a live read ends
    /// then. `None` on an open server.
    #[must_use]
    pub fn expires_at(&self) -> Option<u64> {
        self.holder.as_deref().map(Verified::expires_at)
    }

    /// Cancelled when the key that verified its token is withdrawn; a live read ends then.
    /// `None` on an open server.
    #[must_use]
    pub fn key_withdrawn(&self) -> Option<&CancellationToken> {
        self.holder.as_deref().map(Verified::key_withdrawn)
    }

    /// The permit of a server that asks nobody for a token; `gate.rs` gives it out.
    pub(crate) fn open(_: OpenServer, operation: Operation, stream: Option<&StreamName>) -> Self {
        Self {
            operation,
            stream: stream.cloned(),
            holder: None,
        }
    }
}

/// The proof that the configuration asks for no tokens: without it there is no open permit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenServer(());

impl OpenServer {
    /// There when `[auth]` is absent or says `mode = "none"`.
    pub(crate) fn declared(auth: Option<&AuthConfig>) -> Option<Self> {
        match auth {
            Some(auth) if auth.mode == AuthMode::Jwt => None,
            _ => Some(Self(())),
        }
    }
}

/// The rules table of `docs/limits.md`.
///
/// `stream` is the one that the request names; `None` where it names none, or where what it
/// names is no stream name, which a client's claim can never equal.
///
/// # Errors
/// [`Denied`], which says which rule refused.
pub fn authorize(holder: &Arc<Verified>, operation: Operation, stream: Option<&StreamName>) -> Result<Permit, Denied> {
    check(holder.principal(), operation, stream)?;
    Ok(Permit {
        operation,
        stream: stream.cloned(),
        holder: Some(Arc::clone(holder)),
    })
}

fn check(principal: &Principal, operation: Operation, stream: Option<&StreamName>) -> Result<(), Denied> {
    let Principal::Client {
        stream: own,
        read,
        write,
        ..
    } = principal
    else {
        return Ok(());
    };
    let (allowed, permission) = match operation {
        Operation::Read | Operation::Metadata => (*read, "read"),
        Operation::Append => (*write, "write"),
        Operation::Create
        | Operation::Fork
        | Operation::AppendAndClose
        | Operation::Close
        | Operation::Delete
        | Operation::List
        | Operation::Subscriptions
        | Operation::Metrics => return Err(Denied::ServerOnly(operation)),
    };
    // The whole name: no prefixes, no patterns, no case folding. Runs of slashes count as one.
    if stream != Some(own) {
        return Err(Denied::OtherStream);
    }
    if !allowed {
        return Err(Denied::Permission { operation, permission });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
