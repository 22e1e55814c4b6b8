//! `GET __ds/streams`: the list of streams. It is not part of the protocol, which leaves the
//! segment `__ds` to its servers (section 6).

use std::borrow::Cow;

use axum::body::Body;
use http::{HeaderValue, Response, header, request::Parts};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::{App, Problem, caching, query::set};
use crate::{
    engine::{Listed, Listing},
    protocol::{BadInput, Lifetime, headers, name::MAX_NAME_BYTES},
};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
/// A page ends with the stream that takes it past this many bytes.
const MAX_PAGE_BYTES: usize = 512 * 1024;

pub(super) async fn handle(app: &App, parts: &Parts) -> Result<Response<Body>, Problem> {
    let ListQuery { prefix, after, limit } = ListQuery::parse(parts.uri.query())?;
    let listing = app.running()?.list(prefix, after, limit).await?;
    let mut response = Response::new(Body::from(encode(listing)));
    let set = response.headers_mut();
    set.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    set.insert(header::CACHE_CONTROL, caching::NO_STORE);
    Ok(response)
}

#[derive(Debug, PartialEq, Eq)]
struct ListQuery {
    prefix: String,
    after: Option<String>,
    limit: usize,
}

impl ListQuery {
    /// Reads a query. Unknown parameters are ignored.
    fn parse(query: Option<&str>) -> Result<Self, BadInput> {
        let query = query.unwrap_or_default();
        if percent_decode_str(query).decode_utf8().is_err() {
            return Err(BadInput::new("query", "is not UTF-8 after percent-decoding"));
        }
        let (mut prefix, mut after, mut limit) = (None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "prefix" => set(&mut prefix, "prefix", value)?,
                "after" => set(&mut after, "after", value)?,
                "limit" => set(&mut limit, "limit", value)?,
                _ => {}
            }
        }
        Ok(Self {
            prefix: part_of_name("prefix", prefix)?.unwrap_or_default(),
            after: part_of_name("after", after)?,
            limit: limit.as_deref().map_or(Ok(DEFAULT_LIMIT), parse_limit)?,
        })
    }
}

/// Text to compare names with. It need not be a name itself.
fn part_of_name(parameter: &'static str, text: Option<Cow<'_, str>>) -> Result<Option<String>, BadInput> {
    let Some(text) = text else { return Ok(None) };
    if text.len() > MAX_NAME_BYTES {
        let reason = format!("is longer than {MAX_NAME_BYTES} bytes, which is the longest stream name");
        return Err(BadInput::new(parameter, reason));
    }
    if text.chars().any(char::is_control) {
        return Err(BadInput::new(
            parameter,
            "has a control character, which no stream name has",
        ));
    }
    Ok(Some(text.into_owned()))
}

fn parse_limit(text: &str) -> Result<usize, BadInput> {
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    let limit = digits_only.then(|| text.parse().ok()).flatten();
    limit
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| BadInput::new("limit", format!("must be a whole number from 1 to {MAX_LIMIT}")))
}

/// A stream in the list. Values that `HEAD` has as headers are written as there.
#[derive(Serialize)]
struct Entry<'l> {
    name: &'l str,
    content_type: &'l str,
    offset: String,
    closed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_age_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    earliest_offset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forked_from: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fork_offset: Option<String>,
}

impl<'l> Entry<'l> {
    fn of(listed: &'l Listed) -> Self {
        let metadata = &listed.metadata;
        let (ttl_seconds, expires_at) = match metadata.lifetime {
            Lifetime::Unlimited => (None, None),
            Lifetime::Ttl(secs) => (Some(secs), None),
            Lifetime::ExpiresAt(at) => (None, Some(headers::format_timestamp(at))),
        };
        let retention = metadata.retention.unwrap_or_default();
        let (forked_from, fork_at) = listed
            .forked_from
            .as_ref()
            .map(|(from, at)| (from.as_str(), *at))
            .unzip();
        Self {
            name: listed.name.as_str(),
            content_type: &metadata.content_type,
            offset: metadata.tail.to_string(),
            closed: metadata.closed,
            ttl_seconds,
            expires_at,
            retention_age_seconds: retention.max_age_secs,
            retention_bytes: retention.max_bytes,
            earliest_offset: (metadata.earliest.position > 0).then(|| metadata.earliest.to_string()),
            forked_from,
            fork_offset: fork_at.map(|at| at.to_string()),
        }
    }
}

/// The response body, with as many of the streams as fit.
fn encode(listing: Listing) -> Vec<u8> {
    let mut body = b"{\"streams\":[".to_vec();
    let mut next = listing.next;
    let mut rest = listing.streams.iter();
    while let Some(listed) = rest.next() {
        if body.last() == Some(&b'}') {
            body.push(b',');
        }
        body.extend(serde_json::json!(Entry::of(listed)).to_string().into_bytes());
        if body.len() > MAX_PAGE_BYTES && rest.len() > 0 {
            next = Some(listed.name.clone());
            break;
        }
    }
    let next = serde_json::json!(next.as_ref().map(|name| name.as_str()));
    body.extend(format!("],\"next\":{next}}}").into_bytes());
    body
}

#[cfg(test)]
mod tests;
