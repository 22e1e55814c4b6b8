//! The control socket.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink},
};

use super::support::{
    server::Setup,
    storage::{Talk, backs_up, on_copy, on_disk, socket},
};

#[test]
fn the_socket_is_private_and_exists_while_the_server_runs() {
    let setup = on_disk("acid");
    let server = setup.start();
    let metadata = fs::symlink_metadata(socket(&setup)).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    server.stop();
    assert!(!socket(&setup).exists());
    // A stale file in its place is replaced; a symbolic link is not followed.
    let elsewhere = setup.dir.path().join("elsewhere");
    fs::write(&elsewhere, "x").unwrap();
    symlink(&elsewhere, socket(&setup)).unwrap();
    let server = setup.start();
    backs_up(&setup, &setup.dir.path().join("backup"));
    assert_eq!(fs::read(&elsewhere).unwrap(), b"x");
    drop(server);
}

#[test]
fn a_server_without_a_control_socket_still_serves() {
    let setup = on_disk("acid");
    fs::create_dir_all(socket(&setup)).unwrap();
    let server = setup.start();
    let warning = server
        .log
        .wait_for("cannot open the control socket in the data directory");
    assert!(warning.contains("WARN"), "{warning}");
    server.text_stream("s", "x");
    server.stop();
    let memory = Setup::new();
    memory.start().stop();
    assert!(!memory.data_dir().exists());
}

#[test]
fn a_long_data_directory_path_works() {
    let setup = on_disk("acid");
    let deep = setup.dir.path().join("d".repeat(120)).join("e".repeat(120));
    let setup = setup.with("storage.data_dir", deep.display());
    let server = setup.start();
    server.text_stream("s", "x");
    assert!(deep.join("control.sock").exists(), "{}", server.log.text());
    let to = setup.dir.path().join("f".repeat(120));
    backs_up(&setup, &to);
    server.stop();
    assert!(!deep.join("control.sock").exists());
    assert_eq!(on_copy(&setup, &to).start().content("s"), "x");
}

#[test]
fn invalid_requests_on_the_socket_are_refused() {
    let setup = on_disk("acid");
    let server = setup.start();
    server.text_stream("s", "x");
    let to = setup.dir.path().join("backup");
    let long = vec![b'x'; 1 << 20];
    for (said, part) in [
        (&b"\n"[..], "unknown request"),
        (b"{\n", "unknown request"),
        (b"\xff\xfe\0\n", "unknown request"),
        (b"{\"erase\":{}}\n", "unknown request"),
        (b"{\"successor\":{}}\n", "unknown request"),
        (b"{\"backup\":{}}\n", "unknown request"),
        (b"{\"backup\":{\"to\":\"/x\",\"force\":true}}\n", "unknown request"),
        (
            b"{\"backup\":{\"to\":\"relative\"}}\n",
            "relative is not an absolute path",
        ),
        (b"{\"backup\":{\"to\":\"/\"}}\n", "cannot be the name"),
        (b"{\"backup\":{\"to\":\"/a\\u0000b\"}}\n", ""),
        (b"GET / HTTP/1.1\r\n\r\n", "unknown request"),
        (&long, "longer than 16384 bytes"),
    ] {
        let error = Talk::open(&setup).write(said).error();
        assert!(error.contains(part), "{error}");
    }
    // A client that disconnects midway, and more idle clients than there are slots.
    Talk::open(&setup).write(b"{\"backup\"");
    let silent: Vec<Talk> = (0..12).map(|_| Talk::open(&setup)).collect();
    let mut waiting = Talk::open(&setup);
    waiting.ask(&to);
    server.post("s").text("y").send().expect(204);
    assert_eq!(waiting.end()["done"]["streams"], 1);
    for mut talk in silent {
        let error = talk.error();
        assert!(error.contains("no request came within"), "{error}");
    }
    assert_eq!(server.content("s"), "xy");
}
