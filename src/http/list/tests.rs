use super::*;
use crate::{
    engine::Metadata,
    protocol::{Offset, StreamName},
};

fn refused(query: &str) -> String {
    ListQuery::parse(Some(query)).unwrap_err().to_string()
}

#[test]
fn a_query_says_which_streams_and_how_many() {
    let query = ListQuery::parse(None).unwrap();
    assert_eq!((query.prefix.as_str(), query.after, query.limit), ("", None, 100));
    let query = ListQuery::parse(Some("prefix=gid%3A%2F%2Fa&after=gid://a/b+c&limit=1000&token=x")).unwrap();
    assert_eq!((query.prefix.as_str(), query.limit), ("gid://a", 1000));
    assert_eq!(query.after.as_deref(), Some("gid://a/b c"));
}

#[test]
fn a_malformed_parameter_is_refused_by_name() {
    for limit in [
        "0",
        "-1",
        "1001",
        "1000000000",
        "",
        "+5",
        "1.5",
        "99999999999999999999999",
        "ten",
    ] {
        assert!(
            refused(&format!("limit={limit}")).starts_with("limit: must be"),
            "{limit}"
        );
    }
    for parameter in ["prefix", "after"] {
        assert!(refused(&format!("{parameter}=a%0Ab")).starts_with(parameter));
        assert!(refused(&format!("{parameter}=%C2%85")).starts_with(parameter));
        assert!(refused(&format!("{parameter}={}", "a".repeat(1025))).starts_with(parameter));
        assert!(refused(&format!("{parameter}=a&{parameter}=a")).contains("more than once"));
        assert!(refused(&format!("{parameter}=%ff")).starts_with("query: is not UTF-8"));
    }
}

#[test]
fn a_page_that_grows_too_large_ends_early_and_says_where_to_continue() {
    let listed = |index: usize| Listed {
        name: StreamName::new(&format!("{index:04}{}", "\"".repeat(1000))).unwrap(),
        metadata: Metadata {
            content_type: "text/plain".into(),
            tail: Offset {
                incarnation: 1,
                position: 7,
            },
            closed: false,
            lifetime: Lifetime::Ttl(60),
            retention: None,
            earliest: Offset::BEGINNING,
            lives: vec![],
        },
        forked_from: None,
    };
    let streams: Vec<_> = (0..1000).map(listed).collect();
    let body = encode(Listing { streams, next: None });
    assert!(body.len() < MAX_PAGE_BYTES + 8192, "{}", body.len());
    let page: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let shown = page["streams"].as_array().unwrap();
    assert!(shown.len() < 1000);
    assert_eq!(page["next"], shown.last().unwrap()["name"]);
    assert_eq!(shown[0]["ttl_seconds"], 60);

    let all = encode(Listing::default());
    assert_eq!(String::from_utf8(all).unwrap(), r#"{"streams":[],"next":null}"#);
}
