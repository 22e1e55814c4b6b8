//! Inputs that the `storage` commands refuse, and behaviour when resources run out.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use super::support::{
    server::{Setup, run},
    storage::{limited, moved, on_disk, path, refused, succeeds},
    unprivileged::{self, Net},
};

/// A data directory with content and no server.
fn data_directory(mode: &str) -> Setup {
    let setup = on_disk(mode);
    let server = setup.start();
    server.text_stream("large", &"0123456789".repeat(40_000));
    server.stop();
    setup
}

#[test]
fn a_copy_needs_an_empty_target() {
    let setup = data_directory("acid");
    let dir = setup.dir.path();
    fs::create_dir(dir.join("full")).unwrap();
    fs::write(dir.join("full/file"), "x").unwrap();
    fs::write(dir.join("file"), "x").unwrap();
    for command in [&["backup"][..], &["repair"], &["migrate", "--mode", "acid"]] {
        let to = |to: &str, part: &str| {
            let to = path(&setup, to);
            refused(&setup, &[command, &["--to", &to]].concat(), part);
        };
        to("full", "full: is not empty");
        to("file", "file: is not a directory");
        to("no/where", "no: does not exist");
        to("data/copy", "is inside the data directory");
        fs::create_dir(dir.join("left.partial")).unwrap();
        to("left", "left.partial: already exists");
        fs::remove_dir(dir.join("left.partial")).unwrap();
        fs::create_dir(dir.join("empty")).unwrap();
        succeeds(&setup, &[command, &["--to", "empty"]].concat());
        assert!(dir.join("empty/index.redb").exists());
        assert_eq!(
            fs::metadata(dir.join("empty")).unwrap().permissions().mode() & 0o777,
            0o700
        );
        fs::remove_dir_all(dir.join("empty")).unwrap();
    }
    assert_eq!(fs::read(dir.join("full/file")).unwrap(), b"x");
}

#[test]
fn a_directory_without_a_store_is_reported_and_unchanged() {
    let memory = Setup::new();
    for command in [&["check"][..], &["backup", "--to", "x"]] {
        refused(&memory, command, "storage.mode is memory");
    }
    let setup = on_disk("acid");
    refused(&setup, &["check"], "data does not exist");
    fs::create_dir(setup.data_dir()).unwrap();
    refused(&setup, &["check"], "data holds no streams");
    assert_eq!(fs::read_dir(setup.data_dir()).unwrap().count(), 0);
    // An explicit directory needs no valid configuration.
    setup.start().stop();
    let data = path(&setup, "data");
    let mut memory = memory;
    memory.dir = setup.dir.clone();
    assert!(succeeds(&memory, &["check", "--data-dir", &data]).ends_with("ok\n"));
}

#[test]
fn a_full_disk_fails_a_copy_and_leaves_no_partial_files() {
    let setup = data_directory("file-durable");
    // `RLIMIT_FSIZE` works on every system.
    let to = path(&setup, "copy");
    for command in ["backup", "repair", "migrate --mode acid"] {
        let arguments = format!("{command} --to {to}");
        let (code, out, error) = limited(&setup, "trap '' XFSZ; ulimit -f 400", &arguments);
        assert_eq!((code, out.as_str()), (1, ""), "{error}");
        assert!(error.contains(&to) && error.contains("File too large"), "{error}");
        let left: Vec<_> = fs::read_dir(setup.dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}

#[test]
fn many_data_files_need_few_descriptors() {
    const STREAMS: usize = 400;
    let setup = on_disk("file-fast");
    let server = setup.start();
    let large = "x".repeat(70_000);
    for n in 0..STREAMS {
        server.text_stream(&format!("s{n}"), &large);
    }
    server.stop();
    // Each stream has data in the journal.
    let server = setup.start();
    for n in 0..STREAMS {
        server.post(&format!("s{n}")).text("y").send().expect(204);
    }
    server.kill();
    for command in ["check", "backup --to copy"] {
        let (code, out, error) = limited(&setup, "ulimit -n 250", command);
        assert_eq!((code, error.as_str()), (0, ""), "{out}");
    }
    let server = moved(&setup, &path(&setup, "copy"), "acid").start();
    assert_eq!(server.content("s7").len(), 70_001);
    assert!(server.content("s399").ends_with("xy"));
}

#[test]
fn a_missing_permission_is_reported() {
    let setup = data_directory("acid");
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let asked = |to: &str, directory: &Path| {
        let mut command = unprivileged::command(&setup, Net::Shared);
        fs::set_permissions(setup.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        command.args(["storage", "backup", "--to", to]);
        if !root {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o555)).unwrap();
        }
        let (code, _, error) = run(command);
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(code, 1, "{error}");
        error
    };
    // A data directory of another user.
    if root {
        let error = asked(&path(&setup, "copy"), setup.dir.path());
        assert!(error.contains("run this as the server's user"), "{error}");
        for file in ["", "LOCK", "journal", "journal.2", "index.redb"] {
            std::os::unix::fs::chown(setup.data_dir().join(file), Some(65534), Some(65534)).unwrap();
        }
    }
    let target = setup.dir.path().join("target");
    fs::create_dir(&target).unwrap();
    let error = asked(target.join("copy").to_str().unwrap(), &target);
    assert!(error.contains("copy.partial: Permission denied"), "{error}");
}

#[test]
fn the_commands_have_help_that_an_operator_can_act_on() {
    let commands: [(&[&str], &[&str]); 5] = [
        (&[], &["check", "repair", "migrate", "backup", "--data-dir", "--config"]),
        (&["check"], &["Exit 0 when it is whole, 1 when it is damaged"]),
        (&["repair"], &["--to", "--mode", "file-durable"]),
        (&["migrate"], &["--to", "--mode", "acid", "file-fast"]),
        (&["backup"], &["--to", "same container", "DIR.partial"]),
    ];
    for (command, words) in commands {
        let help = succeeds(&Setup::new(), &[command, &["--help"]].concat());
        for word in words {
            assert!(help.contains(word), "{command:?} does not name {word}:\n{help}");
        }
    }
}
