use super::*;

fn name(text: &str) -> Result<String, NameError> {
    StreamName::from_path(text).map(|name| name.as_str().to_owned())
}

#[test]
fn a_name_is_decoded_once_and_keeps_its_slashes() {
    assert_eq!(
        name("gid://app/Room/1/messages"),
        Ok("gid://app/Room/1/messages".into())
    );
    assert_eq!(name("gid:%2F%2Fapp%2FRoom/1"), Ok("gid://app/Room/1".into()));
    assert_eq!(name("a//b/"), Ok("a//b/".into()));
    assert_eq!(name("%2541"), Ok("%41".into()));
    assert_eq!(name("caf%C3%A9"), Ok("café".into()));
}

#[test]
fn merged_slashes_of_a_gid_are_restored() {
    assert_eq!(name("gid:/app/Room/1"), Ok("gid://app/Room/1".into()));
    assert_eq!(name("gid:/a/1/gid:/a/2"), Ok("gid://a/1/gid://a/2".into()));
    assert_eq!(name("gid:/gid:/x"), Ok("gid://gid://x".into()));
    assert_eq!(name("GID:/app"), Ok("GID:/app".into()));
    assert_eq!(name("agid:/app"), Ok("agid:/app".into()));
    assert_eq!(name("gid:/"), Ok("gid:/".into()));
}

#[test]
fn names_that_differ_in_runs_of_slashes_are_equal() {
    let of = |text: &str| StreamName::new(text).unwrap();
    for spellings in [
        &[
            "gid://app/Room/1",
            "gid:/app/Room/1",
            "gid:///app/Room/1",
            "gid://app//Room///1",
        ][..],
        &["gid://a/1/gid://a/2", "gid:/a/1/gid:/a/2", "gid://a/1//gid:///a/2"],
        &["a/b", "a//b", "a////b"],
        &["a/", "a//"],
        &["/a", "//a"],
        &["/", "//"],
        &["https://x", "https:/x"],
        &["a:/b:/c", "a://b://c", "a:/b:///c"],
        &["a:", "a:"],
        &["é//ü", "é/ü"],
    ] {
        for (one, other) in spellings.iter().zip(spellings.iter().cycle().skip(1)) {
            let (one, other) = (of(one), of(other));
            assert_eq!(one, other);
            assert_eq!(one.key(), other.key());
            assert_eq!(of(one.key()).as_str(), one.key(), "a key is its own spelling");
            assert_eq!(of(one.as_str()).key(), one.key());
        }
    }
    let different = [
        "a", "/a", "a/", "a/b", "ab", "a:b", "a:/b", "a:/", "a:", "/", "gid:x", "gid:/x",
    ];
    let keys: std::collections::HashSet<_> = different.map(of).into_iter().collect();
    assert_eq!(keys.len(), different.len());
    assert_eq!(of("a//b").as_str(), "a//b");
    assert_eq!(serde_json::to_string(&of("a//b")).unwrap(), "\"a//b\"");
}

#[test]
fn the_form_of_a_prefix_is_a_prefix_of_the_form() {
    let alphabet = ['/', ':', 'a'];
    for number in 0..3_u32.pow(8) {
        let text: String = (0..8)
            .map(|at| alphabet[(number / 3_u32.pow(at) % 3) as usize])
            .collect();
        let form = canonical(&text).into_owned();
        assert_eq!(canonical(&form), form);
        assert!(!form.contains("///"), "{form}");
        for end in 0..=text.len() {
            // The following segment decides how many slashes remain at the end.
            let start = canonical(&text[..end]);
            assert!(form.starts_with(&*start), "{text} {start}");
        }
    }
}

#[test]
fn an_invalid_name_is_refused_with_the_reason() {
    for (text, error) in [
        ("", NameError::Empty),
        ("a%00b", NameError::Control),
        ("a%0Ab", NameError::Control),
        ("a%C2%85b", NameError::Control),
        ("a/../b", NameError::DotSegment),
        ("a/%2e%2E/b", NameError::DotSegment),
        (".", NameError::DotSegment),
        ("%ff", NameError::NotUtf8),
        ("%zz", NameError::BadEscape),
        ("100%", NameError::BadEscape),
        ("%4", NameError::BadEscape),
        ("__ds", NameError::Reserved),
        ("__ds/jwks.json", NameError::Reserved),
        ("%5F_ds/x", NameError::Reserved),
        ("/__ds/x", NameError::Reserved),
        ("//__ds", NameError::Reserved),
        ("__ds//jwks.json", NameError::Reserved),
        ("%2F__ds", NameError::Reserved),
        ("a//..//b", NameError::DotSegment),
    ] {
        assert_eq!(name(text), Err(error), "{text}");
    }
    assert_eq!(name(&"a".repeat(MAX_NAME_BYTES)).map(|n| n.len()), Ok(MAX_NAME_BYTES));
    assert_eq!(name(&"a".repeat(MAX_NAME_BYTES + 1)), Err(NameError::TooLong));
}

#[test]
fn restored_and_merged_slashes_count_for_the_length() {
    let a = |count| "a".repeat(count);
    assert!(name(&format!("gid:/{}", a(1018))).is_ok());
    assert_eq!(name(&format!("gid:/{}", a(1019))), Err(NameError::TooLong));
    assert_eq!(name(&format!("b:/{}", a(1021))), Err(NameError::TooLong));
    assert_eq!(name(&format!("{}//{}", a(600), a(423))), Err(NameError::TooLong));
}

#[test]
fn no_request_can_name_the_servers_own_streams() {
    let own = StreamName::internal("subscriptions/s").unwrap();
    assert!(own.is_internal());
    assert_eq!(StreamName::stored("__ds/subscriptions/s"), Ok(own));
    for request in [
        "__ds/subscriptions/s",
        "/__ds/subscriptions/s",
        "//__ds",
        "__ds",
        "%5F_ds/x",
    ] {
        assert_eq!(StreamName::from_path(request), Err(NameError::Reserved), "{request}");
    }
    for never_stored in ["__ds", "__ds/", "/__ds/x"] {
        assert_eq!(
            StreamName::stored(never_stored),
            Err(NameError::Reserved),
            "{never_stored}"
        );
    }
    assert!(!StreamName::new("__dsx/y").unwrap().is_internal());
}
