//! The route table: one row for each operation over HTTP, and the lookup that everything shares.
//!
//! The gate, the dispatch, `Allow`, CORS, metrics, the access log, the embedding router, `explain`
//! and the hostile-request tests read it.

mod lookup;
mod route;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use lookup::{Found, Missing, allowed_methods, find, mount_points, parameters, server_paths};
pub(crate) use route::{Access, Operation, Path, Route};
pub(crate) use table::{COMMON_REQUEST_HEADERS, COMMON_RESPONSE_HEADERS, HEALTHZ, METRICS, READYZ, ROUTES, UP};

/// Labels in metrics and the access log of requests that have no row.
pub(crate) mod labels {
    /// There is no such path or method, or the path does not name a stream.
    pub(crate) const NONE: &str = "none";
    /// The gate refused the request.
    pub(crate) const REFUSED: &str = "refused";
    /// The data directory is still held by another process.
    pub(crate) const WAITING: &str = "waiting";
    /// The server that took over the data directory answers.
    pub(crate) const FORWARDED: &str = "forwarded";
}
