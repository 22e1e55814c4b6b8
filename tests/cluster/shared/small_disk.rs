//! A small disk for the tables of a database, to be filled and freed again.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use tempfile::TempDir;

/// A mounted file system, unmounted on drop.
pub struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// Needs root.
    #[track_caller]
    pub fn new(mib: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let disk = Self { dir };
        fs::create_dir(disk.mounted()).unwrap();
        let options = format!("size={mib}m,mode=755");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(disk.mounted()));
        fs::create_dir(disk.tables()).unwrap();
        run(Command::new("chown").arg("postgres:postgres").arg(disk.tables()));
        disk
    }

    fn mounted(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    /// The place for a tablespace.
    pub fn tables(&self) -> PathBuf {
        self.mounted().join("tables")
    }

    /// Leaves no space.
    pub fn fill(&self) {
        let mut ballast = fs::File::create(self.mounted().join("ballast")).unwrap();
        let block = [0; 4096];
        while ballast.write_all(&block).is_ok() {}
    }

    pub fn free(&self) {
        let _ = fs::remove_file(self.mounted().join("ballast"));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.mounted()).status();
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} (root may do this): {said}");
}
