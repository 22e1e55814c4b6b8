//! An unprivileged server, even if the tests run as root.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::{Command, Stdio},
};

use super::server::{BIN, Setup};

/// The network namespace of the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Net {
    Shared,
    /// A new, empty one.
    Own,
}

/// Root can read and write everything and bind every port, so the server runs as another user if
/// the tests run as root.
pub fn command(setup: &Setup, net: Net) -> Command {
    let root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    if !root {
        return setup.command();
    }
    fs::set_permissions(setup.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = setup.dir.path().join("server");
    fs::copy(BIN, &program).unwrap();
    let mut words = vec!["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    if net == Net::Own && may_make_networks() {
        words.splice(0..0, ["unshare", "--net"]);
    }
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(program);
    setup.configure(&mut command);
    command.env("PATH", std::env::var("PATH").unwrap());
    command
}

/// A server under another user id than this process.
#[track_caller]
pub fn other_user(setup: &Setup) -> Command {
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    assert!(is_root, "this test needs a second user, which root can be");
    command(setup, Net::Shared)
}

/// Containers may lack the permission for this.
fn may_make_networks() -> bool {
    let made = Command::new("unshare")
        .args(["--net", "true"])
        .stderr(Stdio::null())
        .status();
    made.is_ok_and(|status| status.success())
}

/// The first unprivileged port in a network namespace as [`Net::Own`] creates it.
pub fn first_open_port() -> u32 {
    let mut words = vec!["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"];
    if may_make_networks() {
        words.splice(0..0, ["unshare", "--net"]);
    }
    let said = Command::new(words[0]).args(&words[1..]).output().unwrap().stdout;
    String::from_utf8(said).unwrap().trim().parse().unwrap()
}
