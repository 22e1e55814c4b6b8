//! `POST`: append, close, and both in one step (sections 5.2 and 5.3).

use axum::body::Body;
use http::{Response, StatusCode, header, request::Parts};

use super::{App, Problem, body, respond, stream};
use crate::{
    auth::{Operation, Permit},
    engine::AppendRequest,
    protocol::{ContentType, headers},
};

pub(super) async fn handle(app: &App, permit: &Permit, parts: &Parts, body: Body) -> Result<Response<Body>, Problem> {
    let name = stream(permit)?;
    let content_type = headers::single(&parts.headers, &header::CONTENT_TYPE, "Content-Type")?;
    let close = headers::closes(&parts.headers) && permit.covers(Operation::Close);
    let producer = headers::producer(&parts.headers)?;
    let stream_seq = headers::stream_seq(&parts.headers)?;
    let received = body::receive(app, &parts.headers, body).await?;
    // A request without content is a close, whatever content type a library attached to it.
    let content_type = match content_type {
        Some(text) if !text.is_empty() && !received.bytes.is_empty() => Some(ContentType::parse(text)?),
        _ => None,
    };
    let length = received.bytes.len() as u64;
    let has_producer = producer.is_some();
    let request = AppendRequest {
        content_type,
        // Given away, so that it is freed once the engine has brought it into its stored form.
        body: received.bytes,
        close,
        producer,
        stream_seq,
    };
    let appended = app.running()?.append(name, request).await?;

    let new_by_producer = has_producer && !appended.duplicate && length > 0;
    let mut response = respond::empty(if new_by_producer {
        StatusCode::OK
    } else {
        StatusCode::NO_CONTENT
    });
    let answer = response.headers_mut();
    answer.insert(headers::STREAM_NEXT_OFFSET, respond::offset(appended.tail));
    respond::set_closed(answer, appended.closed);
    if let Some(producer) = appended.producer {
        answer.insert(headers::PRODUCER_EPOCH, respond::number(producer.epoch));
        answer.insert(headers::PRODUCER_SEQ, respond::number(producer.seq));
    }
    if !appended.duplicate {
        app.metrics().appended(length);
    }
    Ok(response)
}
