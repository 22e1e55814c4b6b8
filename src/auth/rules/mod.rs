//! The rules: which principal may do what to which stream.

use std::sync::Arc;

use super::{AuthConfig, AuthMode, Principal, Verified, WriterDigest};
use crate::{
    protocol::StreamName,
    routes::{Access, Operation, Route},
    signal::Signal,
};

/// The rule that refused a principal. Its text is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Only a server token reaches this operation.
    #[error("{0} needs a server token")]
    ServerOnly(&'static str),
    /// The client's token lacks a word in `permissions`.
    #[error("{operation} needs the permission \"{permission}\", which the token does not have")]
    Permission {
        /// The operation's name.
        operation: &'static str,
        /// The missing word.
        permission: &'static str,
    },
    /// The client's token is for another stream.
    #[error("the token is for another stream")]
    OtherStream,
}

/// Leave to do one thing to one stream, which handlers cannot run without.
///
/// Only this module makes one: for a verified token that the rules allow, for an operation that
/// is open to everyone, or from the proof that the operator wants an open server.
#[derive(Debug, Clone)]
pub struct Permit {
    route: &'static Route,
    stream: Option<StreamName>,
    holder: Option<Arc<Verified>>,
}

impl Permit {
    /// The permitted operation.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.route.operation
    }

    /// The operation's row in the route table.
    #[must_use]
    pub fn route(&self) -> &'static Route {
        self.route
    }

    /// The stream that the permit is for; `None` where the operation is not about one stream.
    #[must_use]
    pub fn stream(&self) -> Option<&StreamName> {
        self.stream.as_ref()
    }

    /// The holder's principal; `None` without a token.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.holder.as_deref().map(Verified::principal)
    }

    /// The verified token that it was granted for: the same value for each request with that token
    /// while the token is cached. `None` without a token.
    #[must_use]
    pub(crate) fn holder(&self) -> Option<&Arc<Verified>> {
        self.holder.as_ref()
    }

    /// The name that the app gave to the token's holder.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.principal().and_then(Principal::identity)
    }

    /// The scope of the holder's producers and `Stream-Seq`; `None` for app servers and without a
    /// token, which share one scope.
    #[must_use]
    pub fn writer(&self) -> Option<WriterDigest> {
        self.holder.as_deref().and_then(Verified::writer)
    }

    /// The first second (since the Unix epoch) at which the token has expired; a live read ends
    /// then. `None` without a token.
    #[must_use]
    pub fn expires_at(&self) -> Option<u64> {
        self.holder.as_deref().map(Verified::expires_at)
    }

    /// Sent when the key that verified the token is withdrawn; a live read ends then.
    /// `None` without a token.
    #[must_use]
    pub fn key_withdrawn(&self) -> Option<&Arc<Signal>> {
        self.holder.as_deref().map(Verified::key_withdrawn)
    }

    /// The permit of an operation that needs no token; `None` where it needs one.
    pub(crate) fn without_token(route: &'static Route, is_internal: bool) -> Option<Self> {
        route.access.is_open(is_internal).then_some(Self {
            route,
            stream: None,
            holder: None,
        })
    }

    /// A permit of a server that asks for no tokens.
    pub(crate) fn open(_: OpenServer, route: &'static Route, stream: Option<&StreamName>) -> Self {
        Self {
            route,
            stream: stream.cloned(),
            holder: None,
        }
    }
}

/// The proof that the configuration asks for no tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenServer(());

impl OpenServer {
    /// Present when `[auth]` is absent or has `mode = "none"`.
    pub(crate) fn declared(auth: Option<&AuthConfig>) -> Option<Self> {
        match auth {
            Some(auth) if auth.mode == AuthMode::Jwt => None,
            _ => Some(Self(())),
        }
    }
}

/// The permit for an operation, if the rules allow it.
///
/// `stream` is the one that the request names; `None` where it names none, or no valid name, which
/// a client's claim can never equal.
///
/// # Errors
/// The rule that refused.
pub fn authorize(holder: &Arc<Verified>, route: &'static Route, stream: Option<&StreamName>) -> Result<Permit, Denied> {
    check(holder.principal(), route, stream)?;
    Ok(Permit {
        route,
        stream: stream.cloned(),
        holder: Some(Arc::clone(holder)),
    })
}

/// The rules themselves: the column `access` of the route table, and the stream in the claim.
///
/// # Errors
/// The rule that refuses.
fn check(principal: &Principal, route: &Route, stream: Option<&StreamName>) -> Result<(), Denied> {
    let Principal::Client {
        stream: own,
        read,
        write,
        ..
    } = principal
    else {
        return Ok(());
    };
    let (allowed, permission) = match route.access {
        Access::Everyone | Access::Wake => return Ok(()),
        Access::Server | Access::InternalOrServer => return Err(Denied::ServerOnly(route.name)),
        Access::ClientRead => (*read, "read"),
        Access::ClientWrite => (*write, "write"),
    };
    if stream.is_none_or(|stream| !is_own(own, stream)) {
        return Err(Denied::OtherStream);
    }
    if !allowed {
        return Err(Denied::Permission {
            operation: route.name,
            permission,
        });
    }
    Ok(())
}

/// Whether a client whose claim is `own` may reach `stream`: only by the whole name, without
/// prefixes, patterns or case folding. Runs of slashes count as one.
pub fn is_own(own: &StreamName, stream: &StreamName) -> bool {
    own == stream
}

#[cfg(test)]
mod tests;
