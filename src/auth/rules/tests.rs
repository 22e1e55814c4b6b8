use super::*;

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn holder(read: bool, write: bool) -> Arc<Verified> {
    let stream = name("a/b");
    let principal = Principal::Client {
        stream,
        read,
        write,
        identity: None,
    };
    Arc::new(Verified::new(principal, 100))
}

const ALL: [Operation; 11] = [
    Operation::Create,
    Operation::Fork,
    Operation::Append,
    Operation::AppendAndClose,
    Operation::Close,
    Operation::Read,
    Operation::Metadata,
    Operation::Delete,
    Operation::List,
    Operation::Subscriptions,
    Operation::Metrics,
];

#[test]
fn a_client_reaches_what_the_table_gives_it_on_its_own_stream() {
    for (read, write) in [(false, false), (true, false), (false, true), (true, true)] {
        for operation in ALL {
            let expected = match operation {
                Operation::Read | Operation::Metadata => read,
                Operation::Append => write,
                _ => false,
            };
            let permit = authorize(&holder(read, write), operation, Some(&name("a/b")));
            assert_eq!(permit.is_ok(), expected, "{operation} read={read} write={write}");
            for other in [Some(name("a/B")), Some(name("a/b/")), Some(name("a")), None] {
                assert!(authorize(&holder(read, write), operation, other.as_ref()).is_err());
            }
        }
    }
}

#[test]
fn a_server_reaches_everything() {
    let server = Arc::new(Verified::new(Principal::Server { name: None }, 100));
    for operation in ALL {
        assert!(authorize(&server, operation, Some(&name("x"))).is_ok());
        assert!(authorize(&server, operation, None).is_ok());
    }
}

#[test]
fn another_stream_is_said_before_a_missing_permission() {
    let denied = authorize(&holder(false, false), Operation::Read, Some(&name("x"))).unwrap_err();
    assert_eq!(denied, Denied::OtherStream);
    let denied = authorize(&holder(false, true), Operation::Read, Some(&name("a/b"))).unwrap_err();
    assert_eq!(
        denied.to_string(),
        "read needs the permission \"read\", which the token does not have"
    );
}

#[test]
fn appending_and_closing_covers_both() {
    assert!(Operation::AppendAndClose.covers(Operation::Close));
    assert!(Operation::AppendAndClose.covers(Operation::Append));
    assert!(!Operation::Append.covers(Operation::Close));
    assert!(!Operation::Close.covers(Operation::AppendAndClose));
}
