//! Finding a request's row in the route table.

use http::{HeaderMap, Method};

use super::{
    route::{Operation, Path, Route},
    table::ROUTES,
};
use crate::{
    problems::{self, ProblemKind},
    protocol::{NameError, StreamName, name::RESERVED_SEGMENT},
};

/// A request's row, and the stream that its path names.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) route: &'static Route,
    /// `None` for an operation that is not about one stream.
    pub(crate) stream: Option<Result<StreamName, NameError>>,
}

/// Why a request has no row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    #[error("nothing is served at this path")]
    Path,
    /// `allowed` has the form of `Allow`.
    #[error("this path supports the methods {allowed}")]
    Method { allowed: String },
}

impl Missing {
    /// The kind of its error response.
    pub(crate) fn kind(&self) -> &'static ProblemKind {
        match self {
            Self::Path => &problems::NO_SUCH_PATH,
            Self::Method { .. } => &problems::METHOD,
        }
    }
}

/// A path, divided by where it points. Paths are compared as they were sent: an encoded spelling
/// of a server path is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Location<'p> {
    Server(&'p str),
    Reserved(&'p str),
    Stream(&'p str),
}

/// The parts of a reserved path that its row leaves open, as they were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Parameters<'p> {
    /// `{id}`
    pub(crate) id: &'p str,
    /// `{*path}`
    pub(crate) path: &'p str,
}

impl<'p> Parameters<'p> {
    /// The parameters of a path below the reserved segment; `None` if the pattern does not match.
    fn of(pattern: &str, asked: &'p str) -> Option<Self> {
        let (mut found, mut rest) = (Self::default(), Some(asked));
        for expected in pattern.split('/') {
            let left = rest?;
            if expected == "{*path}" && !left.is_empty() {
                found.path = left;
                rest = None;
                continue;
            }
            let (segment, after) = match left.split_once('/') {
                Some((segment, after)) => (segment, Some(after)),
                None => (left, None),
            };
            match expected {
                "{id}" if !segment.is_empty() => found.id = segment,
                literal if literal == segment => {}
                _ => return None,
            }
            rest = after;
        }
        rest.is_none().then_some(found)
    }
}

/// The parameters of a request to a row with a reserved path.
pub(crate) fn parameters<'p>(route: &Route, path: &'p str, base: &str) -> Parameters<'p> {
    match (Location::of(path, base), route.path) {
        (Some(Location::Reserved(asked)), Path::Reserved(pattern)) => {
            Parameters::of(pattern, asked).unwrap_or_default()
        }
        _ => Parameters::default(),
    }
}

/// Finds the row of a request. `base` is the base path without a slash at its end.
pub(crate) fn find(method: &Method, path: &str, base: &str, headers: &HeaderMap) -> Result<Found, Missing> {
    if method == Method::OPTIONS {
        // Wherever it is asked: the browser learns from the request itself that a path is missing.
        return preflight();
    }
    let location = Location::of(path, base).ok_or(Missing::Path)?;
    let route = ROUTES
        .iter()
        .find(|route| location.is(route.path) && route.methods.contains(method) && (route.when)(headers));
    let Some(route) = route else {
        return Err(location.missing());
    };
    let stream = match location {
        Location::Stream(name) => Some(StreamName::from_path(name)),
        Location::Server(_) | Location::Reserved(_) => None,
    };
    Ok(Found { route, stream })
}

fn preflight() -> Result<Found, Missing> {
    let mut routes = ROUTES.iter();
    let route = routes.find(|route| route.operation == Operation::Preflight);
    route.map(|route| Found { route, stream: None }).ok_or(Missing::Path)
}

impl<'p> Location<'p> {
    fn of(path: &'p str, base: &str) -> Option<Self> {
        // First: an empty base path must not hide the server's own paths.
        if server_paths().any(|own| own == path) {
            return Some(Self::Server(path));
        }
        let below = path.strip_prefix(base)?;
        let below = match below.strip_prefix('/') {
            Some(below) => below,
            None if below.is_empty() => "",
            None => return None,
        };
        let (segment, rest) = below.split_once('/').unwrap_or((below, ""));
        Some(if segment == RESERVED_SEGMENT {
            Self::Reserved(rest)
        } else {
            Self::Stream(below)
        })
    }

    fn is(self, path: Path) -> bool {
        match (self, path) {
            (Self::Server(asked), Path::Server(own)) => asked == own,
            (Self::Reserved(asked), Path::Reserved(pattern)) => Parameters::of(pattern, asked).is_some(),
            (Self::Stream(_), Path::Stream) => true,
            _ => false,
        }
    }

    fn missing(self) -> Missing {
        let is_reserved = |name| StreamName::from_path(name) == Err(NameError::Reserved);
        let routes = ROUTES.iter().filter(|route| self.is(route.path));
        let allowed = join_methods(routes);
        match self {
            Self::Stream(name) if is_reserved(name) => Missing::Path,
            _ if allowed.is_empty() => Missing::Path,
            _ => Missing::Method { allowed },
        }
    }
}

/// The paths of the server itself.
pub(crate) fn server_paths() -> impl Iterator<Item = &'static str> {
    ROUTES.iter().filter_map(|route| match route.path {
        Path::Server(path) => Some(path),
        Path::Reserved(_) | Path::Stream => None,
    })
}

/// Every path that the server answers, as patterns for axum's router.
pub(crate) fn mount_points(base: &str) -> impl Iterator<Item = String> {
    let below = [format!("{base}/"), format!("{base}/{{*name}}")];
    server_paths().map(str::to_owned).chain(below)
}

/// Every method of the table, in the form of `Access-Control-Allow-Methods`.
pub(crate) fn allowed_methods() -> String {
    join_methods(ROUTES.iter())
}

fn join_methods(routes: impl Iterator<Item = &'static Route>) -> String {
    let mut methods: Vec<&str> = Vec::new();
    for method in routes.flat_map(|route| route.methods) {
        if !methods.contains(&method.as_str()) {
            methods.push(method.as_str());
        }
    }
    methods.join(", ")
}
