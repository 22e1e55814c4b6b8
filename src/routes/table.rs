//! The rows of the route table.

use http::{
    HeaderMap, HeaderName, Method,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, RETRY_AFTER,
        WWW_AUTHENTICATE,
    },
};

use super::route::{Access, Operation, Path, Route};
use crate::protocol::headers::{
    LAST_EVENT_ID, PRODUCER_EPOCH, PRODUCER_EXPECTED_SEQ, PRODUCER_ID, PRODUCER_RECEIVED_SEQ, PRODUCER_SEQ,
    STREAM_CLOSED, STREAM_CURSOR, STREAM_EARLIEST_OFFSET, STREAM_EXPECTED_OFFSET, STREAM_EXPIRES_AT,
    STREAM_FORK_OFFSET, STREAM_FORK_SUB_OFFSET, STREAM_FORKED_FROM, STREAM_LIVES, STREAM_NEXT_OFFSET,
    STREAM_RETENTION_AGE, STREAM_RETENTION_BYTES, STREAM_SEQ, STREAM_SSE_DATA_ENCODING, STREAM_TTL, STREAM_UP_TO_DATE,
    X_REQUEST_ID, is_closing,
};

/// Answers 200 as soon as the process listens, even while it waits for the data directory.
pub(crate) const UP: &str = "/up";

/// Both answer 200 only once the store is open.
pub(crate) const HEALTHZ: &str = "/healthz";
pub(crate) const READYZ: &str = "/readyz";

pub(crate) const METRICS: &str = "/metrics";

/// Declares lists of headers. A list of `HeaderName` cannot be a literal in the table, because the
/// type has interior mutability.
macro_rules! header_lists {
    ($($(#[$doc:meta])* $visibility:vis $list:ident = $($header:ident),+;)*) => {
        $($(#[$doc])* $visibility static $list: [HeaderName; [$(stringify!($header)),+].len()] = [$($header),+];)*
    };
}

header_lists! {
    /// Request headers that any operation may carry.
    pub(crate) COMMON_REQUEST_HEADERS = AUTHORIZATION, CACHE_CONTROL, LAST_EVENT_ID;
    /// Response headers that any operation may set.
    pub(crate) COMMON_RESPONSE_HEADERS = RETRY_AFTER, WWW_AUTHENTICATE, X_REQUEST_ID;

    READ_REQUEST = IF_NONE_MATCH;
    READ_RESPONSE = STREAM_NEXT_OFFSET, STREAM_CURSOR, STREAM_UP_TO_DATE, STREAM_CLOSED, STREAM_EARLIEST_OFFSET,
        STREAM_SSE_DATA_ENCODING, ETAG;
    METADATA_RESPONSE = STREAM_NEXT_OFFSET, STREAM_CLOSED, STREAM_TTL, STREAM_EXPIRES_AT, STREAM_RETENTION_AGE,
        STREAM_RETENTION_BYTES, STREAM_EARLIEST_OFFSET, STREAM_LIVES;
    APPEND_REQUEST = CONTENT_TYPE, STREAM_CLOSED, STREAM_SEQ, STREAM_EXPECTED_OFFSET, PRODUCER_ID, PRODUCER_EPOCH, PRODUCER_SEQ;
    APPEND_RESPONSE = STREAM_NEXT_OFFSET, STREAM_CLOSED, PRODUCER_EPOCH, PRODUCER_SEQ, PRODUCER_EXPECTED_SEQ,
        PRODUCER_RECEIVED_SEQ;
    CREATE_REQUEST = CONTENT_TYPE, STREAM_CLOSED, STREAM_TTL, STREAM_EXPIRES_AT, STREAM_RETENTION_AGE,
        STREAM_RETENTION_BYTES, STREAM_EARLIEST_OFFSET, STREAM_LIVES, STREAM_FORKED_FROM, STREAM_FORK_OFFSET,
        STREAM_FORK_SUB_OFFSET;
    SUBSCRIPTION_REQUEST = CONTENT_TYPE;
    CREATE_RESPONSE = STREAM_NEXT_OFFSET, STREAM_CLOSED, LOCATION;
}

static READS: &[Method] = &[Method::GET, Method::HEAD];

/// Every operation. A method's first row at a path sets its place in `Allow`.
pub(crate) static ROUTES: &[Route] = &[
    Route {
        operation: Operation::Read,
        name: "read",
        methods: &[Method::GET],
        path: Path::Stream,
        when: always,
        access: Access::ClientRead,
        label: "read",
        takes_body: false,
        request_headers: &READ_REQUEST,
        response_headers: &READ_RESPONSE,
    },
    Route {
        operation: Operation::Metadata,
        name: "metadata",
        methods: &[Method::HEAD],
        path: Path::Stream,
        when: always,
        access: Access::ClientRead,
        label: "metadata",
        takes_body: false,
        request_headers: &[],
        response_headers: &METADATA_RESPONSE,
    },
    Route {
        operation: Operation::Append,
        name: "append",
        methods: &[Method::POST],
        path: Path::Stream,
        when: |headers| !is_closing(headers),
        access: Access::ClientWrite,
        label: "append",
        takes_body: true,
        request_headers: &APPEND_REQUEST,
        response_headers: &APPEND_RESPONSE,
    },
    Route {
        operation: Operation::AppendAndClose,
        name: "append and close",
        methods: &[Method::POST],
        path: Path::Stream,
        when: may_have_body,
        access: Access::Server,
        label: "append",
        takes_body: true,
        request_headers: &APPEND_REQUEST,
        response_headers: &APPEND_RESPONSE,
    },
    Route {
        operation: Operation::Close,
        name: "close",
        methods: &[Method::POST],
        path: Path::Stream,
        when: always,
        access: Access::Server,
        label: "append",
        takes_body: true,
        request_headers: &APPEND_REQUEST,
        response_headers: &APPEND_RESPONSE,
    },
    Route {
        operation: Operation::Fork,
        name: "fork",
        methods: &[Method::PUT],
        path: Path::Stream,
        when: |headers| headers.contains_key(STREAM_FORKED_FROM),
        access: Access::Server,
        label: "create",
        takes_body: true,
        request_headers: &CREATE_REQUEST,
        response_headers: &CREATE_RESPONSE,
    },
    Route {
        operation: Operation::Create,
        name: "create",
        methods: &[Method::PUT],
        path: Path::Stream,
        when: always,
        access: Access::Server,
        label: "create",
        takes_body: true,
        request_headers: &CREATE_REQUEST,
        response_headers: &CREATE_RESPONSE,
    },
    Route {
        operation: Operation::Delete,
        name: "delete",
        methods: &[Method::DELETE],
        path: Path::Stream,
        when: always,
        access: Access::Server,
        label: "delete",
        takes_body: false,
        request_headers: &[],
        response_headers: &[],
    },
    // Answered at every path; `Allow` lists it for streams.
    Route {
        operation: Operation::Preflight,
        name: "preflight",
        methods: &[Method::OPTIONS],
        path: Path::Stream,
        when: always,
        access: Access::Everyone,
        label: "preflight",
        takes_body: false,
        request_headers: &[],
        response_headers: &[],
    },
    Route {
        operation: Operation::List,
        name: "list",
        methods: READS,
        path: Path::Reserved("streams"),
        when: always,
        access: Access::Server,
        label: "list",
        takes_body: false,
        request_headers: &[],
        response_headers: &[],
    },
    subscription(
        Operation::SubscriptionList,
        "list subscriptions",
        READS,
        "subscriptions",
        Access::Server,
    ),
    subscription(
        Operation::SubscriptionCreate,
        "create a subscription",
        PUT,
        ONE,
        Access::Server,
    ),
    subscription(
        Operation::SubscriptionRead,
        "read a subscription",
        READS,
        ONE,
        Access::Server,
    ),
    subscription(
        Operation::SubscriptionDelete,
        "delete a subscription",
        DELETE,
        ONE,
        Access::Server,
    ),
    subscription(
        Operation::SubscriptionAddStreams,
        "add streams",
        POST,
        "subscriptions/{id}/streams",
        Access::Server,
    ),
    subscription(
        Operation::SubscriptionRemoveStream,
        "remove a stream",
        DELETE,
        "subscriptions/{id}/streams/{*path}",
        Access::Server,
    ),
    subscription(
        Operation::SubscriptionPause,
        "pause",
        POST,
        "subscriptions/{id}/pause",
        Access::Server,
    ),
    subscription(
        Operation::SubscriptionResume,
        "resume",
        POST,
        "subscriptions/{id}/resume",
        Access::Server,
    ),
    subscription(
        Operation::SubscriptionClaim,
        "claim",
        POST,
        "subscriptions/{id}/claim",
        Access::Server,
    ),
    subscription(
        Operation::SubscriptionAck,
        "ack",
        POST,
        "subscriptions/{id}/ack",
        Access::Wake,
    ),
    subscription(
        Operation::SubscriptionRelease,
        "release",
        POST,
        "subscriptions/{id}/release",
        Access::Wake,
    ),
    subscription(
        Operation::SubscriptionCallback,
        "callback",
        POST,
        "subscriptions/{id}/callback",
        Access::Wake,
    ),
    subscription(
        Operation::SigningKeys,
        "signing keys",
        READS,
        "jwks.json",
        Access::Everyone,
    ),
    Route {
        operation: Operation::Alive,
        name: "health",
        methods: READS,
        path: Path::Server(UP),
        when: always,
        access: Access::Everyone,
        label: "health",
        takes_body: false,
        request_headers: &[],
        response_headers: &[],
    },
    Route {
        operation: Operation::Alive,
        name: "health",
        methods: READS,
        path: Path::Server(HEALTHZ),
        when: always,
        access: Access::Everyone,
        label: "health",
        takes_body: false,
        request_headers: &[],
        response_headers: &[],
    },
    Route {
        operation: Operation::Ready,
        name: "readiness",
        methods: READS,
        path: Path::Server(READYZ),
        when: always,
        access: Access::Everyone,
        label: "health",
        takes_body: false,
        request_headers: &[],
        response_headers: &[],
    },
    Route {
        operation: Operation::Metrics,
        name: "metrics",
        methods: READS,
        path: Path::Server(METRICS),
        when: always,
        access: Access::InternalOrServer,
        label: "metrics",
        takes_body: false,
        request_headers: &[],
        response_headers: &[],
    },
];

fn always(_: &HeaderMap) -> bool {
    true
}

static PUT: &[Method] = &[Method::PUT];
static POST: &[Method] = &[Method::POST];
static DELETE: &[Method] = &[Method::DELETE];
/// The path of one subscription.
const ONE: &str = "subscriptions/{id}";

/// A row of section 6 or 7 of the protocol.
const fn subscription(
    operation: Operation,
    name: &'static str,
    methods: &'static [Method],
    path: &'static str,
    access: Access,
) -> Route {
    let takes_body = matches!(
        operation,
        Operation::SubscriptionCreate
            | Operation::SubscriptionAddStreams
            | Operation::SubscriptionClaim
            | Operation::SubscriptionAck
            | Operation::SubscriptionRelease
            | Operation::SubscriptionCallback
    );
    Route {
        operation,
        name,
        methods,
        path: Path::Reserved(path),
        when: always,
        access,
        label: "subscriptions",
        takes_body,
        request_headers: if takes_body { &SUBSCRIPTION_REQUEST } else { &[] },
        response_headers: &[],
    }
}

/// Only `Content-Length: 0` excludes a body: over HTTP/2 a body may come without any length.
fn may_have_body(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_LENGTH)
        .is_none_or(|length| length.as_bytes() != b"0")
}
