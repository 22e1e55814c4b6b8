//! URLs of webhook receivers, and what receivers answer.

use ::http::StatusCode;

use crate::webhook::{TargetPolicy, WebhooksConfig, fuzzing_answer};

/// A URL, by the default policy and by one that accepts local receivers.
pub fn webhook_urls(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let strict = TargetPolicy::new(&WebhooksConfig::default());
    let local = TargetPolicy::new(&WebhooksConfig {
        allow_local_http: true,
        ..WebhooksConfig::default()
    });
    let accepted = strict.check(text);
    if let Ok(url) = &accepted {
        assert!(url.as_str().starts_with("https://"), "{url}");
        assert!(!url.as_str().contains(['\r', '\n', ' ', '#', '\\']), "{url}");
        assert_eq!(
            strict.check(url.as_str()).as_ref(),
            Ok(url),
            "its own form is another URL"
        );
        assert_eq!(local.check(text).as_ref(), Ok(url), "the exception refuses a URL");
    }
    match (local.check(text), accepted) {
        (Ok(url), Err(_)) => assert!(
            url.as_str().starts_with("http://localhost") || url.as_str().starts_with("http://127.0.0."),
            "{url} is no exception"
        ),
        (one, other) => assert_eq!(one.is_ok(), other.is_ok()),
    }
}

/// A response: the status in two bytes, then the body.
pub fn webhook_answers(data: &[u8]) {
    let Some((status, body)) = data.split_first_chunk() else {
        return;
    };
    let Ok(status) = StatusCode::from_u16(u16::from_be_bytes(*status)) else {
        return;
    };
    if fuzzing_answer(status, body) {
        assert!(status.is_success());
        assert!(body.trim_ascii().starts_with(b"{"), "something else was taken for done");
    }
}
