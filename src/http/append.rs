//! `POST`: append, close, and both in one step (sections 5.2 and 5.3).

use axum::body::Body;
use http::{Response, StatusCode, request::Parts};

use super::{App, Problem, body, forward, respond, stream};
use crate::{
    auth::Permit,
    engine::{AppendRequest, WriterScope},
    protocol::headers::{self, AppendHeaders},
};

pub(super) async fn handle(app: &App, permit: &Permit, parts: &Parts, body: Body) -> Result<Response<Body>, Problem> {
    let name = stream(permit)?;
    let content_type = headers::content_type(&parts.headers);
    let close = permit.operation().closes();
    let AppendHeaders {
        producer,
        stream_seq,
        expected_tail,
    } = headers::append(&parts.headers)?;
    // A request without content is a close, whatever its content type (section 5.2).
    let content_type = if close { content_type } else { Ok(content_type?) };
    let received = body::receive(app, permit, parts, body).await?;
    let content_type = if received.bytes.is_empty() { None } else { content_type? };
    let Ok(engine) = app.running() else {
        return Box::pin(forward::forward(app, parts, received.bytes.into())).await;
    };
    let length = received.bytes.len() as u64;
    let has_producer = producer.is_some();
    let request = AppendRequest {
        content_type,
        // Moved, so that it is freed once the engine has converted it to its stored form.
        body: received.bytes,
        close,
        producer,
        stream_seq,
        expected_tail,
        writer: permit.writer().map(WriterScope::new),
    };
    let appended = engine.append(name, request).await?;
    drop(engine);

    let new_by_producer = has_producer && !appended.duplicate && length > 0;
    let mut response = respond::empty(if new_by_producer {
        StatusCode::OK
    } else {
        StatusCode::NO_CONTENT
    });
    let set = response.headers_mut();
    set.insert(headers::STREAM_NEXT_OFFSET, respond::offset(appended.tail));
    respond::set_closed(set, appended.closed);
    if let Some(producer) = appended.producer {
        set.insert(headers::PRODUCER_EPOCH, respond::number(producer.epoch));
        set.insert(headers::PRODUCER_SEQ, respond::number(producer.seq));
    }
    if !appended.duplicate {
        app.metrics().appended(length);
    }
    Ok(response)
}
