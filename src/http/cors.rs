//! Cross-origin requests.

use std::collections::HashSet;

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::respond;
use crate::proxy::is_forwarding;

/// Which origins browsers may read from.
#[derive(Debug, Clone)]
pub(super) struct Cors {
    origins: Origins,
    /// The header in which a proxy tells whom it has authenticated.
    identity_header: Option<HeaderName>,
}

#[derive(Debug, Clone)]
enum Origins {
    Any,
    Listed(HashSet<String>),
}

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS");
/// Those of the protocol, which clients send; a preflight names them all.
const REQUEST_HEADERS: &str = "Authorization, Content-Type, If-None-Match, Cache-Control, Last-Event-ID, Stream-Seq, Stream-TTL, Stream-Expires-At, \
     Stream-Retention-Age, Stream-Retention-Bytes, Stream-Closed, Stream-Forked-From, Stream-Fork-Offset, Stream-Fork-Sub-Offset, Producer-Id, Producer-Epoch, Producer-Seq";
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static(
    "Stream-Next-Offset, Stream-Cursor, Stream-Up-To-Date, Stream-Closed, Stream-TTL, Stream-Expires-At, \
     Stream-Retention-Age, Stream-Retention-Bytes, Stream-Earliest-Offset, Stream-SSE-Data-Encoding, Producer-Epoch, Producer-Seq, Producer-Expected-Seq, Producer-Received-Seq, ETag, \
     Location, Retry-After, WWW-Authenticate, X-Request-Id",
);
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// The most bytes of other headers' names that a preflight allows.
const MAX_ASKED_BYTES: usize = 4096;

impl Cors {
    /// `*`, or origins separated by commas; and the header that only a proxy may set, if any.
    pub(super) fn new(origins: &str, identity_header: Option<HeaderName>) -> Self {
        let listed: HashSet<String> = origins
            .split(',')
            .map(|origin| origin.trim().to_owned())
            .filter(|origin| !origin.is_empty())
            .collect();
        let origins = if listed.contains("*") {
            Origins::Any
        } else {
            Origins::Listed(listed)
        };
        Self {
            origins,
            identity_header,
        }
    }

    /// Lets the asking origin read an answer, if it may. Who is no browser names no origin and
    /// gets none of this; caches keep the two apart.
    pub(super) fn allow(&self, request: &HeaderMap, response: &mut HeaderMap) {
        response.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = request.get(header::ORIGIN) else {
            return;
        };
        let allowed = match &self.origins {
            Origins::Any => HeaderValue::from_static("*"),
            Origins::Listed(listed) if origin.to_str().is_ok_and(|origin| listed.contains(origin)) => origin.clone(),
            Origins::Listed(_) => return,
        };
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
    }

    /// Answers a preflight; [`Cors::allow`] adds the origin. Tracing libraries and the like add
    /// headers of their own to requests, which the browser then asks for too: they are allowed,
    /// except those that only a proxy may set.
    pub(super) fn preflight(&self, request: &HeaderMap) -> Response<Body> {
        let mut response = respond::empty(StatusCode::NO_CONTENT);
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, self.request_headers(request));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        response
    }

    fn request_headers(&self, request: &HeaderMap) -> HeaderValue {
        let mut allowed = REQUEST_HEADERS.to_owned();
        let lines = request.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).into_iter();
        let names = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','));
        for name in names.filter_map(|name| HeaderName::try_from(name.trim()).ok()) {
            let forbidden = is_forwarding(&name) || self.identity_header.as_ref() == Some(&name);
            if forbidden || allowed.len() + name.as_str().len() > REQUEST_HEADERS.len() + MAX_ASKED_BYTES {
                continue;
            }
            allowed.push_str(", ");
            allowed.push_str(name.as_str());
        }
        HeaderValue::try_from(allowed).unwrap_or(HeaderValue::from_static(REQUEST_HEADERS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(asked: &[&'static str]) -> Vec<String> {
        let cors = Cors::new("*", Some(HeaderName::from_static("x-client-identity")));
        let asked = asked.iter().map(|line| {
            let name = header::ACCESS_CONTROL_REQUEST_HEADERS;
            (name, HeaderValue::from_static(line))
        });
        let value = cors.request_headers(&asked.collect());
        let names = value.to_str().unwrap().split(", ");
        names
            .skip(REQUEST_HEADERS.split(", ").count())
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn headers_that_others_add_are_allowed() {
        assert_eq!(
            allowed(&["traceparent,X-Trace , b3", "baggage"]),
            ["traceparent", "x-trace", "b3", "baggage"]
        );
        assert_eq!(allowed(&[]), [""; 0]);
        assert_eq!(allowed(&[", ,a b,\x22x\x22,ok"]), ["ok"]);
    }

    #[test]
    fn headers_that_only_a_proxy_may_set_are_not() {
        for name in [
            "X-Forwarded-For",
            "x-forwarded-host",
            "Forwarded",
            "X-Real-IP",
            "X-Client-Identity",
        ] {
            assert_eq!(allowed(&[name, "ok"]), ["ok"], "{name}");
        }
    }

    #[test]
    fn an_endless_list_is_cut() {
        let many: &'static str = "abcdefgh,".repeat(10_000).leak();
        assert!(allowed(&[many]).len() <= MAX_ASKED_BYTES / 8);
    }
}
