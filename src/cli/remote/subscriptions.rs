//! The operations on subscriptions.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{client::Remote, error::RemoteError, pages::read_page};
use crate::cli::error::CliError;

/// The code of the problem when a subscription does not exist.
pub(in crate::cli) const NO_SUBSCRIPTION: &str = "no-subscription";

/// An id is one segment.
const ESCAPED_IN_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A page of the list of subscriptions.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct SubscriptionPage {
    pub(in crate::cli) subscriptions: Vec<Map<String, Value>>,
    pub(in crate::cli) next: Option<String>,
}

impl Remote {
    fn subscription_url(&self, id: &str) -> String {
        let id = utf8_percent_encode(id, ESCAPED_IN_SEGMENT);
        format!("{}/__ds/subscriptions/{id}", self.base())
    }

    /// At most `limit` subscriptions whose ids come after `after`.
    pub(in crate::cli) async fn subscriptions(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SubscriptionPage, CliError> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string());
        if let Some(after) = after {
            query.append_pair("after", after);
        }
        let url = format!("{}/__ds/subscriptions", self.base());
        let query = format!("?{}", query.finish());
        let response = self
            .send(Method::GET, &url, &query, HeaderMap::new(), Bytes::new())
            .await?;
        Ok(read_page(&url, &response.body, after, |page: &SubscriptionPage| {
            page.next.as_deref()
        })?)
    }

    /// A subscription, with all members that the server sent.
    pub(in crate::cli) async fn subscription(&self, id: &str) -> Result<Map<String, Value>, CliError> {
        let url = self.subscription_url(id);
        let response = self.send(Method::GET, &url, "", HeaderMap::new(), Bytes::new()).await?;
        let subscription = serde_json::from_slice(&response.body);
        Ok(subscription.map_err(|error| RemoteError::unexpected(&url, error.to_string()))?)
    }

    /// Whether it is new; otherwise it exists as described.
    pub(in crate::cli) async fn create_subscription(&self, id: &str, definition: &Value) -> Result<bool, CliError> {
        let url = self.subscription_url(id);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = Bytes::from(definition.to_string());
        let response = self.send(Method::PUT, &url, "", headers, body).await?;
        Ok(response.status == StatusCode::CREATED)
    }

    pub(in crate::cli) async fn delete_subscription(&self, id: &str) -> Result<(), CliError> {
        let url = self.subscription_url(id);
        self.send(Method::DELETE, &url, "", HeaderMap::new(), Bytes::new())
            .await?;
        Ok(())
    }

    /// Stops its wakes, or lets them go on.
    pub(in crate::cli) async fn pause_subscription(&self, id: &str, paused: bool) -> Result<(), CliError> {
        let operation = if paused { "pause" } else { "resume" };
        let url = format!("{}/{operation}", self.subscription_url(id));
        self.send(Method::POST, &url, "", HeaderMap::new(), Bytes::new())
            .await?;
        Ok(())
    }
}
