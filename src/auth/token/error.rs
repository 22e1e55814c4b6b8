//! Why a token is refused.

use crate::protocol::NameError;

/// The longest token that is parsed; a request head of 8 KiB holds no longer one.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Why a token is refused. The text is for the client: it never quotes the token, and has only
/// characters that RFC 6750 allows in `error_description`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// Not a JWT in compact form.
    #[error("malformed token: {0}")]
    Malformed(&'static str),
    /// Several tokens in a place for one.
    #[error("the request has more than one {0}")]
    Repeated(&'static str),
    /// `alg` is not ES256.
    #[error("the token's algorithm is not ES256")]
    Algorithm,
    /// A `crit` header: it lists extensions that must be understood.
    #[error("the token's header has crit, and this server supports no extensions")]
    Critical,
    /// `kid` names none of several keys.
    #[error("the token's kid names an unknown key")]
    UnknownKey,
    /// No `kid`, and more keys than are tried.
    #[error("the token's header needs a kid: the server has too many keys to try each")]
    KidMissing,
    /// Every key was withdrawn.
    #[error("the server has no key to verify tokens with")]
    NoKeys,
    /// No key made this signature.
    #[error("the token's signature does not verify")]
    Signature,
    /// A required claim is absent.
    #[error("the token has no {0} claim")]
    Missing(&'static str),
    /// A claim or header member of the wrong JSON type.
    #[error("{0} has the wrong type")]
    WrongType(&'static str),
    /// A number that cannot be a time in seconds, such as milliseconds.
    #[error("{0} is not a time in seconds since 1970")]
    NotATime(&'static str),
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("the token is not valid yet (nbf)")]
    NotYetValid,
    /// `iat` is in the future.
    #[error("the token was issued in the future (iat)")]
    IssuedInFuture,
    /// `iss` is not a configured issuer.
    #[error("the token's issuer is not accepted")]
    Issuer,
    /// `aud` holds no configured audience.
    #[error("the token's audience is not accepted")]
    Audience,
    /// Both `stream` and `server`.
    #[error("the token has both a stream and a server claim")]
    BothKinds,
    /// Neither `stream` nor `server`.
    #[error("the token has neither a stream nor a server claim")]
    NeitherKind,
    /// `server` is neither true nor a name.
    #[error("the server claim is neither true nor a name")]
    Server,
    /// `stream` is not a stream name.
    #[error("the stream claim is not a stream name: {0}")]
    Stream(#[source] NameError),
}

impl TokenError {
    /// Whether the token will fail for the same reason at any later time.
    pub(in crate::auth) fn is_permanent(&self) -> bool {
        !matches!(self, Self::NotYetValid | Self::IssuedInFuture)
    }
}
