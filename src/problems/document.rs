//! The body of an error response.

use serde::Serialize;

use super::kinds::ProblemKind;

/// The media type of [`document`].
pub(crate) const CONTENT_TYPE: &str = "application/problem+json";

#[derive(Serialize)]
struct Document<'d> {
    r#type: String,
    title: &'d str,
    status: u16,
    detail: &'d str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'d serde_json::Value>,
}

/// A problem document. `detail` must be fit for the client's eyes; `request_id` names the log line.
///
/// `error` is the member that the protocol has for refusals of subscriptions (section 7).
pub(crate) fn document(
    kind: &ProblemKind,
    detail: &str,
    request_id: Option<&str>,
    error: Option<&serde_json::Value>,
) -> String {
    let document = Document {
        r#type: kind.type_uri(),
        title: kind.title(),
        status: kind.status.as_u16(),
        detail,
        request_id,
        error,
    };
    // Strings and a number always serialize.
    serde_json::to_string(&document).unwrap_or_default()
}
