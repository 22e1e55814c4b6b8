//! The `storage` commands and the control socket.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::FileExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{
    TIMEOUT,
    server::{BIN, Setup, run},
};

pub const MODES: [&str; 3] = ["acid", "file-durable", "file-fast"];

pub fn on_disk(mode: &str) -> Setup {
    Setup::new().acid().with("storage.mode", mode)
}

pub fn storage(setup: &Setup, arguments: &[&str]) -> (i32, String, String) {
    setup.run(&[&["storage"], arguments].concat())
}

#[track_caller]
pub fn succeeds(setup: &Setup, arguments: &[&str]) -> String {
    let (code, out, error) = storage(setup, arguments);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    out
}

/// The command must fail with this message and change nothing.
#[track_caller]
pub fn refused(setup: &Setup, arguments: &[&str], part: &str) {
    let (code, out, error) = storage(setup, arguments);
    assert_eq!((code, out.as_str()), (1, ""), "{error}");
    assert!(error.starts_with("durable-streams-server: "), "{error}");
    assert!(error.contains(part), "{part:?} is missing: {error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

/// Runs a command in a shell that sets a limit first.
pub fn limited(setup: &Setup, limit: &str, arguments: &str) -> (i32, String, String) {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", &format!("{limit}; exec \"$0\" storage {arguments}"), BIN])
        .current_dir(setup.dir.path())
        .envs(&setup.variables)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    run(shell)
}

pub fn path(setup: &Setup, name: &str) -> String {
    setup.dir.path().join(name).to_str().unwrap().to_owned()
}

/// The same setup on another directory.
pub fn moved(setup: &Setup, to: &str, mode: &str) -> Setup {
    setup.clone().with("storage.data_dir", to).with("storage.mode", mode)
}

/// All files in a directory except the lock.
pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with("LOCK") && path.extension().is_none_or(|extension| extension != "sock") {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

pub fn flip(file: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// The position of a text in a file.
pub fn find(file: &Path, text: &str) -> u64 {
    let content = fs::read(file).unwrap();
    let at = content.windows(text.len()).position(|window| window == text.as_bytes());
    at.unwrap_or_else(|| panic!("{text:?} is not in {}", file.display())) as u64
}

pub fn backup(setup: &Setup, to: &Path) -> (i32, String, String) {
    setup.run(&["storage", "backup", "--to", to.to_str().unwrap()])
}

#[track_caller]
pub fn backs_up(setup: &Setup, to: &Path) -> String {
    let (code, out, error) = backup(setup, to);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    out
}

/// A server on a copied directory.
pub fn on_copy(setup: &Setup, to: &Path) -> Setup {
    setup.clone().with("storage.data_dir", to.display())
}

pub fn socket(setup: &Setup) -> PathBuf {
    setup.data_dir().join("control.sock")
}

/// A raw connection to the control socket.
pub struct Talk(BufReader<UnixStream>);

impl Talk {
    pub fn open(setup: &Setup) -> Self {
        let stream = UnixStream::connect(socket(setup)).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self(BufReader::new(stream))
    }

    pub fn write(&mut self, text: &[u8]) -> &mut Self {
        // The server may answer and close before reading everything.
        let _ = self.0.get_mut().write_all(text);
        self
    }

    pub fn ask(&mut self, to: &Path) -> &mut Self {
        let request = json!({"backup": {"to": to}});
        self.write(format!("{request}\n").as_bytes())
    }

    /// The next response; `None` at the end.
    pub fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap()),
        }
    }

    /// The last response.
    #[track_caller]
    pub fn end(&mut self) -> Value {
        let mut last = None;
        while let Some(answer) = self.hear() {
            last = Some(answer);
        }
        last.expect("an answer")
    }

    #[track_caller]
    pub fn error(&mut self) -> String {
        let end = self.end();
        end["error"].as_str().unwrap_or_else(|| panic!("{end}")).to_owned()
    }
}
