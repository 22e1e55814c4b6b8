//! The declaration of every problem code. `docs/problems.md` is generated from it.

use http::StatusCode;

/// A kind of error response: its code for programs, its status, and what it means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProblemKind {
    /// The last part of the problem's `type`.
    pub(crate) code: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) retry: Retry,
    /// One or two sentences for `docs/problems.md`.
    pub(crate) meaning: &'static str,
}

/// Whether sending the same request again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Not until the request or the stream changes.
    No,
    /// At any time.
    Yes,
    /// After the delay in `Retry-After`.
    AfterDelay,
}

impl ProblemKind {
    /// The problem's `type`.
    pub(crate) fn type_uri(&self) -> String {
        format!("urn:durable-streams:problem:{}", self.code)
    }

    /// The problem's `title`.
    pub(crate) fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }
}

macro_rules! kinds {
    ($($constant:ident = $status:ident $code:literal, $retry:ident, $meaning:literal;)*) => {
        $(pub(crate) static $constant: ProblemKind = ProblemKind {
            code: $code,
            status: StatusCode::$status,
            retry: Retry::$retry,
            meaning: $meaning,
        };)*

        /// Every kind, by status.
        #[cfg(test)]
        pub(super) static ALL: &[&ProblemKind] = &[$(&$constant),*];
    };
}

kinds! {
    BAD_REQUEST = BAD_REQUEST "bad-request", No,
        "A header, a query parameter, the stream name or the body is invalid. `detail` begins with its name.";
    BAD_FRAMING = BAD_REQUEST "bad-framing", No,
        "The length of the request body is ambiguous or malformed. The connection is closed.";
    EPOCH_START = BAD_REQUEST "epoch-start", No,
        "The first request of a new producer epoch must have `Producer-Seq: 0`.";
    WEBHOOK_URL = BAD_REQUEST "webhook-url", No,
        "The webhook's URL is not one that this server calls. `detail` says why.";
    WRONG_SUBSCRIPTION_TYPE = BAD_REQUEST "subscription-type", No,
        "The operation is for subscriptions of the other type.";
    UNAUTHORIZED = UNAUTHORIZED "unauthorized", No,
        "There is no token, or none that verifies. `WWW-Authenticate` has the reason.";
    WAKE_TOKEN = UNAUTHORIZED "wake-token", No,
        "There is no token of a wake, or it was not issued for this subscription.";
    FORBIDDEN = FORBIDDEN "forbidden", No,
        "The token verifies but does not allow this operation on this stream. `detail` names the rule.";
    PEER_NOT_ALLOWED = FORBIDDEN "peer-not-allowed", No,
        "The peer's address is not in `internal.allowed_ips`. The connection is closed.";
    STALE_EPOCH = FORBIDDEN "stale-epoch", No,
        "A producer with the same id and a later epoch has taken over. `Producer-Epoch` has its epoch.";
    NO_SUCH_PATH = NOT_FOUND "no-such-path", No,
        "The server has nothing at this path. Check the base path.";
    NOT_FOUND = NOT_FOUND "not-found", No,
        "The stream, or the stream to fork, does not exist.";
    NO_SUBSCRIPTION = NOT_FOUND "no-subscription", No,
        "The subscription does not exist.";
    SUBSCRIPTIONS_DISABLED = NOT_FOUND "subscriptions-disabled", No,
        "`subscriptions.enabled` is false.";
    METHOD = METHOD_NOT_ALLOWED "method", No,
        "The path exists and does not support this method. `Allow` has those that it supports.";
    BODY_TIMEOUT = REQUEST_TIMEOUT "body-timeout", Yes,
        "The request body arrived too slowly. The connection is closed.";
    CLOSED = CONFLICT "closed", No,
        "The stream is closed. `Stream-Next-Offset` has its final offset.";
    ACK_OFFSET = CONFLICT "ack-offset", No,
        "An acknowledged offset lies before the cursor or past the tail, or belongs to another stream. No cursor was moved.";
    ALREADY_CLAIMED = CONFLICT "already-claimed", No,
        "Another worker has claimed the subscription. `error.current_holder` names it.";
    CONTENT_TYPE_CONFLICT = CONFLICT "content-type", No,
        "The request's content type differs from the stream's.";
    EXISTS = CONFLICT "exists", No,
        "A stream of this name exists with another configuration, or is kept for its forks.";
    FENCED = CONFLICT "fenced", No,
        "The wake is over, or belongs to another generation: the work was given to another worker. Stop.";
    NO_PENDING_WORK = CONFLICT "no-pending-work", No,
        "No stream of the subscription has anything after its cursor. Wait for the next wake.";
    PRODUCER_GAP = CONFLICT "producer-gap", No,
        "Requests of this producer are missing. `Producer-Expected-Seq` has the next sequence number.";
    SEQUENCE = CONFLICT "sequence", No,
        "`Stream-Seq` is not greater than the last one. `Stream-Next-Offset` has the stream's tail.";
    UNEXPECTED_TAIL = CONFLICT "unexpected-tail", No,
        "`Stream-Expected-Offset` is not the stream's tail, which `Stream-Next-Offset` has.";
    SUBSCRIPTION_EXISTS = CONFLICT "subscription-exists", No,
        "A subscription of this id exists with another configuration.";
    SUBSCRIPTION_PAUSED = CONFLICT "subscription-paused", No,
        "The subscription is paused and cannot be claimed until it is resumed.";
    SOURCE_DELETED = CONFLICT "source-deleted", No,
        "The stream to fork was deleted and can only be read through its existing forks.";
    GIVEN_UP = GONE "given-up", No,
        "Retention has removed the data at this offset. `Stream-Earliest-Offset` has where to read on.";
    STREAM_GONE = GONE "gone", No,
        "The stream was deleted and is kept only for its forks.";
    OTHER_LIFE = GONE "other-life", No,
        "The offset belongs to another stream, or to an earlier one of this name. Read from `-1` or `now`.";
    TOO_LARGE = PAYLOAD_TOO_LARGE "too-large", No,
        "The request body, or the stream with it, would exceed its limit.";
    TOO_MANY_OWN_BODIES = TOO_MANY_REQUESTS "too-many-own-bodies", AfterDelay,
        "The request bodies in flight from this address have reached its share of `limits.max_inflight_bytes`.";
    TOO_MANY_OWN_CONNECTIONS = TOO_MANY_REQUESTS "too-many-own-connections", AfterDelay,
        "The address has reached `limits.max_connections_per_address`. The connection is closed.";
    TOO_MANY_OWN_READERS = TOO_MANY_REQUESTS "too-many-own-readers", AfterDelay,
        "The token or the address has reached its share of the live reads.";
    TOO_MANY_REFUSALS = TOO_MANY_REQUESTS "too-many-refusals", AfterDelay,
        "The token was refused too often, or too many tokens from this address did not verify.";
    DAMAGED = INTERNAL_SERVER_ERROR "damaged", No,
        "The store has lost part of this stream and refuses appends. `storage repair` copies the rest.";
    METRICS = INTERNAL_SERVER_ERROR "metrics", Yes,
        "The metrics could not be rendered. The server's log has the cause.";
    SIGNING_KEYS = INTERNAL_SERVER_ERROR "signing-keys", Yes,
        "The keys that sign webhook deliveries cannot be made or read. The server's log has the cause.";
    STORE_FAILED = INTERNAL_SERVER_ERROR "store-failed", Yes,
        "The store failed. The server's log has the cause under the same `request_id`.";
    SUCCESSOR_LOST = BAD_GATEWAY "successor-lost", Yes,
        "The server has handed its store over, and the one that took it ended while it had the request. A write may have \
         been made or not.";
    NO_KEYS = SERVICE_UNAVAILABLE "no-keys", AfterDelay,
        "From `/readyz`: `auth.verify_key` holds no key, so every token is refused.";
    NOT_READY = SERVICE_UNAVAILABLE "not-ready", AfterDelay,
        "From `/readyz`: the server is starting or stopping.";
    OUTCOME_UNKNOWN = SERVICE_UNAVAILABLE "outcome-unknown", AfterDelay,
        "The server lost its shared store during the write, which may have been made or not. A retry is harmless with \
         producer headers; without them, read the stream first.";
    OVERLOADED = SERVICE_UNAVAILABLE "overloaded", AfterDelay,
        "Too many writes are queued, or too many bytes of requests or responses are in flight.";
    RACED = SERVICE_UNAVAILABLE "raced", AfterDelay,
        "Another writer of the same store was faster.";
    READ_ONLY = SERVICE_UNAVAILABLE "read-only", AfterDelay,
        "The data directory cannot be written to. Streams can still be read.";
    STARTING = SERVICE_UNAVAILABLE "starting", AfterDelay,
        "The server is waiting for another process to release the data directory.";
    STOPPING = SERVICE_UNAVAILABLE "stopping", AfterDelay,
        "The server is stopping.";
    STORE_AWAY = SERVICE_UNAVAILABLE "store-away", AfterDelay,
        "The server cannot reach the store that it shares with others. Nothing was written. Live reads stay open.";
    SUBSCRIPTIONS_LOADING = SERVICE_UNAVAILABLE "subscriptions-loading", AfterDelay,
        "The server has started and has not read its subscriptions yet. Nothing was changed. If this lasts, its log \
         has the cause.";
    TOO_MANY_READERS = SERVICE_UNAVAILABLE "too-many-readers", AfterDelay,
        "The server has reached `limits.max_live_readers`.";
    FULL = INSUFFICIENT_STORAGE "full", Yes,
        "Storage is full. A retry succeeds once streams have been deleted or have expired.";
    TOO_MANY_LINKS = INSUFFICIENT_STORAGE "too-many-links", Yes,
        "More streams would be linked to subscriptions than `subscriptions.max_links` or \
         `subscriptions.max_links_per_subscription` allow.";
    TOO_MANY_SUBSCRIPTIONS = INSUFFICIENT_STORAGE "too-many-subscriptions", Yes,
        "The server has reached `subscriptions.max_subscriptions`.";
    TOO_MANY_STREAMS = INSUFFICIENT_STORAGE "too-many-streams", Yes,
        "The server has reached `limits.max_streams`. A retry succeeds once a stream has been deleted.";
}
