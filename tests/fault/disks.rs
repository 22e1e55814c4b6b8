//! Small file systems to fill and break.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::Setup;

/// A mounted file system, unmounted on drop.
pub struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// ext4 in a file, or tmpfs where loop devices are unavailable.
    #[track_caller]
    pub fn new(mib: u64) -> Self {
        let disk = Self::unmounted();
        let ext4 = match disk.make_ext4(mib) {
            Ok(()) => return disk,
            Err(reason) => reason,
        };
        let size = format!("size={mib}m");
        let point = disk.path();
        let tmpfs = run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", text(&point)]);
        if let Err(tmpfs) = tmpfs {
            panic!("a small disk is needed, and neither can be mounted (root may):\n  ext4: {ext4}\n  tmpfs: {tmpfs}");
        }
        disk
    }

    /// ext4, for tests that need its features.
    #[track_caller]
    pub fn ext4(mib: u64) -> Self {
        let disk = Self::unmounted();
        disk.make_ext4(mib)
            .unwrap_or_else(|reason| panic!("an ext4 on a loop device is needed: {reason}"));
        disk
    }

    fn unmounted() -> Self {
        let disk = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(disk.path()).unwrap();
        disk
    }

    fn make_ext4(&self, mib: u64) -> Result<(), String> {
        let image = self.image();
        fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        run("mkfs.ext4", &["-q", "-F", "-m", "0", text(&image)])?;
        self.mount("rw")
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    pub fn setup(&self, mode: &str) -> Setup {
        Setup::new()
            .on_disk(mode)
            .with("storage.data_dir", self.data_dir().display())
    }

    pub fn mount(&self, how: &str) -> Result<(), String> {
        let options = format!("loop,errors=remount-ro,{how}");
        let (image, point) = (self.image(), self.path());
        run("mount", &["-o", &options, text(&image), text(&point)])
    }

    #[track_caller]
    pub fn unmount(&self) {
        run("umount", &[text(&self.path())]).unwrap();
    }

    /// Makes it read-only, even for open files.
    #[track_caller]
    pub fn freeze(&self, frozen: bool) {
        let how = if frozen { "+i" } else { "-i" };
        chattr(how, &self.data_dir()).unwrap();
    }

    /// The reaction of ext4 to corruption: it becomes read-only.
    #[track_caller]
    pub fn break_down(&self) {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let point = self.path();
        let line = mounts.lines().find(|line| line.contains(text(&point))).unwrap();
        let device = line.split(' ').next().unwrap().trim_start_matches("/dev/");
        fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").unwrap();
    }

    /// Repairs it with fsck.
    #[track_caller]
    pub fn repair(&self) {
        let image = self.image();
        // Exit code 1: errors were corrected.
        let status = Command::new(find("e2fsck"))
            .args(["-fy", text(&image)])
            .output()
            .unwrap();
        assert!(matches!(status.status.code(), Some(0 | 1)), "{status:?}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let path = self.path();
        let _ = chattr("-i", &self.data_dir());
        if run("umount", &[text(&path)]).is_err() {
            let _ = run("umount", &["-l", text(&path)]);
        }
    }
}

/// Changes the flags of a directory and its files; sockets have none.
fn chattr(how: &str, path: &Path) -> Result<(), String> {
    run("chattr", &[how, text(path)])?;
    for entry in fs::read_dir(path).map_err(|error| error.to_string())?.flatten() {
        let kind = entry.file_type().map_err(|error| error.to_string())?;
        if kind.is_dir() {
            chattr(how, &entry.path())?;
        } else if kind.is_file() {
            run("chattr", &[how, text(&entry.path())])?;
        }
    }
    Ok(())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Some systems keep them out of users' `PATH`.
fn find(program: &str) -> PathBuf {
    let places = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    let found = places.map(|place| Path::new(place).join(program));
    found
        .into_iter()
        .find(|file| file.is_file())
        .unwrap_or_else(|| program.into())
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let done = Command::new(find(program)).args(arguments).output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&done.stderr).trim()))
}
