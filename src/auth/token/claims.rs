//! A token's claims: types, times, issuer and audience.

use serde_json::Value;

use super::{error::TokenError, json::Members};
use crate::{
    auth::principal::{Principal, Verified},
    config::AuthConfig,
    protocol::StreamName,
};

/// The last second of the year 9999. A later time is a mistake, such as milliseconds, and would
/// make a token that never expires.
const LAST_SECOND: i64 = 253_402_300_799;

/// A token's claims, each of its right type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `exp`, in seconds.
    pub exp: i64,
    /// `nbf`, in seconds.
    pub nbf: Option<i64>,
    /// `iat`, in seconds.
    pub iat: Option<i64>,
    /// `iss`
    pub iss: Option<String>,
    /// `aud`, one string or a list.
    pub aud: Vec<String>,
    /// The party that the token speaks for.
    pub principal: Principal,
}

impl Claims {
    pub(super) fn from_members(claims: &Members) -> Result<Self, TokenError> {
        Ok(Self {
            exp: time(claims, "exp")?.ok_or(TokenError::Missing("exp"))?,
            nbf: time(claims, "nbf")?,
            iat: time(claims, "iat")?,
            iss: claims.text("iss", "iss")?.map(str::to_owned),
            aud: match claims.get("aud") {
                None => Vec::new(),
                Some(Value::String(one)) => vec![one.clone()],
                Some(list) => texts(list, "aud")?,
            },
            principal: principal(claims)?,
        })
    }

    /// Checks times, issuer and audience.
    ///
    /// # Errors
    /// [`TokenError`]
    pub fn accept(self, expected: &AuthConfig, now: u64) -> Result<Verified, TokenError> {
        let leeway = expected.leeway_secs;
        let latest = i64::try_from(now.saturating_add(leeway)).unwrap_or(i64::MAX);
        // RFC 7519 section 4.1.4: not "on or after" exp.
        let expires_at = u64::try_from(self.exp).unwrap_or(0).saturating_add(leeway);
        if now >= expires_at {
            return Err(TokenError::Expired);
        }
        if self.nbf.is_some_and(|nbf| nbf > latest) {
            return Err(TokenError::NotYetValid);
        }
        if self.iat.is_some_and(|iat| iat > latest) {
            return Err(TokenError::IssuedInFuture);
        }
        if !expected.issuer.is_empty() && !self.iss.is_some_and(|iss| expected.issuer.contains(&iss)) {
            return Err(TokenError::Issuer);
        }
        if !expected.audience.is_empty() && !self.aud.iter().any(|aud| expected.audience.contains(aud)) {
            return Err(TokenError::Audience);
        }
        Ok(Verified::new(self.principal, expires_at))
    }
}

fn principal(claims: &Members) -> Result<Principal, TokenError> {
    let permissions = match claims.get("permissions") {
        None => Vec::new(),
        Some(list) => texts(list, "permissions")?,
    };
    let identity = claims.text("identity", "identity")?.map(str::to_owned);
    match (claims.get("server"), claims.get("stream")) {
        (Some(_), Some(_)) => Err(TokenError::BothKinds),
        (None, None) => Err(TokenError::NeitherKind),
        (Some(Value::Bool(true)), None) => Ok(Principal::Server { name: None }),
        (Some(Value::String(name)), None) if !name.is_empty() => Ok(Principal::Server {
            name: Some(name.clone()),
        }),
        (Some(_), None) => Err(TokenError::Server),
        (None, Some(Value::String(stream))) => Ok(Principal::Client {
            stream: StreamName::new(stream).map_err(TokenError::Stream)?,
            read: permissions.iter().any(|word| word == "read"),
            write: permissions.iter().any(|word| word == "write"),
            identity,
        }),
        (None, Some(_)) => Err(TokenError::WrongType("stream")),
    }
}

fn texts(list: &Value, claim: &'static str) -> Result<Vec<String>, TokenError> {
    let wrong = || TokenError::WrongType(claim);
    let list = list.as_array().ok_or_else(wrong)?;
    list.iter()
        .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
        .collect()
}

/// A NumericDate (RFC 7519 section 2), which may have a fraction; whole seconds are kept.
fn time(claims: &Members, claim: &'static str) -> Result<Option<i64>, TokenError> {
    let Some(value) = claims.get(claim) else {
        return Ok(None);
    };
    let Value::Number(number) = value else {
        return Err(TokenError::WrongType(claim));
    };
    let seconds = match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => whole,
        (None, Some(fraction)) if fraction.abs() <= LAST_SECOND as f64 => fraction.floor() as i64,
        _ => return Err(TokenError::NotATime(claim)),
    };
    if !(-LAST_SECOND..=LAST_SECOND).contains(&seconds) {
        return Err(TokenError::NotATime(claim));
    }
    Ok(Some(seconds))
}
