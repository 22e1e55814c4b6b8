//! Files and directories that only this user can access, whatever the umask: they hold streams, keys
//! and certificates.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// Creates a directory and its missing parents. An existing one keeps its permissions.
pub(crate) fn create_dir_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    match (create_dir(path), path.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound && !parent.as_os_str().is_empty() => {
            create_dir_all(parent)?;
        }
        (Err(_), _) if path.is_dir() => return Ok(()),
        (done, _) => return done,
    }
    match create_dir(path) {
        Err(_) if path.is_dir() => Ok(()),
        done => done,
    }
}

/// Creates a directory that must not exist.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(DIR_MODE).create(path)?;
    // An unusual umask may restrict the owner too.
    fs::set_permissions(path, Permissions::from_mode(DIR_MODE))
}

/// Creates a file that must not exist. A symbolic link in its place is not followed.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    create_with(path, FILE_MODE)
}

/// [`create_new`] with other permissions.
pub(crate) fn create_with(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode & FILE_MODE)
        .open(path)?;
    if file.metadata()?.permissions().mode() & 0o777 != mode {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(file)
}

/// Opens a file for reading and writing, and creates it if necessary.
pub(crate) fn open_or_create(path: &Path) -> io::Result<File> {
    loop {
        match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match create_new(path) {
            // Created by another process in the meantime.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.exists() => {}
            created => return created,
        }
    }
}

/// Removes the permissions of group and others.
pub(crate) fn tighten(file: &File) -> io::Result<()> {
    match grants_to_others(&file.metadata()?, 0o077) {
        true => file.set_permissions(Permissions::from_mode(FILE_MODE)),
        false => Ok(()),
    }
}

/// Replaces the content of a file atomically.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    remove_left_over(&new)?;
    let mut file = create_new(&new)?;
    io::Write::write_all(&mut file, content)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Removes a file left by a killed process, if there is one. A symbolic link is not followed.
pub(crate) fn remove_left_over(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Whether group or others have one of these permission bits.
fn grants_to_others(metadata: &fs::Metadata, bits: u32) -> bool {
    metadata.permissions().mode() & bits != 0
}

/// A warning if group or others have one of these permission bits on a path; `None` otherwise, or if
/// the path does not exist.
pub(crate) fn exposure(what: &str, path: &Path, bits: u32, advice: &str) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    grants_to_others(&metadata, bits).then(|| {
        let mode = metadata.permissions().mode() & 0o7777;
        format!("{what}: {} has the mode {mode:04o}, {advice}", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn new_files_are_private_and_existing_ones_keep_their_mode() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        create_dir_all(&at("a/b/c")).unwrap();
        for made in ["a", "a/b", "a/b/c"] {
            assert_eq!(mode(&at(made)), 0o700, "{made}");
        }
        drop(open_or_create(&at("a/file")).unwrap());
        drop(open_or_create(&at("a/file")).unwrap());
        assert_eq!(mode(&at("a/file")), 0o600);
        drop(create_with(&at("public"), 0o644).unwrap());
        assert_eq!(mode(&at("public")), 0o644);
        fs::set_permissions(at("a"), Permissions::from_mode(0o755)).unwrap();
        create_dir_all(&at("a")).unwrap();
        assert_eq!(mode(&at("a")), 0o755);
        let warning = exposure("data", &at("a"), 0o077, "so be careful").unwrap();
        assert!(warning.contains("has the mode 0755, so be careful"), "{warning}");
        assert_eq!(exposure("data", &at("none"), 0o077, ""), None);
        tighten(&open_or_create(&at("public")).unwrap()).unwrap();
        assert_eq!(mode(&at("public")), 0o600);
    }

    #[test]
    fn links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("victim"), "untouched").unwrap();
        for link in ["new", "file.new", "file"] {
            std::os::unix::fs::symlink("victim", at(link)).unwrap();
        }
        assert_eq!(create_new(&at("new")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        replace(&at("file"), b"content").unwrap();
        assert_eq!(fs::read(at("victim")).unwrap(), b"untouched");
        assert_eq!(fs::read(at("file")).unwrap(), b"content");
        assert_eq!(mode(&at("file")), 0o600);
        // A dangling link is an error, not a loop.
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        assert!(open_or_create(&at("dangling")).is_err());
    }
}
