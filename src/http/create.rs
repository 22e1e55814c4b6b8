//! `PUT`: create, and fork (sections 4.2 and 5.1).

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};

use super::{App, Problem, body, forward, respond, stream};
use crate::{
    auth::Permit,
    engine::{CreateRequest, ForkRequest},
    protocol::{BadInput, StreamName, headers, history},
    proxy::Origin,
};

pub(super) async fn handle(app: &App, permit: &Permit, parts: &Parts, body: Body) -> Result<Response<Body>, Problem> {
    let name = stream(permit)?;
    let content_type = headers::content_type(&parts.headers)?;
    let lifetime = headers::lifetime(&parts.headers)?;
    let retention = headers::retention(&parts.headers)?;
    let fork = match headers::fork(&parts.headers)? {
        Some(fork) => Some(ForkRequest {
            source: source_name(app.base(), below_host(parts, fork.from))?,
            offset: fork.offset,
            sub_offset: fork.sub_offset,
        }),
        None => None,
    };
    let received = body::receive(app, permit, parts, body).await?;
    let Ok(engine) = app.running() else {
        return forward::forward(app, parts, received.bytes.into()).await;
    };
    let request = CreateRequest {
        content_type,
        lifetime,
        retention,
        closed: headers::is_closing(&parts.headers),
        body: received.bytes,
        fork,
        past: history::parse(&parts.headers)?,
    };
    let created = engine.create(name, request).await?;
    drop(engine);

    let mut response = respond::empty(if created.new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    });
    let set = response.headers_mut();
    set.insert(header::CONTENT_TYPE, respond::content_type(&created.content_type));
    set.insert(headers::STREAM_NEXT_OFFSET, respond::offset(created.tail));
    respond::set_closed(set, created.closed);
    if created.new
        && let Some(location) = location(app, parts)
    {
        set.insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Removes the prefix that an embedding application nests this router below.
fn below_host<'p>(parts: &Parts, path: &'p str) -> &'p str {
    let original = parts.extensions.get::<axum::extract::OriginalUri>();
    let nested = original.and_then(|original| original.0.path().strip_suffix(parts.uri.path()));
    nested.and_then(|nested| path.strip_prefix(nested)).unwrap_or(path)
}

/// Reads `Stream-Forked-From`, a path of this server that includes the base.
fn source_name(base: &str, path: &str) -> Result<StreamName, BadInput> {
    let bad = |reason: String| headers::bad(&headers::STREAM_FORKED_FROM, reason);
    let below = path.strip_prefix(base).and_then(|rest| rest.strip_prefix('/'));
    let below = below.ok_or_else(|| {
        bad(format!(
            "must be the path of a stream on this server, such as {base}/name"
        ))
    })?;
    StreamName::from_path(below).map_err(|error| bad(error.to_string()))
}

/// The new stream's URL: absolute if the host is configured or trusted, else its path
/// (RFC 9110 section 10.2.2).
fn location(app: &App, parts: &Parts) -> Option<HeaderValue> {
    let original = parts.extensions.get::<axum::extract::OriginalUri>();
    let path = original.map_or(parts.uri.path(), |original| original.0.path());
    let trusted = || {
        let origin = parts.extensions.get::<Origin>();
        origin.map_or_else(String::new, |origin| origin.base_url(&parts.uri, &parts.headers))
    };
    let base = app.settings().origin.clone().unwrap_or_else(trusted);
    HeaderValue::try_from(format!("{base}{path}")).ok()
}
