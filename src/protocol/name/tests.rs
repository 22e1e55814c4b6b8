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
    assert_eq!(name("GID:/app"), Ok("GID:/app".into()));
    assert_eq!(name("gid:/"), Ok("gid:/".into()));
}

#[test]
fn what_is_not_a_name_is_refused_with_the_reason() {
    for (text, error) in [
        ("", NameError::Empty),
        ("a%00b", NameError::Control),
        ("a%0Ab", NameError::Control),
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
    ] {
        assert_eq!(name(text), Err(error), "{text}");
    }
    assert_eq!(name(&"a".repeat(MAX_NAME_BYTES)).map(|n| n.len()), Ok(MAX_NAME_BYTES));
    assert_eq!(name(&"a".repeat(MAX_NAME_BYTES + 1)), Err(NameError::TooLong));
}
