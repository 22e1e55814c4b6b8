//! Subscriptions over HTTP (sections 6 and 7).

mod input;
mod output;

use std::sync::Arc;

use axum::{body::Body, extract::OriginalUri};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use serde::Serialize;

use super::{App, Problem, body, caching, forward, respond};
use crate::{
    auth::{Permit, candidates},
    problems,
    protocol::{BadInput, name::RESERVED_SEGMENT},
    proxy::Origin,
    routes::{self, Operation},
    subscriptions::{AckError, Holder, Subscriptions, TokenError},
};

/// A request to create a subscription, or to add streams.
const MAX_DEFINITION_BYTES: u64 = 1024 * 1024;
/// A request of a worker.
const MAX_WORK_BYTES: u64 = 256 * 1024;
const JWK_SET: HeaderValue = HeaderValue::from_static("application/jwk-set+json");
const JWK_SET_CACHING: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// Parses a body as every request would.
#[cfg(any(test, fuzzing))]
pub(super) fn parse_as_all(body: &[u8]) {
    let _ = input::Definition::parse(body);
    let _ = input::streams(body);
    let _ = input::worker(body);
    let _ = input::Work::parse(body);
}

/// Requests that need a server token, except claims.
pub(super) async fn manage(app: &App, permit: &Permit, parts: &Parts, body: Body) -> Result<Response<Body>, Problem> {
    coded(answer_manage(app, permit, parts, body).await)
}

/// Requests of workers.
pub(super) async fn work(app: &App, permit: &Permit, parts: &Parts, body: Body) -> Result<Response<Body>, Problem> {
    coded(answer_work(app, permit, parts, body).await)
}

/// `jwks.json` (section 6.5).
pub(super) async fn keys(app: &App) -> Result<Response<Body>, Problem> {
    let _running = app.running()?;
    let mut response = Response::new(Body::from(served(app)?.jwks().await?));
    let set = response.headers_mut();
    set.insert(header::CONTENT_TYPE, JWK_SET);
    set.insert(header::CACHE_CONTROL, JWK_SET_CACHING);
    Ok(response)
}

/// Gives refusals of malformed requests the code that clients of subscriptions look for.
fn coded(result: Result<Response<Body>, Problem>) -> Result<Response<Body>, Problem> {
    result.map_err(|problem| match problem.is_bad_request() {
        true => problem.coded("INVALID_REQUEST"),
        false => problem,
    })
}

fn served(app: &App) -> Result<Arc<Subscriptions>, Problem> {
    let disabled = "subscriptions are disabled on this server (subscriptions.enabled)";
    app.subscriptions()
        .ok_or_else(|| Problem::new(&problems::SUBSCRIPTIONS_DISABLED, disabled))
}

async fn answer_manage(app: &App, permit: &Permit, parts: &Parts, body: Body) -> Result<Response<Body>, Problem> {
    let received = match permit.route().takes_body {
        true => {
            body::receive_up_to(app, permit, parts, body, MAX_DEFINITION_BYTES)
                .await?
                .bytes
        }
        false => Bytes::new(),
    };
    let running = match app.running() {
        Ok(running) => running,
        Err(_) if permit.route().takes_body => return forward::forward(app, parts, received.into()).await,
        Err(starting) => return Err(starting),
    };
    let subscriptions = served(app)?;
    let route = routes::parameters(permit.route(), parts.uri.path(), app.base());
    if permit.operation() == Operation::SubscriptionList {
        let query = input::ListQuery::parse(parts.uri.query())?;
        let (views, has_more) = subscriptions.list(query.after.as_deref(), query.limit).await?;
        return json(StatusCode::OK, &output::list(&views, has_more));
    }
    let id = &*input::decoded("subscription id", route.id)?;
    let response = match permit.operation() {
        Operation::SubscriptionCreate => {
            let new = input::Definition::parse(&received)?;
            let root_url = root_url(app, parts)?;
            let (is_new, view) = subscriptions.create(id, new.definition, new.streams, root_url).await?;
            let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
            json(status, &output::show(&view))
        }
        Operation::SubscriptionRead => json(StatusCode::OK, &output::show(&subscriptions.read(id).await?)),
        Operation::SubscriptionDelete => {
            subscriptions.delete(id).await?;
            Ok(respond::empty(StatusCode::NO_CONTENT))
        }
        Operation::SubscriptionAddStreams => {
            subscriptions.add_streams(id, input::streams(&received)?).await?;
            Ok(respond::empty(StatusCode::NO_CONTENT))
        }
        Operation::SubscriptionRemoveStream => {
            let path = input::decoded("stream", route.path)?;
            subscriptions
                .remove_stream(id, &input::stream("stream", &path)?)
                .await?;
            Ok(respond::empty(StatusCode::NO_CONTENT))
        }
        paused => {
            let is_paused = paused == Operation::SubscriptionPause;
            let view = subscriptions.set_paused(id, is_paused).await?;
            json(StatusCode::OK, &output::show(&view))
        }
    };
    drop(running);
    response
}

async fn answer_work(app: &App, permit: &Permit, parts: &Parts, body: Body) -> Result<Response<Body>, Problem> {
    let route = routes::parameters(permit.route(), parts.uri.path(), app.base());
    let id = input::decoded("subscription id", route.id);
    if permit.operation() == Operation::SubscriptionClaim {
        let received = body::receive_up_to(app, permit, parts, body, MAX_WORK_BYTES)
            .await?
            .bytes;
        let Ok(_running) = app.running() else {
            return forward::forward(app, parts, received.into()).await;
        };
        let worker = input::worker(&received)?;
        let claimed = served(app)?.claim(&id?, &worker).await?;
        return json(StatusCode::OK, &output::claimed(&claimed));
    }
    // Identity comes first: nothing of the body is read without a token that was issued for the
    // subscription.
    let Ok(running) = app.running() else {
        return forward::forward(app, parts, body).await;
    };
    let subscriptions = served(app)?;
    let token = token(&parts.headers);
    let holder = holder(app, parts, &subscriptions, id.as_deref().unwrap_or_default(), &token).await?;
    drop(running);
    let received = body::receive_up_to(app, permit, parts, body, MAX_WORK_BYTES)
        .await?
        .bytes;
    let Ok(_running) = app.running() else {
        return forward::forward(app, parts, received.into()).await;
    };
    act(&subscriptions, permit.operation(), &holder, &received).await
}

/// The holder of a token. A client whose tokens keep failing is throttled, because each may cost a
/// question to the store.
async fn holder(
    app: &App,
    parts: &Parts,
    subscriptions: &Subscriptions,
    id: &str,
    token: &str,
) -> Result<Holder, Problem> {
    if let Some(holder) = subscriptions.known_holder(id, token) {
        return Ok(holder);
    }
    let charge = app.gate().charge_wake_token(parts)?;
    let found = subscriptions.holder(id, token).await;
    if !matches!(found, Err(TokenError::Invalid)) {
        charge.refund();
    }
    Ok(found?)
}

async fn act(
    subscriptions: &Subscriptions,
    operation: Operation,
    holder: &Holder,
    received: &Bytes,
) -> Result<Response<Body>, Problem> {
    let request = input::Work::parse(received)?;
    let (wake, acks, done) = (&request.wake, &request.acks, request.done);
    let next_wake: Result<bool, AckError> = match operation {
        Operation::SubscriptionRelease => {
            subscriptions.release(holder, wake).await?;
            return Ok(respond::empty(StatusCode::NO_CONTENT));
        }
        Operation::SubscriptionCallback => subscriptions.call_back(holder, wake, acks, done).await,
        _ => subscriptions.ack(holder, wake, acks, done).await,
    };
    json(StatusCode::OK, &output::acknowledged(next_wake?))
}

/// The token of a wake, which comes in the header only: URLs are logged (section 12.9).
fn token(headers: &HeaderMap) -> String {
    let found = candidates(None, headers).ok().and_then(|mut tokens| tokens.pop());
    found.map(std::borrow::Cow::into_owned).unwrap_or_default()
}

/// The URL of the root of the streams, for receivers and workers.
fn root_url(app: &App, parts: &Parts) -> Result<String, BadInput> {
    let settings = app.settings();
    let configured = settings.subscriptions_url.clone().or_else(|| settings.origin.clone());
    let asked = || {
        let origin = parts.extensions.get::<Origin>()?;
        origin.asked_url(&parts.uri, &parts.headers)
    };
    let origin = configured.or_else(asked).ok_or_else(|| {
        let reason = "is missing, and subscriptions.public_url is not set: the URL for callbacks is unknown";
        BadInput::new("Host", reason)
    })?;
    let original = parts.extensions.get::<OriginalUri>();
    let path = original.map_or(parts.uri.path(), |original| original.0.path());
    let base = path
        .find(&format!("/{RESERVED_SEGMENT}/"))
        .and_then(|at| path.get(..at));
    Ok(format!(
        "{}{}",
        origin.trim_end_matches('/'),
        base.unwrap_or(app.base())
    ))
}

fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>, Problem> {
    let body = serde_json::to_vec(value).map_err(|error| Problem::bad("response", &error.to_string()))?;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let set = response.headers_mut();
    set.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    set.insert(header::CACHE_CONTROL, caching::NO_STORE);
    Ok(response)
}
