//! Cross-origin requests.

use std::collections::HashSet;

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::respond;

/// Which origins browsers may read from.
#[derive(Debug, Clone)]
pub(super) enum Cors {
    Any,
    Listed(HashSet<String>),
}

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, If-None-Match, Cache-Control, Last-Event-ID, Stream-Seq, Stream-TTL, Stream-Expires-At, \
     Stream-Retention-Age, Stream-Retention-Bytes, Stream-Closed, Stream-Forked-From, Stream-Fork-Offset, Stream-Fork-Sub-Offset, Producer-Id, Producer-Epoch, Producer-Seq",
);
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static(
    "Stream-Next-Offset, Stream-Cursor, Stream-Up-To-Date, Stream-Closed, Stream-TTL, Stream-Expires-At, \
     Stream-Retention-Age, Stream-Retention-Bytes, Stream-Earliest-Offset, Stream-SSE-Data-Encoding, Producer-Epoch, Producer-Seq, Producer-Expected-Seq, Producer-Received-Seq, ETag, \
     Location, Retry-After, WWW-Authenticate, X-Request-Id",
);
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

impl Cors {
    /// `*`, or origins separated by commas.
    pub(super) fn new(origins: &str) -> Self {
        let listed: HashSet<String> = origins
            .split(',')
            .map(|origin| origin.trim().to_owned())
            .filter(|origin| !origin.is_empty())
            .collect();
        if listed.contains("*") {
            Self::Any
        } else {
            Self::Listed(listed)
        }
    }

    /// Lets the asking origin read an answer, if it may. Who is no browser names no origin and
    /// gets none of this; caches keep the two apart.
    pub(super) fn allow(&self, request: &HeaderMap, response: &mut HeaderMap) {
        response.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = request.get(header::ORIGIN) else {
            return;
        };
        let allowed = match self {
            Self::Any => HeaderValue::from_static("*"),
            Self::Listed(listed) if origin.to_str().is_ok_and(|origin| listed.contains(origin)) => origin.clone(),
            Self::Listed(_) => return,
        };
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
    }

    /// Answers a preflight; [`Cors::allow`] adds the origin.
    pub(super) fn preflight(&self) -> Response<Body> {
        let mut response = respond::empty(StatusCode::NO_CONTENT);
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        response
    }
}
