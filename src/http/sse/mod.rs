//! `GET` with `live=sse` (section 5.8): the response and its body.

mod encode;
mod reader;

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header, request::Parts};
use http_body::{Frame, SizeHint};

use super::{
    App, Problem, forward,
    live::LiveSlot,
    query::{Live, ReadQuery},
    respond, stream as stream_of,
};
use crate::{
    auth::Permit,
    engine::{Backlog, Follower},
    protocol::{Kind, headers},
};
use reader::Reader;

/// Keeps nginx from buffering the response.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

pub(super) async fn handle(
    app: &App,
    permit: &Permit,
    parts: &Parts,
    query: ReadQuery,
) -> Result<Response<Body>, Problem> {
    let slot = LiveSlot::take(app, permit, parts, Live::Sse)?;
    let follower = app.running()?.follow(stream_of(permit)?, query.from).await?;
    let follower = follower.in_whole_characters();
    let headers = headers(app, parts, &follower);
    let reader = Reader::new(
        app,
        permit,
        query.cursor,
        follower,
        slot,
        forward::Continuation::of(app, parts),
    );
    let mut response = Response::new(Body::new(body(reader)));
    *response.headers_mut() = headers;
    Ok(response)
}

fn headers(app: &App, parts: &Parts, follower: &Follower) -> HeaderMap {
    let mut set = HeaderMap::new();
    set.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    set.insert(header::CACHE_CONTROL, app.caching().of(parts).live());
    set.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    if follower.state().closed {
        // Section 8: a read at the end of a closed stream has the end in its headers too.
        set.insert(headers::STREAM_NEXT_OFFSET, respond::offset(follower.position()));
        set.insert(headers::STREAM_UP_TO_DATE, HeaderValue::from_static("true"));
        respond::set_closed(&mut set, true);
    }
    if follower.kind() == Kind::Binary {
        set.insert(headers::STREAM_SSE_DATA_ENCODING, HeaderValue::from_static("base64"));
    }
    set
}

fn body(reader: Reader) -> Events<impl Stream<Item = Bytes>> {
    let backlog = reader.backlog();
    let events = stream::unfold(Box::pin(reader), |mut reader| async move {
        let bytes = reader.as_mut().next().await?;
        Some((bytes, reader))
    });
    Events { events, backlog }
}

pin_project_lite::pin_project! {
    /// A body that announces at least how much is still to be sent, so that memory can be reserved.
    struct Events<S> {
        #[pin]
        events: S,
        backlog: Backlog,
    }
}

impl<S: Stream<Item = Bytes>> http_body::Body for Events<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let events = self.project().events.poll_next(cx);
        events.map(|events| events.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::default();
        hint.set_lower(self.backlog.bytes());
        hint
    }
}
