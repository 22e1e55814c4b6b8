//! Finds the tokens of a request.

use std::borrow::Cow;

use http::{HeaderMap, header::AUTHORIZATION};
use percent_encoding::percent_decode_str;
use smallvec::SmallVec;

use super::token::TokenError;

/// The tokens of one request.
pub type Candidates<'a> = SmallVec<[Cow<'a, str>; 2]>;

/// The tokens of a request in the order in which they are tried: the query parameter `token`,
/// then `Authorization: Bearer` with the scheme in any case (RFC 9110 section 11.1).
///
/// Two tokens in one place are refused: a proxy may have checked the other one.
///
/// # Errors
/// [`TokenError::Repeated`], or [`TokenError::Malformed`] for a token that is not UTF-8.
pub fn candidates<'a>(query: Option<&'a str>, headers: &'a HeaderMap) -> Result<Candidates<'a>, TokenError> {
    let mut tokens = Candidates::new();
    if let Some(query) = query {
        tokens.extend(from_query(query)?);
    }
    tokens.extend(from_headers(headers)?);
    Ok(tokens)
}

fn from_query(query: &str) -> Result<Option<Cow<'_, str>>, TokenError> {
    let mut found = None;
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // The name is decoded too: `%74oken` is the same parameter to some parsers.
        if percent_decode_str(name).ne("token".bytes()) {
            continue;
        }
        if found.is_some() {
            return Err(TokenError::Repeated("token parameter"));
        }
        let token = percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| TokenError::Malformed("it is not UTF-8"))?;
        found = Some(token);
    }
    Ok(found)
}

fn from_headers(headers: &HeaderMap) -> Result<Option<Cow<'_, str>>, TokenError> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(TokenError::Repeated("Authorization header"));
    }
    let value = value.as_bytes();
    let (scheme, token) = match value.iter().position(|byte| *byte == b' ') {
        Some(space) => value.split_at(space),
        None => (value, &[][..]),
    };
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    let token = std::str::from_utf8(token).map_err(|_| TokenError::Malformed("it is not UTF-8"))?;
    Ok(Some(Cow::Borrowed(token.trim_start_matches(' '))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str, headers: &[&'static str]) -> Result<Vec<String>, TokenError> {
        let headers = headers
            .iter()
            .map(|value| (AUTHORIZATION, http::HeaderValue::from_static(value)))
            .collect();
        let tokens = candidates(Some(query), &headers)?;
        Ok(tokens.into_iter().map(Cow::into_owned).collect())
    }

    #[test]
    fn the_query_comes_before_the_header() {
        assert_eq!(
            of("a=1&token=q.q.q&b", &["Bearer h.h.h"]),
            Ok(vec!["q.q.q".into(), "h.h.h".into()])
        );
        assert_eq!(of("token=a%2Eb", &[]), Ok(vec!["a.b".into()]));
        assert_eq!(of("", &["bEARER  x.y.z"]), Ok(vec!["x.y.z".into()]));
    }

    #[test]
    fn other_schemes_and_parameters_are_not_tokens() {
        assert_eq!(of("tokens=1&Token=2&atoken=3", &["Basic YTpi"]), Ok(vec![]));
        assert_eq!(of("", &["Bearerx.y.z"]), Ok(vec![]));
        assert_eq!(of("token", &["Bearer"]), Ok(vec![String::new(), String::new()]));
    }

    #[test]
    fn two_tokens_in_one_place_are_refused() {
        let repeated = |what| Err(TokenError::Repeated(what));
        assert_eq!(of("token=a&token=a", &[]), repeated("token parameter"));
        assert_eq!(of("token=a&%74oken=b", &[]), repeated("token parameter"));
        assert_eq!(of("token", &["Bearer a", "Basic b"]), repeated("Authorization header"));
    }
}
