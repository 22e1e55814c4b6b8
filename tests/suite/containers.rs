//! Two containers sharing a mounted directory.

use super::support::{
    namespaces,
    server::{Setup, run},
    unprivileged,
};

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

#[test]
fn a_server_under_another_user_id_is_refused_with_both() {
    let setup = Setup::new().acid();
    let first = setup.start();
    first.text_stream("s", "a");
    let other = unprivileged::other_user(&setup);
    let (code, _, error) = run(other);
    assert_eq!(code, 1, "{error}");
    let refusal = error.lines().last().unwrap();
    assert!(
        refusal.contains("it belongs to user 0, and this server runs as user 65534"),
        "{error}"
    );
    assert_eq!(first.content("s"), "a");
}

#[test]
fn root_takes_over_from_another_user_who_can_still_forward() {
    let setup = Setup::new().acid();
    std::fs::create_dir(setup.data_dir()).unwrap();
    std::os::unix::fs::chown(setup.data_dir(), Some(65534), Some(65534)).unwrap();
    let first = setup.spawn_with(unprivileged::other_user(&setup));
    first.log.wait_for("serving");
    first.text_stream("s", "a");
    let second = setup.launch();
    second.post("s").text("b").send().expect(204);
    first.log.wait_for("handed the data directory over");
    first.post("s").text("c").send().expect(204);
    assert_eq!(second.content("s"), "abc");
}
