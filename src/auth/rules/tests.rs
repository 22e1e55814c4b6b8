use super::*;
use crate::routes::ROUTES;

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

fn route(operation: Operation) -> &'static Route {
    ROUTES.iter().find(|route| route.operation == operation).unwrap()
}

/// The operations that a client token reaches, repeated here to catch a slip in the route table.
fn client_reaches(operation: Operation, read: bool, write: bool) -> bool {
    match operation {
        Operation::Read | Operation::Metadata => read,
        Operation::Append => write,
        Operation::Preflight | Operation::Alive | Operation::Ready | Operation::SigningKeys => true,
        // For these the gate asks nothing: their own tokens are verified by the subscription.
        Operation::SubscriptionAck | Operation::SubscriptionRelease | Operation::SubscriptionCallback => true,
        Operation::AppendAndClose
        | Operation::Close
        | Operation::Create
        | Operation::Fork
        | Operation::Delete
        | Operation::List
        | Operation::SubscriptionCreate
        | Operation::SubscriptionRead
        | Operation::SubscriptionDelete
        | Operation::SubscriptionList
        | Operation::SubscriptionAddStreams
        | Operation::SubscriptionRemoveStream
        | Operation::SubscriptionPause
        | Operation::SubscriptionResume
        | Operation::SubscriptionClaim
        | Operation::Metrics => false,
    }
}

#[test]
fn a_client_reaches_only_reads_and_appends_of_its_own_stream() {
    for (read, write) in [(false, false), (true, false), (false, true), (true, true)] {
        for route in ROUTES {
            let expected = client_reaches(route.operation, read, write);
            let permit = authorize(&holder(read, write), route, Some(&name("a/b")));
            assert_eq!(permit.is_ok(), expected, "{} read={read} write={write}", route.name);
            if matches!(route.access, Access::Everyone | Access::Wake) {
                continue;
            }
            for other in [Some(name("a/B")), Some(name("a/b/")), Some(name("a")), None] {
                assert!(authorize(&holder(read, write), route, other.as_ref()).is_err());
            }
        }
    }
}

#[test]
fn a_server_reaches_everything() {
    let server = Arc::new(Verified::new(Principal::Server { name: None }, 100));
    for route in ROUTES {
        assert!(authorize(&server, route, Some(&name("x"))).is_ok());
        assert!(authorize(&server, route, None).is_ok());
    }
}

#[test]
fn only_health_preflights_and_keys_need_no_token_of_the_gate() {
    for route in ROUTES {
        let open = matches!(
            route.operation,
            Operation::Preflight
                | Operation::Alive
                | Operation::Ready
                | Operation::SigningKeys
                | Operation::SubscriptionAck
                | Operation::SubscriptionRelease
                | Operation::SubscriptionCallback
        );
        let inside = open || route.operation == Operation::Metrics;
        assert_eq!(Permit::without_token(route, false).is_some(), open, "{}", route.name);
        assert_eq!(Permit::without_token(route, true).is_some(), inside, "{}", route.name);
    }
}

#[test]
fn another_stream_is_reported_before_a_missing_permission() {
    let read = route(Operation::Read);
    let denied = authorize(&holder(false, false), read, Some(&name("x"))).unwrap_err();
    assert_eq!(denied, Denied::OtherStream);
    let denied = authorize(&holder(false, true), read, Some(&name("a/b"))).unwrap_err();
    assert_eq!(
        denied.to_string(),
        "read needs the permission \"read\", which the token does not have"
    );
}
