//! What becomes of the directory when a server of a handover fails.

use std::{os::unix::net::UnixListener, thread, time::Duration};

use super::support::{
    http::Request,
    live::Event,
    namespaces, now,
    server::{BASE, Server, Setup},
    storage::{MODES, on_disk, socket},
    until,
};

/// A server that has taken the directory over.
#[track_caller]
fn take_over(setup: &Setup, from: &Server) -> Server {
    let next = setup.launch();
    let content = next.content("s");
    from.log.wait_for("handed the data directory over");
    assert_eq!(from.content("s"), content);
    next
}

#[test]
fn the_former_holder_serves_again_when_its_successor_is_killed() {
    for mode in MODES {
        let setup = on_disk(mode);
        let first = setup.start();
        first.text_stream("s", "a");
        let second = take_over(&setup, &first);
        second.post("s").text("b").send().expect(204);
        second.kill();
        // They wait for it.
        assert_eq!(first.content("s"), "ab", "{mode}");
        first.post("s").text("c").send().expect(204);
        first.log.wait_for("serving again");
        first.raw("GET", "/readyz").send().expect(200);
        // It is a holder as any other.
        let third = take_over(&setup, &first);
        third.post("s").text("d").send().expect(204);
        assert_eq!(first.content("s"), "abcd", "{mode}");
        third.stop();
        first.stop();
        assert_eq!(setup.start().content("s"), "abcd", "{mode}");
    }
}

#[test]
fn a_deploy_that_is_rolled_back_leaves_the_directory_to_the_former_holder() {
    let setup = on_disk("acid");
    let first = setup.start();
    let offset = first.text_stream("s", "a");
    let second = take_over(&setup, &first);
    second.post("s").text("b").send().expect(204);
    second.stop();
    first.log.wait_for("serving again");
    first.post("s").text("c").send().expect(204);
    // Live reads are its own again.
    let mut reader = first.sse("s", &offset);
    assert_eq!(reader.data(), "bc");
    first.post("s").text("d").send().expect(204);
    assert_eq!(reader.data(), "d");
    let log = first.log.clone();
    first.stop();
    assert!(matches!(reader.remainder().last(), Some(Event::Retry(_))));
    assert_eq!(log.find("connections that did not end in time"), None);
}

#[test]
fn a_successor_that_cannot_open_the_store_leaves_it_to_the_former_holder() {
    let setup = on_disk("file-durable");
    let first = setup.start();
    first.text_stream("s", "a");
    // It alone sees an index that is none.
    let garbage = setup.dir.path().join("garbage");
    std::fs::write(&garbage, [7; 8192]).unwrap();
    let index = setup.data_dir().join("index.redb");
    let script = format!("mount --bind {} {}", garbage.display(), index.display());
    let mut failing = setup.spawn_with(namespaces::command(&setup, "-m", &script));
    failing.log.wait_for("registered with the holder");
    let to = failing.public;
    let wanting = thread::spawn(move || drop(Request::new(to, "GET", &format!("{BASE}/s")).try_send()));
    first.log.wait_for("handed the data directory over");
    // These requests wait meanwhile.
    first.post("s").text("b").send().expect(204);
    assert_eq!(first.content("s"), "ab");
    assert_eq!(failing.wait().code(), Some(1));
    wanting.join().unwrap();
    first.log.wait_for("serving again");
}

/// The connection of the new server ends before it is registered.
#[test]
fn a_holder_that_is_killed_while_the_next_server_registers_costs_nothing() {
    let setup = on_disk("acid");
    let mut first = setup.start();
    first.text_stream("s", "a");
    std::fs::remove_file(socket(&setup)).unwrap();
    let registry = UnixListener::bind(socket(&setup)).unwrap();
    let second = setup.launch();
    let mut waiting = second.get("s").open();
    drop(registry.accept().unwrap());
    drop(registry);
    first.signal("KILL");
    first.wait();
    assert_eq!(waiting.answer().expect(200).text(), "a");
}

#[test]
fn a_server_that_stops_does_not_take_the_directory_back() {
    let setup = on_disk("acid").with("shutdown.delay_secs", 2);
    let first = setup.start();
    first.text_stream("s", "a");
    let second = take_over(&setup, &first);
    first.signal("TERM");
    first.log.wait_for("stopping");
    second.kill();
    let third = setup.start();
    assert_eq!(third.content("s"), "a");
    assert_eq!(first.log.find("taking it back"), None);
}

/// Kills the old or the new server at a random moment of their handover, again and again.
#[test]
fn a_crash_of_either_loses_and_doubles_nothing() {
    let mut random = std::env::var("DS_TEST_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap());
    println!("DS_TEST_SEED={random}");
    let mut below = move |limit: u64| {
        // Knuth's linear congruential generator.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % limit
    };
    for mode in MODES {
        let setup = on_disk(mode);
        let mut holder = setup.start();
        holder.text_stream("s", "");
        for round in 0..6 {
            let append = |server: &Server| {
                server
                    .post("s")
                    .producer("p", 0, round)
                    .text(&format!("{round},"))
                    .try_send()
            };
            let next = setup.launch();
            let wake = next.get("s");
            holder = thread::scope(|scope| {
                scope.spawn(move || drop(wake.try_send()));
                scope.spawn(|| drop(append(&holder)));
                thread::sleep(Duration::from_millis(below(120)));
                let victim = if below(2) == 0 { &holder } else { &next };
                victim.signal("KILL");
                if victim.pid() == next.pid() {
                    // The supervisor starts another server.
                    let other = setup.launch();
                    until("the other to serve", || {
                        append(&other).is_ok_and(|answer| answer.status < 300)
                    });
                    return Some(other);
                }
                None
            })
            .unwrap_or(next);
            until("the append", || append(&holder).is_ok_and(|answer| answer.status < 300));
            let expected: String = (0..=round).map(|number| format!("{number},")).collect();
            assert_eq!(holder.content("s"), expected, "{mode}");
        }
    }
}
