//! The service that a listener serves.

use std::convert::Infallible;

use axum::body::Body;
use http::{Request, Response};

/// A service that can be served, such as an `axum::Router`. It is cloned for each request.
pub trait HttpService:
    tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Unpin
    + 'static
{
}

impl<S> HttpService for S where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Unpin
        + 'static
{
}
