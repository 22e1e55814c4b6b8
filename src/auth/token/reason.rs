//! The reasons of a refused token, for programs.

use super::TokenError;

impl TokenError {
    /// The `error_reason` of the challenge.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLong | Self::Malformed(_) | Self::WrongType(_) | Self::NotATime(_) => "malformed",
            Self::Repeated(_) => "repeated",
            Self::Algorithm => "algorithm",
            Self::Critical => "critical-extension",
            Self::UnknownKey => "unknown-key",
            Self::KidMissing => "no-kid",
            Self::NoKeys => "no-keys",
            Self::Signature => "signature",
            Self::Missing(_) | Self::BothKinds | Self::NeitherKind | Self::Server | Self::Stream(_) => "claims",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::IssuedInFuture => "issued-in-future",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
        }
    }
}
