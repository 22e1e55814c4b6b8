//! The errors of subscriptions as problems, with the codes of section 7 in the member `error`.

use http::{HeaderValue, header};

use super::Problem;
use crate::{
    problems,
    subscriptions::{AckError, BadAck, ClaimError, CreateError, KeysError, MemberError, NotFound, TokenError},
};

impl From<NotFound> for Problem {
    fn from(error: NotFound) -> Self {
        match error {
            NotFound::NotFound => {
                Self::new(&problems::NO_SUBSCRIPTION, error.to_string()).coded("SUBSCRIPTION_NOT_FOUND")
            }
            NotFound::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<CreateError> for Problem {
    fn from(error: CreateError) -> Self {
        let detail = error.to_string();
        match error {
            CreateError::Exists => {
                Self::new(&problems::SUBSCRIPTION_EXISTS, detail).coded("SUBSCRIPTION_ALREADY_EXISTS")
            }
            CreateError::Target(_) => {
                Self::new(&problems::WEBHOOK_URL, format!("webhook.url: {detail}")).coded("WEBHOOK_URL_REJECTED")
            }
            CreateError::TooManySubscriptions(_) => Self::new(&problems::TOO_MANY_SUBSCRIPTIONS, detail),
            CreateError::TooManyLinks => Self::new(&problems::TOO_MANY_LINKS, detail),
            CreateError::Bad(bad) => bad.into(),
            CreateError::Keys(keys) => keys.into(),
            CreateError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<KeysError> for Problem {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Unavailable(unavailable) => unavailable.into(),
            other => {
                let detail = "the server's signing keys cannot be used; its log has the cause under this request_id";
                Self::new(&problems::SIGNING_KEYS, detail).caused_by(other.to_string())
            }
        }
    }
}

impl From<MemberError> for Problem {
    fn from(error: MemberError) -> Self {
        match error {
            MemberError::NotFound(not_found) => not_found.into(),
            MemberError::TooManyLinks => Self::new(&problems::TOO_MANY_LINKS, error.to_string()),
            MemberError::Bad(bad) => bad.into(),
        }
    }
}

impl From<ClaimError> for Problem {
    fn from(error: ClaimError) -> Self {
        let detail = error.to_string();
        match error {
            ClaimError::NotFound(not_found) => not_found.into(),
            ClaimError::WrongType => wrong_type(detail),
            ClaimError::AlreadyClaimed { holder, generation } => {
                let mut problem = Self::new(&problems::ALREADY_CLAIMED, detail);
                problem.error = Some(Box::new(serde_json::json!({
                    "code": "ALREADY_CLAIMED",
                    "current_holder": holder,
                    "generation": generation,
                })));
                problem
            }
            ClaimError::NoPendingWork => Self::new(&problems::NO_PENDING_WORK, detail).coded("NO_PENDING_WORK"),
            ClaimError::Paused => Self::new(&problems::SUBSCRIPTION_PAUSED, detail).coded("PAUSED"),
        }
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Invalid => Self::new(&problems::WAKE_TOKEN, error.to_string())
                .coded("TOKEN_INVALID")
                .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            TokenError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<AckError> for Problem {
    fn from(error: AckError) -> Self {
        let detail = error.to_string();
        match error {
            AckError::Token(token) => token.into(),
            AckError::WrongType(_) => wrong_type(detail),
            AckError::Fenced => Self::new(&problems::FENCED, detail).coded("FENCED"),
            AckError::Bad(
                BadAck::NotLinked(_) | BadAck::NoStream(_) | BadAck::Regresses { .. } | BadAck::Foreign(_),
            ) => Self::new(&problems::ACK_OFFSET, detail).coded("INVALID_OFFSET"),
        }
    }
}

fn wrong_type(detail: String) -> Problem {
    Problem::new(&problems::WRONG_SUBSCRIPTION_TYPE, detail).coded("INVALID_REQUEST")
}
