//! Files on disk are private to the server's user, whatever the umask.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use super::support::{
    server::{BASE, BIN, Setup, run},
    until,
};

/// The server's command under this umask.
fn world_accessible(setup: &Setup, arguments: &[&str]) -> Command {
    with_umask("000", setup, arguments)
}

fn with_umask(umask: &str, setup: &Setup, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\""), BIN])
        .args(arguments);
    setup.configure(&mut command);
    command
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// A directory and everything below it.
fn all_paths(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(all_paths(&path)),
            false => found.push(path),
        }
    }
    found
}

#[track_caller]
fn assert_private(dir: &Path) {
    let wide: Vec<_> = all_paths(dir)
        .into_iter()
        .filter(|path| mode(path) != if path.is_dir() { 0o700 } else { 0o600 })
        .map(|path| format!("{} {:o}", path.display(), mode(&path)))
        .collect();
    assert!(wide.is_empty(), "{wide:?}");
}

#[test]
fn data_directories_and_copies_are_private() {
    // A umask can mask the owner's bits too.
    for (kind, umask) in [("acid", "000"), ("file-durable", "777"), ("file-fast", "000")] {
        let setup = Setup::new().on_disk(kind);
        let server = setup.spawn_with(with_umask(umask, &setup, &[]));
        server.log.wait_for("serving");
        // Large enough for its own data file.
        server.put("a").text(&"x".repeat(300_000)).send().expect(201);
        for _ in 0..20 {
            server.post("a").text(&"x".repeat(300_000)).send().expect(204);
        }
        until("the control socket", || setup.data_dir().join("control.sock").exists());
        assert_private(&setup.data_dir());

        let backup = setup.dir.path().join("backup");
        let (code, _, error) = run(with_umask(
            umask,
            &setup,
            &["storage", "backup", "--to", &backup.display().to_string()],
        ));
        assert_eq!(code, 0, "{error}");
        assert_private(&backup);
        server.stop();
        assert_private(&setup.data_dir());
        let migrated = setup.dir.path().join("migrated");
        let to = migrated.display().to_string();
        let (code, _, error) = run(with_umask(
            umask,
            &setup,
            &["storage", "migrate", "--to", &to, "--mode", "acid"],
        ));
        assert_eq!(code, 0, "{error}");
        assert_private(&migrated);
    }
}

#[test]
fn a_world_readable_directory_is_used_with_a_warning() {
    let setup = Setup::new().acid();
    let data = setup.data_dir();
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(data.join("LOCK"), "").unwrap();
    fs::set_permissions(data.join("LOCK"), fs::Permissions::from_mode(0o666)).unwrap();
    let (code, out, _) = setup.run(&["check"]);
    assert!(
        code == 0 && out.contains("has the mode 0755, so other users can read it"),
        "{out}"
    );
    let server = setup.start();
    server
        .log
        .wait_for("has the mode 0755, so other users can read it: chmod -R go-rwx");
    server.put("a").text("x").send().expect(201);
    // A process that can open the lock file can block the server's start.
    assert_eq!(mode(&data.join("LOCK")), 0o600);
    let made = all_paths(&data);
    assert!(
        made.iter()
            .filter(|path| path.is_file())
            .all(|path| mode(path) == 0o600),
        "{made:?}"
    );
}

#[test]
fn an_export_is_private_and_follows_no_link() {
    let setup = Setup::new();
    let server = setup.start();
    server.put("a").text("secret").send().expect(201);
    let at = |name: &str| setup.dir.path().join(name);
    fs::write(at("victim"), "untouched").unwrap();
    for link in ["out.jsonl", "out.jsonl.part"] {
        symlink(at("victim"), at(link)).unwrap();
    }
    let url = format!("http://{}{BASE}", server.public);
    let arguments = ["export", "--url", &url, "--output", "out.jsonl"];
    let (code, _, error) = run(world_accessible(&setup, &arguments));
    assert_eq!(code, 0, "{error}");
    assert_eq!(fs::read_to_string(at("victim")).unwrap(), "untouched");
    assert_eq!(mode(&at("out.jsonl")), 0o600);
    assert!(fs::read_to_string(at("out.jsonl")).unwrap().contains("secret"));
    assert!(!at("out.jsonl.part").exists());
}

#[test]
fn an_export_replaces_regular_files_only() {
    let setup = Setup::new();
    let server = setup.start();
    server.put("a").text("secret").send().expect(201);
    let at = |name: &str| setup.dir.path().join(name);
    fs::create_dir(at("directory")).unwrap();
    symlink("/dev/null", at("device")).unwrap();
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    let url = format!("http://{}{BASE}", server.public);
    for name in ["directory", "device", "pipe"] {
        let (code, _, error) = setup.run(&["export", "--url", &url, "--output", name]);
        assert!(code != 0 && error.contains("is not a regular file"), "{name} {error}");
        assert!(!at(&format!("{name}.part")).exists());
    }
    let (code, out, error) = setup.run(&["export", "--url", &url, "--output", "/dev/stdout"]);
    assert!(code == 0 && out.contains("secret"), "{out} {error}");
    assert!(fs::symlink_metadata("/dev/stdout").unwrap().is_symlink());
}

#[test]
fn generated_keys_are_private_whatever_the_umask() {
    let setup = Setup::new();
    let (code, _, error) = run(world_accessible(&setup, &["keys", "generate", "--out", "keys"]));
    assert_eq!(code, 0, "{error}");
    let at = |name: &str| setup.dir.path().join("keys").join(name);
    assert_eq!(
        (mode(&at("")), mode(&at("signing_key.pem")), mode(&at("verify_key.pem"))),
        (0o755, 0o600, 0o644)
    );
    // A world-writable key is replaceable by anybody.
    fs::set_permissions(at("verify_key.pem"), fs::Permissions::from_mode(0o666)).unwrap();
    let setup = setup.clone().with("auth.verify_key", at("verify_key.pem").display());
    let (code, out, _) = setup.run(&["check"]);
    assert!(code == 0 && out.contains("so any user can add a key"), "{out}");
}
