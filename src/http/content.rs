//! Stored data as a response body, without copying it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http_body::{Frame, SizeHint};

use crate::{
    engine::{Chunk, LARGE_CHUNK, Pieces, ReadError},
    protocol::{Kind, json},
};

/// Up to this size an array of messages is built once and shared. Above it the brackets are
/// frames of their own, and the messages are sent from where they are stored.
const MAX_JOINED_ARRAY: usize = 256 * 1024;

/// The body of a response with one chunk.
pub(super) fn chunk(chunk: &Arc<Chunk>) -> Body {
    if is_joined(chunk) {
        Body::from(keeping(chunk, chunk.body()))
    } else {
        let len = chunk.stored().len() as u64;
        content(chunk.kind(), Pieces::one(Arc::clone(chunk)), Some(len))
    }
}

/// The body of a response with several pieces, `len` bytes in all if that is known. The connection
/// breaks off where a piece cannot be read, so that no client takes a part for the whole.
pub(super) fn pieces(kind: Kind, pieces: Pieces, len: Option<u64>) -> Body {
    match pieces.only() {
        Some(only) if is_joined(only) => Body::from(keeping(only, only.body())),
        _ => content(kind, pieces, len),
    }
}

fn is_joined(chunk: &Chunk) -> bool {
    chunk.kind() != Kind::Json || chunk.stored().len() <= MAX_JOINED_ARRAY
}

/// `bytes`, which keep a large chunk in the cache for other readers until they are sent.
pub(super) fn keeping(chunk: &Arc<Chunk>, bytes: Bytes) -> Bytes {
    struct Keeping {
        bytes: Bytes,
        _chunk: Arc<Chunk>,
    }
    impl AsRef<[u8]> for Keeping {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }
    if chunk.stored().len() < LARGE_CHUNK {
        return bytes;
    }
    Bytes::from_owner(Keeping {
        bytes,
        _chunk: Arc::clone(chunk),
    })
}

fn content(kind: Kind, pieces: Pieces, len: Option<u64>) -> Body {
    let frames = Frames {
        pieces,
        is_array: kind == Kind::Json,
        started: false,
        end: None,
    };
    Body::new(Content {
        frames: Box::pin(stream::unfold(frames, |mut frames| async move {
            let frame = frames.next().await.transpose()?;
            Some((frame, frames))
        })),
        left: len,
    })
}

/// The frames of a response.
struct Frames {
    pieces: Pieces,
    is_array: bool,
    started: bool,
    /// The frame after the last piece.
    end: Option<Bytes>,
}

impl Frames {
    async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        if let Some(end) = self.end.take() {
            return Ok(Some(end));
        }
        if self.is_array && !self.started {
            self.started = true;
            return Ok(Some(Bytes::from_static(b"[")));
        }
        let chunk = match self.pieces.next().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(None),
            Err(error) => {
                log_failure(&error);
                return Err(error);
            }
        };
        if !self.is_array {
            return Ok(Some(keeping(&chunk, chunk.body())));
        }
        let mut messages = keeping(&chunk, chunk.stored().clone());
        if self.pieces.is_over() {
            messages.truncate(json::without_last_separator(&messages).len());
            self.end = Some(Bytes::from_static(b"]"));
        }
        Ok(Some(messages))
    }
}

fn log_failure(error: &ReadError) {
    match error {
        ReadError::NotFound | ReadError::Gone | ReadError::Trimmed { .. } => {
            tracing::debug!(%error, "a read was broken off");
        }
        _ => tracing::error!(%error, "a read was broken off because the store failed"),
    }
}

/// A body, and how many bytes of it are left if that is known.
struct Content {
    frames: Pin<Box<dyn Stream<Item = Result<Bytes, ReadError>> + Send>>,
    left: Option<u64>,
}

impl http_body::Body for Content {
    type Data = Bytes;
    type Error = ReadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.frames.as_mut().poll_next(cx)) {
            Some(Ok(data)) => {
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                Some(Ok(Frame::data(data)))
            }
            Some(Err(error)) => Some(Err(error)),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
