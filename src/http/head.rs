//! `HEAD`: metadata (section 5.5).

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};

use super::{App, Problem, caching, respond, stream};
use crate::{
    auth::Permit,
    protocol::{Lifetime, Offset, headers},
};

pub(super) async fn handle(app: &App, permit: &Permit) -> Result<Response<Body>, Problem> {
    let metadata = app.running()?.metadata(stream(permit)?).await?;
    let mut response = respond::empty(StatusCode::OK);
    let set = response.headers_mut();
    set.insert(header::CONTENT_TYPE, respond::content_type(&metadata.content_type));
    set.insert(header::CACHE_CONTROL, caching::NO_STORE);
    set.insert(headers::STREAM_NEXT_OFFSET, respond::offset(metadata.tail));
    respond::set_closed(set, metadata.closed);
    match metadata.lifetime {
        Lifetime::Unlimited => {}
        Lifetime::Ttl(secs) => {
            set.insert(headers::STREAM_TTL, respond::number(secs));
        }
        Lifetime::ExpiresAt(at) => {
            if let Ok(at) = HeaderValue::try_from(headers::format_timestamp(at)) {
                set.insert(headers::STREAM_EXPIRES_AT, at);
            }
        }
    }
    let retention = metadata.retention.unwrap_or_default();
    if let Some(secs) = retention.max_age_secs {
        set.insert(headers::STREAM_RETENTION_AGE, respond::number(secs));
    }
    if let Some(bytes) = retention.max_bytes {
        set.insert(headers::STREAM_RETENTION_BYTES, respond::number(bytes));
    }
    if metadata.earliest.position > 0 {
        set.insert(headers::STREAM_EARLIEST_OFFSET, respond::offset(metadata.earliest));
    }
    if !metadata.lives.is_empty() {
        let lives: Vec<String> = metadata.lives.iter().map(Offset::to_string).collect();
        set.insert(headers::STREAM_LIVES, respond::text(&lives.join(",")));
    }
    Ok(response)
}
