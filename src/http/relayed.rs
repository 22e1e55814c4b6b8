//! Requests that the next holder answers, as long as this server runs.

use std::pin::Pin;

use axum::body::Body;
use futures_util::stream;
use http::{Method, Response, header, request::Parts};
use http_body_util::BodyExt as _;

use super::{App, Problem, forward, query::ReadQuery, sse};
use crate::problems;

/// The turn of a live read to end, when this server stops.
type Turn = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Has the next holder answer a request. A live read ends in time when this server stops, as those
/// do that began here.
pub(super) async fn forward(app: &App, parts: &Parts, body: Body) -> Result<Response<Body>, Problem> {
    let answer = forward::forward(app, parts, body);
    if !is_live_read(parts) {
        return answer.await;
    }
    let (stopping, tenure) = (app.clone(), app.phase().tenure());
    let mut turn: Turn = Box::pin(async move { stopping.turn_to_leave(&tenure).await });
    let response = tokio::select! {
        answer = answer => answer?,
        () = turn.as_mut() => return Err(Problem::new(&problems::STOPPING, "the server is stopping; try again")),
    };
    let content_type = response.headers().get(header::CONTENT_TYPE);
    Ok(match content_type.is_some_and(|kind| kind == sse::CONTENT_TYPE) {
        true => response.map(|body| until(turn, app.clone(), body)),
        false => response,
    })
}

fn is_live_read(parts: &Parts) -> bool {
    let query = || ReadQuery::parse(parts.uri.query());
    parts.method == Method::GET && query().is_ok_and(|query| query.live.is_some())
}

fn until(turn: Turn, app: App, body: Body) -> Body {
    let events = stream::unfold(Some((body, turn)), move |open| {
        let app = app.clone();
        async move {
            let (mut body, mut turn) = open?;
            loop {
                let frame = tokio::select! {
                    biased;
                    () = turn.as_mut() => return Some((Ok(sse::retry_after_stop(app.random())), None)),
                    frame = body.frame() => frame?,
                };
                match frame.map(http_body::Frame::into_data) {
                    Ok(Ok(data)) => return Some((Ok(data), Some((body, turn)))),
                    Ok(Err(_)) => {}
                    Err(error) => return Some((Err(error), None)),
                }
            }
        }
    });
    Body::from_stream(events)
}
