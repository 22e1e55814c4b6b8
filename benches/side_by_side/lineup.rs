//! The contenders of each row.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use crate::{
    Options,
    contender::{Contender, Kind},
    credentials::{Credentials, TlsFiles},
    manifest_dir,
    process::remove_settings,
    row::{Field, Settings},
    work::Outcome,
};

const OFFICIAL_VERSION: &str = "0.1.5";
const BACKENDS: [&str; 4] = ["memory", "acid", "file-fast", "file-durable"];
pub const AGAIN: &str = " again";
pub const BEFORE: &str = " before";

pub struct Lineup {
    official: Contender,
    hyper: Contender,
    nginx: Option<Contender>,
    /// By backend: this build and, if given, the previous one.
    ours: Vec<Vec<Contender>>,
    credentials: Arc<Credentials>,
    tls: Arc<TlsFiles>,
    /// Contenders that do not take part, each with the reason.
    pub absent: Vec<String>,
}

impl Lineup {
    pub fn new(options: &Options, settings: &Settings, dir: &Path) -> Outcome<Self> {
        let official = match &options.peer {
            Some(path) => existing(path)?,
            None => install_official()?,
        };
        let this = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
        let credentials = Arc::new(Credentials::new(dir)?);
        let mut lineup = Self {
            official: Contender::new("official", &official, Kind::Official),
            hyper: Contender::new("hyper", &this, Kind::Hyper),
            nginx: None,
            ours: Vec::new(),
            tls: Arc::new(TlsFiles::new(dir)?),
            credentials,
            absent: Vec::new(),
        };
        lineup.add_nginx(settings);
        for backend in &options.backends {
            if !BACKENDS.contains(&backend.as_str()) {
                return Err(format!("unknown backend {backend}; there are {}", BACKENDS.join(", ")));
            }
            lineup.add_ours(options, backend, None)?;
        }
        match &options.postgres {
            Some(url) => lineup.add_ours(options, "postgres", Some(url))?,
            None => lineup
                .absent
                .push("postgres: no database given (BENCH_POSTGRES_URL)".into()),
        }
        Ok(lineup)
    }

    fn add_nginx(&mut self, settings: &Settings) {
        let found = Command::new("nginx").arg("-v").stderr(Stdio::null()).status();
        if found.is_ok_and(|status| status.success()) {
            let file = settings.path("small");
            self.nginx = Some(Contender::new("nginx", Path::new("nginx"), Kind::Nginx { file }));
        } else {
            self.absent.push("nginx: not installed".into());
        }
    }

    fn add_ours(&mut self, options: &Options, mode: &str, url: Option<&String>) -> Outcome {
        let built = PathBuf::from(env!("CARGO_BIN_EXE_durable-streams-server"));
        let after = (mode.to_owned(), options.ours.clone().unwrap_or(built));
        let before = options.against.clone().map(|path| (format!("{mode}{BEFORE}"), path));
        let mut builds = Vec::new();
        for (name, binary) in [Some(after), before].into_iter().flatten() {
            let binary = existing(&binary)?;
            if let Some(url) = url
                && let Err(reason) = accepts_postgres(&binary, url)
            {
                self.absent.push(format!("{name}: {reason}"));
                continue;
            }
            let kind = Kind::Ours {
                mode: mode.to_owned(),
                url: url.cloned(),
            };
            builds.push(Contender::new(&name, &binary, kind).with_credentials(&self.credentials));
        }
        if !builds.is_empty() {
            self.ours.push(builds);
        }
        Ok(())
    }

    /// The contenders of a row. The first is the base of the ratios. The second is the first again:
    /// their difference is the noise of the machine.
    pub fn of(&self, field: Field) -> Vec<Contender> {
        let all_of_ours = || self.ours.concat();
        let first_of_ours = || self.ours.first().cloned().unwrap_or_default();
        let mut contenders = match field {
            Field::Stores | Field::StoresAndHyper | Field::StoresHyperAndNginx => {
                [vec![self.official.clone()], all_of_ours()].concat()
            }
            Field::Tokens => {
                let hyper = self.hyper.clone().with_credentials(&self.credentials);
                [
                    vec![self.official.clone(), hyper.named("hyper+ES256".into())],
                    first_of_ours(),
                ]
                .concat()
            }
            Field::Crowd => [vec![self.official.clone()], first_of_ours()].concat(),
            Field::Tls { .. } => [vec![self.hyper.clone()], first_of_ours()].concat(),
        };
        if matches!(field, Field::StoresAndHyper | Field::StoresHyperAndNginx | Field::Crowd) {
            contenders.push(self.hyper.clone());
        }
        if matches!(field, Field::StoresHyperAndNginx | Field::Tls { nginx: true }) {
            contenders.extend(self.nginx.clone());
        }
        if let Some(base) = contenders.first().cloned() {
            let name = format!("{}{AGAIN}", base.name);
            contenders.insert(1, base.named(name));
        }
        if matches!(field, Field::Tls { .. }) {
            contenders = contenders.into_iter().map(|one| one.over_tls(&self.tls)).collect();
        }
        contenders
    }

    /// The measured programs.
    pub fn describe(&self) -> Vec<String> {
        let ours = self.ours.iter().flatten();
        let programs = std::iter::once(&self.official).chain(ours).chain(&self.nginx);
        programs
            .map(|one| format!("{:<20}{}", one.name, one.binary().display()))
            .collect()
    }
}

/// Makes a path absolute, because servers run in their own directories.
fn existing(path: &Path) -> Outcome<PathBuf> {
    std::path::absolute(path)
        .ok()
        .filter(|path| path.is_file())
        .ok_or_else(|| format!("there is no file {}", path.display()))
}

/// Runs `check` to find out if a build supports this mode and URL.
fn accepts_postgres(binary: &Path, url: &str) -> Outcome {
    let mut command = Command::new(binary);
    remove_settings(&mut command);
    let checked = command
        .arg("check")
        .env("DS_STORAGE__MODE", "postgres")
        .env("DS_STORAGE__URL", url)
        .current_dir(std::env::temp_dir())
        .output()
        .map_err(|e| format!("{}: {e}", binary.display()))?;
    if checked.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
    let reason = said.lines().find(|line| line.contains("STORAGE__")).unwrap_or_default();
    // The URL may contain a password.
    let reason = reason.replace(url, "URL");
    Err(format!("its build refuses the mode or the URL: {}", reason.trim()))
}

/// The official server, installed from the registry once.
fn install_official() -> Outcome<PathBuf> {
    let root = manifest_dir().join("target/peer");
    let binary = root.join("bin/durable-streams-server");
    if !binary.exists() {
        eprintln!(
            "installing durable-streams {OFFICIAL_VERSION} to {} (about a minute)",
            root.display()
        );
        let status = Command::new(env!("CARGO"))
            .args(["install", "durable-streams", "--locked", "--quiet"])
            .args(["--version", OFFICIAL_VERSION, "--root"])
            .arg(&root)
            .status()
            .map_err(|e| format!("cargo install: {e}"))?;
        if !status.success() {
            return Err(format!("cargo install durable-streams: {status}"));
        }
    }
    Ok(binary)
}
