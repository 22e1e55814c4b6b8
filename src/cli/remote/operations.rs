//! The operations on streams.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{
    client::{Remote, Response},
    error::RemoteError,
    pages::read_page,
    types::{Batch, Chunk, Created, Form, Metadata, Page, ProducerState, Stamp},
};
use crate::{
    cli::error::CliError,
    protocol::{StreamName, frame, headers},
};

impl Remote {
    /// At most `limit` streams whose names begin with `prefix` and come after `after`.
    pub(in crate::cli) async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, CliError> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("prefix", prefix)
            .append_pair("limit", &limit.to_string());
        if let Some(after) = after {
            query.append_pair("after", after);
        }
        let url = format!("{}/__ds/streams", self.base());
        let query = format!("?{}", query.finish());
        let response = self
            .send(Method::GET, &url, &query, HeaderMap::new(), Bytes::new())
            .await;
        let response = response.map_err(|error| match error {
            CliError::Remote(error) if error.status() == Some(StatusCode::NOT_FOUND) => CliError::Usage(format!(
                "there is no list of streams at {url}; is {} the URL that streams are below?",
                self.base()
            )),
            error => error,
        })?;
        Ok(read_page(&url, &response.body, after, |page: &Page| {
            page.next.as_deref()
        })?)
    }

    /// Everything about a stream except its content.
    pub(in crate::cli) async fn metadata(&self, name: &StreamName) -> Result<Metadata, CliError> {
        let url = self.stream_url(name);
        let response = self
            .send(Method::HEAD, &url, "", HeaderMap::new(), Bytes::new())
            .await?;
        Ok(Metadata {
            content_type: response.required(&header::CONTENT_TYPE)?,
            offset: response.required(&headers::STREAM_NEXT_OFFSET)?,
            closed: headers::is_closing(&response.headers),
            ttl_seconds: response.number(&headers::STREAM_TTL),
            expires_at: response.text(&headers::STREAM_EXPIRES_AT),
            retention_age_seconds: response.number(&headers::STREAM_RETENTION_AGE),
            retention_bytes: response.number(&headers::STREAM_RETENTION_BYTES),
            earliest_offset: response.text(&headers::STREAM_EARLIEST_OFFSET),
            lives: response.text(&headers::STREAM_LIVES),
        })
    }

    /// The stored form of the content from `offset` to `until`, or the part of it that fits in one
    /// response. A server without that form sends the readers' form, and possibly more.
    pub(in crate::cli) async fn read(&self, name: &StreamName, offset: &str, until: &str) -> Result<Chunk, CliError> {
        let url = self.stream_url(name);
        let query = format!("?offset={offset}&form=stored&until={until}");
        let response = self
            .send(Method::GET, &url, &query, HeaderMap::new(), Bytes::new())
            .await?;
        let chunk = Chunk {
            form: match response.text(&header::CONTENT_TYPE).as_deref() {
                Some(frame::STORED) => Form::Stored,
                Some(frame::STORED_APPENDS) => Form::StoredAppends,
                _ => Form::Plain,
            },
            next: response.required(&headers::STREAM_NEXT_OFFSET)?,
            up_to_date: response.headers.contains_key(headers::STREAM_UP_TO_DATE),
            closed: headers::is_closing(&response.headers),
            body: response.body,
        };
        if !chunk.up_to_date && chunk.next == offset {
            return Err(RemoteError::unexpected(&url, "it does not say where the content continues").into());
        }
        Ok(chunk)
    }

    pub(in crate::cli) async fn delete(&self, name: &StreamName) -> Result<(), CliError> {
        let url = self.stream_url(name);
        self.send(Method::DELETE, &url, "", HeaderMap::new(), Bytes::new())
            .await?;
        Ok(())
    }

    /// Creates a stream of this type, lifetime and retention that continues the same offsets. An
    /// existing stream keeps its own.
    pub(in crate::cli) async fn create(&self, name: &StreamName, like: &Metadata) -> Result<Created, CliError> {
        let mut given = HeaderMap::new();
        given.insert(header::CONTENT_TYPE, value(&like.content_type)?);
        if let Some(at) = &like.expires_at {
            given.insert(headers::STREAM_EXPIRES_AT, value(at)?);
        }
        for (name, number) in [
            (headers::STREAM_TTL, like.ttl_seconds),
            (headers::STREAM_RETENTION_AGE, like.retention_age_seconds),
            (headers::STREAM_RETENTION_BYTES, like.retention_bytes),
        ] {
            given.extend(number.map(|number| (name, HeaderValue::from(number))));
        }
        let plain = given.clone();
        if let Some(lives) = &like.lives {
            given.insert(headers::STREAM_LIVES, value(lives)?);
            if let Some(earliest) = &like.earliest_offset {
                given.insert(headers::STREAM_EARLIEST_OFFSET, value(earliest)?);
            }
        }
        match self.put(name, given).await? {
            Some(created) => Ok(created),
            None if like.lives.is_some() => Ok(self.put(name, plain).await?.unwrap_or(Created::Found)),
            None => Ok(Created::Found),
        }
    }

    /// `None` when a different stream has this name.
    async fn put(&self, name: &StreamName, given: HeaderMap) -> Result<Option<Created>, CliError> {
        let begin = given.get(headers::STREAM_EARLIEST_OFFSET).cloned();
        let created = self
            .send(Method::PUT, &self.stream_url(name), "", given, Bytes::new())
            .await;
        match created {
            Ok(response) if response.status == StatusCode::CREATED => Ok(Some(Created::New)),
            Ok(response) => {
                let offset = response.required(&headers::STREAM_NEXT_OFFSET)?;
                let position = offset.rsplit('_').next().unwrap_or_default();
                let empty = position.bytes().all(|byte| byte == b'0') || begin.is_some_and(|begin| begin == offset);
                Ok(Some(if empty { Created::FoundEmpty } else { Created::Found }))
            }
            Err(CliError::Remote(error)) if error.status() == Some(StatusCode::CONFLICT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Appends or closes, unless this request of the producer was accepted before.
    pub(in crate::cli) async fn append(
        &self,
        name: &StreamName,
        batch: Batch<'_>,
        stamp: Stamp<'_>,
    ) -> Result<(), CliError> {
        let mut given = HeaderMap::new();
        given.insert(headers::PRODUCER_ID, value(stamp.producer)?);
        given.insert(headers::PRODUCER_EPOCH, HeaderValue::from(0));
        given.insert(headers::PRODUCER_SEQ, HeaderValue::from(stamp.seq));
        if batch.close {
            given.insert(headers::STREAM_CLOSED, HeaderValue::from_static("true"));
        }
        given.insert(header::CONTENT_TYPE, value(batch.content_type)?);
        self.send(Method::POST, &self.stream_url(name), "", given, batch.body)
            .await?;
        Ok(())
    }

    /// Asks for a producer's state by a request that the server must refuse, because its sequence
    /// number is far too high.
    pub(in crate::cli) async fn probe(
        &self,
        name: &StreamName,
        content_type: &str,
        producer: &str,
    ) -> Result<ProducerState, CliError> {
        let batch = Batch {
            content_type,
            body: Bytes::from_static(b"0"),
            close: false,
        };
        let stamp = Stamp {
            producer,
            seq: headers::MAX_SAFE_INTEGER,
        };
        let url = self.stream_url(name);
        let refused = match self.append(name, batch, stamp).await {
            Err(CliError::Remote(RemoteError::Refused(refused))) if refused.status == StatusCode::CONFLICT => refused,
            Err(error) => return Err(error),
            Ok(()) => return Err(RemoteError::unexpected(&url, "it ignores Producer-Seq").into()),
        };
        let expected = refused.headers.get(headers::PRODUCER_EXPECTED_SEQ);
        match expected.and_then(|value| value.to_str().ok()?.parse().ok()) {
            Some(expected) => Ok(ProducerState::Expects(expected)),
            None if headers::is_closing(&refused.headers) => Ok(ProducerState::Closed),
            None => Err(RemoteError::Refused(refused).into()),
        }
    }
}

impl Response {
    fn text(&self, name: &HeaderName) -> Option<String> {
        Some(self.headers.get(name)?.to_str().ok()?.to_owned())
    }

    fn number(&self, name: &HeaderName) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    fn required(&self, name: &HeaderName) -> Result<String, RemoteError> {
        self.text(name)
            .ok_or_else(|| RemoteError::unexpected(&self.url, format!("the header {name} is missing")))
    }
}

fn value(text: &str) -> Result<HeaderValue, CliError> {
    HeaderValue::try_from(text).map_err(|_| CliError::Usage(format!("{text:?} is not a header value")))
}
