//! A server without privileges, also where the tests have all of them.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::{Command, Stdio},
};

use super::server::{BIN, Setup};

/// The network that it sees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Net {
    Shared,
    /// One of its own, with nothing in it.
    Own,
}

/// The superuser may read and write everything and take every port, so the server runs as
/// somebody else when the tests are run by the superuser.
pub fn command(setup: &Setup, net: Net) -> Command {
    let root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    if !root {
        return setup.command();
    }
    fs::set_permissions(setup.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = setup.dir.path().join("server");
    fs::copy(BIN, &program).unwrap();
    let mut words = vec!["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    if net == Net::Own {
        words.splice(0..0, ["unshare", "--net"]);
    }
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .arg(program)
        .current_dir(setup.dir.path())
        .env_clear()
        .envs(&setup.variables)
        .env("PATH", std::env::var("PATH").unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}
