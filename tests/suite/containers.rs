//! Two containers sharing a mounted directory.

use super::support::{namespaces, server::Setup};

/// Separate PID, mount and UTS namespaces.
const CONTAINER: &str = "-mpu";

#[test]
fn the_second_waits_for_the_first_and_takes_over_when_it_is_killed() {
    let setup = Setup::new().acid();
    let named = |name: &str| namespaces::command(&setup, CONTAINER, &format!("hostname {name}"));
    let mut first = setup.spawn_with(named("first"));
    first.log.wait_for("serving");
    first.text_stream("s", "hello");
    let second = setup.spawn_with(named("second"));
    let waiting = second.log.wait_for("waiting for the data directory");
    // Each is process 1 in its namespace; host names tell them apart.
    assert!(waiting.contains("process 1 on first"), "{waiting}");
    second.raw("GET", "/up").send().expect(200);
    first.post("s").text(", world").send().expect(204);
    first.signal("KILL");
    first.wait();
    second.log.wait_for("took over the data directory");
    second.log.wait_for("serving");
    assert_eq!(second.content("s"), "hello, world");
    second.post("s").text("!").send().expect(204);
    let third = setup.spawn_with(named("third"));
    let waiting = third.log.wait_for("waiting for the data directory");
    assert!(waiting.contains("process 1 on second"), "{waiting}");
    // Asked for the directory, it hands it over across namespaces, and forwards.
    assert_eq!(third.content("s"), "hello, world!");
    second.post("s").text("?").send().expect(204);
    assert_eq!(third.content("s"), "hello, world!?");
}
