//! Cross-origin requests.

use std::{collections::HashSet, sync::LazyLock};

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::{HttpConfig, respond};
use crate::{
    protocol::headers::label,
    proxy::is_forwarding,
    routes::{COMMON_REQUEST_HEADERS, COMMON_RESPONSE_HEADERS, ROUTES, allowed_methods},
};

/// Which origins browsers may read from.
#[derive(Debug, Clone)]
pub(super) struct Cors {
    origins: Origins,
    /// The header in which a proxy names the user whom it has authenticated.
    identity_header: Option<HeaderName>,
    exposed_headers: HeaderValue,
    max_age: HeaderValue,
}

#[derive(Debug, Clone)]
enum Origins {
    Any,
    Listed(HashSet<String>),
}

static METHODS: LazyLock<String> = LazyLock::new(allowed_methods);

/// Every request header of the table; a preflight allows them all.
static REQUEST_HEADERS: LazyLock<String> = LazyLock::new(|| {
    let own = ROUTES.iter().flat_map(|route| route.request_headers);
    join(COMMON_REQUEST_HEADERS.iter().chain(own))
});

/// Every response header of the table.
static RESPONSE_HEADERS: LazyLock<String> = LazyLock::new(|| {
    let own = ROUTES.iter().flat_map(|route| route.response_headers);
    join(own.chain(&COMMON_RESPONSE_HEADERS))
});

/// The most bytes of other headers' names that a preflight allows.
const MAX_REQUESTED_BYTES: usize = 4096;

/// Joins header names, each once.
fn join(names: impl Iterator<Item = &'static HeaderName>) -> String {
    let mut labels: Vec<&str> = Vec::new();
    for label in names.map(label) {
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    labels.join(", ")
}

impl Cors {
    /// Only a proxy may set `identity_header`.
    pub(super) fn new(config: &HttpConfig, identity_header: Option<HeaderName>) -> Self {
        let listed: HashSet<String> = config
            .cors_origins
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
            exposed_headers: HeaderValue::from_static(&RESPONSE_HEADERS),
            max_age: config.cors_max_age_secs.into(),
        }
    }

    /// Lets the request's origin read the response, if the origin is allowed. Non-browser clients
    /// send no `Origin`.
    pub(super) fn allow(&self, request: &HeaderMap, response: &mut HeaderMap) {
        let Some(origin) = request.get(header::ORIGIN) else {
            return;
        };
        let allowed = match &self.origins {
            Origins::Any => HeaderValue::from_static("*"),
            Origins::Listed(listed) if origin.to_str().is_ok_and(|origin| listed.contains(origin)) => origin.clone(),
            Origins::Listed(_) => return,
        };
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed_headers.clone());
    }

    /// The response to a preflight; [`Cors::allow`] adds the origin. Headers that tracing libraries
    /// and the like add to requests are allowed too, except those that only a proxy may set.
    pub(super) fn preflight(&self, request: &HeaderMap) -> Response<Body> {
        let mut response = respond::empty(StatusCode::NO_CONTENT);
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(&METHODS));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, self.request_headers(request));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        response
    }

    fn request_headers(&self, request: &HeaderMap) -> HeaderValue {
        let mut allowed = REQUEST_HEADERS.clone();
        let lines = request.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).into_iter();
        let names = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','));
        for name in names.filter_map(|name| HeaderName::try_from(name.trim()).ok()) {
            let forbidden = is_forwarding(&name) || self.identity_header.as_ref() == Some(&name);
            if forbidden || allowed.len() + name.as_str().len() > REQUEST_HEADERS.len() + MAX_REQUESTED_BYTES {
                continue;
            }
            allowed.push_str(", ");
            allowed.push_str(name.as_str());
        }
        HeaderValue::try_from(allowed).unwrap_or(HeaderValue::from_static(&REQUEST_HEADERS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_of_the_table_is_written_as_people_write_it() {
        for expected in [
            "Content-Type",
            "Stream-TTL",
            "Producer-Seq",
            "If-None-Match",
            "Last-Event-ID",
        ] {
            assert!(REQUEST_HEADERS.split(", ").any(|name| name == expected), "{expected}");
        }
        for expected in ["ETag", "Stream-SSE-Data-Encoding", "WWW-Authenticate", "X-Request-Id"] {
            assert!(RESPONSE_HEADERS.split(", ").any(|name| name == expected), "{expected}");
        }
        assert!(!REQUEST_HEADERS.contains("header, ") && !RESPONSE_HEADERS.contains("header, "));
    }

    fn allowed(asked: &[&'static str]) -> Vec<String> {
        let cors = Cors::new(
            &HttpConfig::default(),
            Some(HeaderName::from_static("x-client-identity")),
        );
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
        assert!(allowed(&[many]).len() <= MAX_REQUESTED_BYTES / 8);
    }
}
