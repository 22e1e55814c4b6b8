//! The published list of problem codes is the one that responses are built from.

use std::{collections::HashSet, fmt::Write, fs, path::Path};

use super::kinds::{ALL, Retry};

const PAGE: &str = "docs/problems.md";

/// Set to rewrite generated files instead of comparing them.
const UPDATE: &str = "UPDATE_GENERATED";

const HEAD: &str = "\
# Problem codes

Every error response is a problem document (RFC 9457, `application/problem+json`):

    {\"type\":\"urn:durable-streams:problem:closed\",\"title\":\"Conflict\",\"status\":409,
     \"detail\":\"the stream is closed\",\"request_id\":\"3f9c0a52b1d84e67\"}

Match on the code, which is the last part of `type`. `detail` is for people and may change. `request_id`
is also in `X-Request-Id` and in the server's log; the listener's own responses have none.

The column Retry says whether the same request can succeed later: \"no\" means not before the request or the
stream has changed, \"yes\" means at any time, and \"after delay\" means after the seconds in `Retry-After`.

This page is generated from `src/problems/kinds.rs` by
`UPDATE_GENERATED=1 cargo test --lib problems`.

| status | code | retry | meaning |
|---|---|---|---|
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for kind in ALL {
        let retry = match kind.retry {
            Retry::No => "no",
            Retry::Yes => "yes",
            Retry::AfterDelay => "after delay",
        };
        let (status, code, meaning) = (kind.status.as_u16(), kind.code, kind.meaning);
        writeln!(page, "| {status} | `{code}` | {retry} | {meaning} |").unwrap();
    }
    page
}

#[test]
fn the_page_of_problem_codes_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, page()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "{PAGE} is stale; run `{UPDATE}=1 cargo test --lib problems`"
    );
}

#[test]
fn every_code_is_declared_once_and_by_status() {
    let codes: HashSet<_> = ALL.iter().map(|kind| kind.code).collect();
    assert_eq!(codes.len(), ALL.len());
    assert!(ALL.iter().map(|kind| kind.status.as_u16()).is_sorted());
}

#[test]
fn a_problem_that_asks_for_a_delay_is_429_or_503() {
    for kind in ALL {
        let delays = matches!(kind.status.as_u16(), 429 | 503);
        assert_eq!(kind.retry == Retry::AfterDelay, delays, "{}", kind.code);
    }
}
