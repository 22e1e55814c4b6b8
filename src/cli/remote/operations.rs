//! What can be asked of a server.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Remote, RemoteError, client::Answer};
use crate::{
    cli::CliError,
    protocol::{StreamName, frame, headers},
};

/// A page of the list of streams.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Page {
    pub(in crate::cli) streams: Vec<Listed>,
    pub(in crate::cli) next: Option<String>,
}

/// A stream in the list, with whatever the server says of it.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::cli) struct Listed {
    pub(in crate::cli) name: StreamName,
    #[serde(flatten)]
    pub(in crate::cli) members: Map<String, Value>,
}

/// What `HEAD` says of a stream, each header as it stands there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Metadata {
    pub(in crate::cli) content_type: String,
    pub(in crate::cli) offset: String,
    pub(in crate::cli) closed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) ttl_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) retention_age_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) retention_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) earliest_offset: Option<String>,
    /// The last offset of each life whose offsets are the stream's, divided by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) lives: Option<String>,
}

/// The form that content comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Form {
    /// As every reader gets it.
    Plain,
    /// As this server stores it.
    Stored,
    /// The same, with appends kept apart.
    StoredAppends,
}

/// A part of a stream's content.
pub(in crate::cli) struct Chunk {
    pub(in crate::cli) form: Form,
    pub(in crate::cli) body: Bytes,
    /// Where to go on.
    pub(in crate::cli) next: String,
    pub(in crate::cli) up_to_date: bool,
    pub(in crate::cli) closed: bool,
}

/// What a create came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Created {
    /// The stream is new.
    New,
    /// It was there, as described, and without content.
    FoundEmpty,
    /// It was there, perhaps not as described.
    Found,
}

/// One request of a producer, in its epoch 0.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Stamp<'p> {
    pub(in crate::cli) producer: &'p str,
    pub(in crate::cli) seq: u64,
}

/// What is appended in one request; nothing with `close` closes the stream.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Batch<'b> {
    pub(in crate::cli) content_type: &'b str,
    pub(in crate::cli) body: Bytes,
    pub(in crate::cli) close: bool,
}

/// Where a producer stands on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Probe {
    /// The stream takes this number next; 0 of a producer that it does not know.
    Expects(u64),
    /// The stream is closed.
    Closed,
}

impl Remote {
    /// Streams whose names begin with `prefix`, after `after`, at most `limit`.
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
        let answer = self
            .send(Method::GET, &url, &query, HeaderMap::new(), Bytes::new())
            .await;
        let answer = answer.map_err(|error| match error {
            CliError::Remote(error) if error.status() == Some(StatusCode::NOT_FOUND) => CliError::Usage(format!(
                "there is no list of streams at {url}; is {} the URL that streams are below?",
                self.base()
            )),
            error => error,
        })?;
        let page: Page =
            serde_json::from_slice(&answer.body).map_err(|error| RemoteError::strange(&url, error.to_string()))?;
        if page
            .next
            .as_deref()
            .is_some_and(|next| after.is_some_and(|after| next <= after))
        {
            return Err(RemoteError::strange(&url, "the list does not go on").into());
        }
        Ok(page)
    }

    /// What there is to know of a stream besides its content.
    pub(in crate::cli) async fn metadata(&self, name: &StreamName) -> Result<Metadata, CliError> {
        let url = self.stream_url(name);
        let answer = self
            .send(Method::HEAD, &url, "", HeaderMap::new(), Bytes::new())
            .await?;
        Ok(Metadata {
            content_type: answer.required(&header::CONTENT_TYPE)?,
            offset: answer.required(&headers::STREAM_NEXT_OFFSET)?,
            closed: headers::is_closing(&answer.headers),
            ttl_seconds: answer.number(&headers::STREAM_TTL),
            expires_at: answer.text(&headers::STREAM_EXPIRES_AT),
            retention_age_seconds: answer.number(&headers::STREAM_RETENTION_AGE),
            retention_bytes: answer.number(&headers::STREAM_RETENTION_BYTES),
            earliest_offset: answer.text(&headers::STREAM_EARLIEST_OFFSET),
            lives: answer.text(&headers::STREAM_LIVES),
        })
    }

    /// The stored form of the content from `offset` to `until`, or as much of it as one response
    /// holds. A server without that form sends the readers' form, and possibly more.
    pub(in crate::cli) async fn read(&self, name: &StreamName, offset: &str, until: &str) -> Result<Chunk, CliError> {
        let url = self.stream_url(name);
        let query = format!("?offset={offset}&form=stored&until={until}");
        let answer = self
            .send(Method::GET, &url, &query, HeaderMap::new(), Bytes::new())
            .await?;
        let chunk = Chunk {
            form: match answer.text(&header::CONTENT_TYPE).as_deref() {
                Some(frame::STORED) => Form::Stored,
                Some(frame::STORED_APPENDS) => Form::StoredAppends,
                _ => Form::Plain,
            },
            next: answer.required(&headers::STREAM_NEXT_OFFSET)?,
            up_to_date: answer.headers.contains_key(headers::STREAM_UP_TO_DATE),
            closed: headers::is_closing(&answer.headers),
            body: answer.body,
        };
        if !chunk.up_to_date && chunk.next == offset {
            return Err(RemoteError::strange(&url, "there is more, but not after this").into());
        }
        Ok(chunk)
    }

    pub(in crate::cli) async fn delete(&self, name: &StreamName) -> Result<(), CliError> {
        let url = self.stream_url(name);
        self.send(Method::DELETE, &url, "", HeaderMap::new(), Bytes::new())
            .await?;
        Ok(())
    }

    /// Creates a stream of this type, lifetime and retention, which goes on from the same offsets.
    /// One that is there already keeps its own.
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

    /// `None`: a stream that is not as described is there.
    async fn put(&self, name: &StreamName, given: HeaderMap) -> Result<Option<Created>, CliError> {
        let begin = given.get(headers::STREAM_EARLIEST_OFFSET).cloned();
        let created = self
            .send(Method::PUT, &self.stream_url(name), "", given, Bytes::new())
            .await;
        match created {
            Ok(answer) if answer.status == StatusCode::CREATED => Ok(Some(Created::New)),
            Ok(answer) => {
                let offset = answer.required(&headers::STREAM_NEXT_OFFSET)?;
                let position = offset.rsplit('_').next().unwrap_or_default();
                let empty = position.bytes().all(|byte| byte == b'0') || begin.is_some_and(|begin| begin == offset);
                Ok(Some(if empty { Created::FoundEmpty } else { Created::Found }))
            }
            Err(CliError::Remote(error)) if error.status() == Some(StatusCode::CONFLICT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Appends, or closes, unless this request of the producer's was accepted before.
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

    /// Finds out where a producer stands, by a request that the server cannot accept: its
    /// number comes long before its turn.
    pub(in crate::cli) async fn probe(
        &self,
        name: &StreamName,
        content_type: &str,
        producer: &str,
    ) -> Result<Probe, CliError> {
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
            Ok(()) => return Err(RemoteError::strange(&url, "it does not heed Producer-Seq").into()),
        };
        let expected = refused.headers.get(headers::PRODUCER_EXPECTED_SEQ);
        match expected.and_then(|value| value.to_str().ok()?.parse().ok()) {
            Some(expected) => Ok(Probe::Expects(expected)),
            None if headers::is_closing(&refused.headers) => Ok(Probe::Closed),
            None => Err(RemoteError::Refused(refused).into()),
        }
    }
}

impl Answer {
    fn text(&self, name: &HeaderName) -> Option<String> {
        Some(self.headers.get(name)?.to_str().ok()?.to_owned())
    }

    fn number(&self, name: &HeaderName) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    fn required(&self, name: &HeaderName) -> Result<String, RemoteError> {
        self.text(name)
            .ok_or_else(|| RemoteError::strange(&self.url, format!("the header {name} is missing")))
    }
}

fn value(text: &str) -> Result<HeaderValue, CliError> {
    HeaderValue::try_from(text).map_err(|_| CliError::Usage(format!("{text:?} cannot be sent as a header")))
}
