//! The columns of the route table.

use http::{HeaderMap, HeaderName, Method};

/// One operation over HTTP: how it is asked for, who may do it, and what its messages carry.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) operation: Operation,
    /// Its name in refusals and in `explain`.
    pub(crate) name: &'static str,
    pub(crate) methods: &'static [Method],
    pub(crate) path: Path,
    /// Distinguishes operations that share method and path; the first row that matches counts.
    pub(crate) when: fn(&HeaderMap) -> bool,
    pub(crate) access: Access,
    /// Its label in metrics and the access log. A live read has its mode as its label.
    pub(crate) label: &'static str,
    pub(crate) takes_body: bool,
    /// The request headers that it reads, beyond [`super::COMMON_REQUEST_HEADERS`].
    pub(crate) request_headers: &'static [HeaderName],
    /// The response headers that it may set, beyond [`super::COMMON_RESPONSE_HEADERS`] and those
    /// that browsers show to every page.
    pub(crate) response_headers: &'static [HeaderName],
}

/// The operation that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Read,
    Metadata,
    Append,
    AppendAndClose,
    Close,
    Create,
    Fork,
    Delete,
    Preflight,
    List,
    SubscriptionCreate,
    SubscriptionRead,
    SubscriptionDelete,
    SubscriptionList,
    SubscriptionAddStreams,
    SubscriptionRemoveStream,
    SubscriptionPause,
    SubscriptionResume,
    SubscriptionClaim,
    SubscriptionAck,
    SubscriptionRelease,
    SubscriptionCallback,
    SigningKeys,
    Alive,
    Ready,
    Metrics,
}

/// Where an operation is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// At the root, outside of the base path.
    Server(&'static str),
    /// Below the segment of the base path that the protocol reserves. `{id}` is any segment, and
    /// `{*path}` any rest.
    Reserved(&'static str),
    /// Below the base path, at a stream's name.
    Stream,
}

/// The token that an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Everyone,
    /// Everyone on the internal listener; a server token elsewhere.
    InternalOrServer,
    /// A server token.
    Server,
    /// A server token, or a client token for the stream with the permission `read`.
    ClientRead,
    /// A server token, or a client token for the stream with the permission `write`.
    ClientWrite,
    /// The token of a wake. The handler verifies it, because only the subscription can.
    Wake,
}

impl Operation {
    /// Whether it closes the stream.
    pub(crate) fn closes(self) -> bool {
        matches!(self, Self::Close | Self::AppendAndClose)
    }
}

impl Access {
    /// Whether the gate asks for no token.
    pub(crate) fn is_open(self, is_internal: bool) -> bool {
        match self {
            Self::Everyone | Self::Wake => true,
            Self::InternalOrServer => is_internal,
            Self::Server | Self::ClientRead | Self::ClientWrite => false,
        }
    }
}
