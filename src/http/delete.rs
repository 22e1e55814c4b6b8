//! `DELETE` (section 5.4).

use axum::body::Body;
use http::{Response, StatusCode};

use super::{App, Problem, respond, stream};
use crate::auth::Permit;

pub(super) async fn handle(app: &App, permit: &Permit) -> Result<Response<Body>, Problem> {
    app.running()?.delete(stream(permit)?).await?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}
