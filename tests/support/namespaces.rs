//! Servers in Linux namespaces, as in containers.

use std::{os::unix::fs::MetadataExt as _, process::Command};

use super::server::{BIN, Setup};

/// A command that runs the lines of `script` and then the server in new namespaces, named by
/// `unshare`'s flags. It ends with its parent.
#[track_caller]
pub fn command(setup: &Setup, flags: &str, script: &str) -> Command {
    let root = std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    // Non-root users first become root in a user namespace, where the system allows it.
    let flags = [flags, "--fork", "--kill-child=KILL", "--map-root-user"];
    let flags = if root { &flags[..3] } else { &flags[..] };
    let tried = Command::new("unshare").args(flags).arg("true").output();
    let said = match &tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Some(error.to_string()),
    };
    if let Some(said) = said {
        panic!(
            "this test needs `unshare {}`, which root may (in a container with CAP_SYS_ADMIN), and others where user \
             namespaces are permitted: {said}",
            flags.join(" ")
        );
    }
    let mut command = Command::new("unshare");
    command
        .args(flags)
        .args(["sh", "-c", &format!("set -e\n{script}\nexec \"$0\"\n"), BIN]);
    setup.configure(&mut command);
    command.env("PATH", std::env::var("PATH").unwrap());
    command
}
