//! `POST`: append, close, and both in one step (sections 5.2 and 5.3).

use axum::body::Body;
use http::{HeaderMap, Response, StatusCode, header, request::Parts};

use super::{App, Problem, body, respond, stream};
use crate::{
    auth::{Operation, Permit},
    engine::{AppendRequest, WriterScope},
    protocol::{BadInput, ContentType, headers},
};

pub(super) async fn handle(app: &App, permit: &Permit, parts: &Parts, body: Body) -> Result<Response<Body>, Problem> {
    let name = stream(permit)?;
    let content_type = content_type(&parts.headers);
    let close = headers::closes(&parts.headers) && permit.covers(Operation::Close);
    let producer = headers::producer(&parts.headers)?;
    let stream_seq = headers::stream_seq(&parts.headers)?;
    // A request without content is a close, whatever its content type (section 5.2).
    let content_type = if close { content_type } else { Ok(content_type?) };
    let received = body::receive(app, permit, parts, body).await?;
    let content_type = if received.bytes.is_empty() { None } else { content_type? };
    let length = received.bytes.len() as u64;
    let has_producer = producer.is_some();
    let request = AppendRequest {
        content_type,
        // Given away, so that it is freed once the engine has brought it into its stored form.
        body: received.bytes,
        close,
        producer,
        stream_seq,
        writer: permit.writer().map(WriterScope::new),
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

fn content_type(headers: &HeaderMap) -> Result<Option<ContentType>, BadInput> {
    let text = headers::single(headers, &header::CONTENT_TYPE, "Content-Type")?;
    text.filter(|text| !text.is_empty()).map(ContentType::parse).transpose()
}
