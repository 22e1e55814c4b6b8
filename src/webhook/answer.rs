//! What a receiver answers.

use http::StatusCode;
use serde::Deserialize;

/// A receiver's answer of success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `{"done": true}`: the wake is finished.
    Done,
    /// Any other response with a status of success: the receiver goes on, and calls back.
    Accepted,
}

#[derive(Deserialize)]
struct Body {
    done: bool,
}

/// The answer of a response; `None` if its status is not one of success. `body` is `None` if it is
/// longer than the server reads.
pub(super) fn answer(status: StatusCode, body: Option<&[u8]>) -> Option<Answer> {
    if !status.is_success() {
        return None;
    }
    // A body in doubt is no `done`, so that nothing is acknowledged that was not processed.
    let done = body.and_then(|body| serde_json::from_slice::<Body>(body).ok());
    Some(match done {
        Some(Body { done: true }) => Answer::Done,
        _ => Answer::Accepted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(body: &str) -> Answer {
        answer(StatusCode::OK, Some(body.as_bytes())).unwrap()
    }

    #[test]
    fn only_an_object_that_says_done_is_done() {
        for body in [r#"{"done":true}"#, "\n{ \"done\" : true, \"more\": [1] }\n"] {
            assert_eq!(ok(body), Answer::Done, "{body}");
        }
        for body in [
            "",
            "ok",
            "true",
            "{}",
            r#"{"done":false}"#,
            r#"{"done":"true"}"#,
            r#"{"done":1}"#,
            r#"{"done":true"#,
            r#"{"done":true} {"done":true}"#,
            r#"{"done":true,"done":false}"#,
            r#"{"done":false,"done":true}"#,
            r#"{"Done":true}"#,
            r#"[{"done":true}]"#,
            r#"{"body":{"done":true}}"#,
            "\u{feff}{\"done\":true}",
        ] {
            assert_eq!(ok(body), Answer::Accepted, "{body}");
        }
        assert_eq!(answer(StatusCode::OK, None), Some(Answer::Accepted));
    }

    #[test]
    fn only_a_status_of_success_is_an_answer() {
        let done = br#"{"done":true}"#;
        for status in [200, 201, 202, 204, 299] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(answer(status, Some(done)).is_some(), "{status}");
        }
        for status in [101, 300, 301, 304, 307, 400, 404, 410, 429, 500, 503, 999] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(answer(status, Some(done)), None, "{status}");
        }
    }
}
