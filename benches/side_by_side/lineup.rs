//! The contenders of each row.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use crate::{
    Options,
    contender::{Contender, Database, Kind},
    credentials::{Credentials, TlsFiles},
    database::Cluster,
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
    /// This build, on each durable backend.
    durable: Vec<Contender>,
    /// PostgreSQL, if this program has started it.
    cluster: Option<Arc<Cluster>>,
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
            durable: Vec::new(),
            cluster: None,
            tls: Arc::new(TlsFiles::new(dir)?),
            credentials,
            absent: Vec::new(),
        };
        lineup.add_nginx(settings);
        for backend in &options.backends {
            if !BACKENDS.contains(&backend.as_str()) {
                return Err(format!("unknown backend {backend}; there are {}", BACKENDS.join(", ")));
            }
            let kind = Kind::Ours { mode: backend.clone() };
            lineup.add_ours(options, backend, &kind)?;
        }
        for mode in ["acid", "file-durable"] {
            let kind = Kind::Ours { mode: mode.to_owned() };
            let contender = Contender::new(mode, &built(options)?, kind);
            lineup.durable.push(contender.with_credentials(&lineup.credentials));
        }
        match lineup.find_database(options) {
            Ok(database) => lineup.add_shared(options, &database)?,
            Err(reason) => lineup.absent.push(format!("postgres: {reason}")),
        }
        Ok(lineup)
    }

    /// The database that is given, or else one of an own server.
    fn find_database(&mut self, options: &Options) -> Outcome<Database> {
        if options.without_postgres {
            return Err("left out (--without-postgres)".into());
        }
        let database = match &options.postgres {
            Some(url) => Database::Given(url.clone()),
            None => {
                let cluster = Cluster::start()?;
                self.cluster = Some(Arc::clone(&cluster));
                Database::Own(cluster)
            }
        };
        accepts_postgres(&built(options)?, &database.any_url())?;
        Ok(database)
    }

    /// One server takes part in the rows of all backends, several in those of durable ones.
    fn add_shared(&mut self, options: &Options, database: &Database) -> Outcome {
        let kind = |servers| Kind::Shared {
            database: database.clone(),
            servers,
        };
        self.add_ours(options, "postgres", &kind(1))?;
        for (name, servers) in [("postgres", 1), ("postgres ×2", 2), ("postgres ×4", 4)] {
            let contender = Contender::new(name, &built(options)?, kind(servers));
            self.durable.push(contender.with_credentials(&self.credentials));
        }
        Ok(())
    }

    /// CPU time of PostgreSQL, if this program has started it.
    pub fn database_cpu(&self) -> Duration {
        self.cluster.as_ref().map_or(Duration::ZERO, |cluster| cluster.cpu())
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

    /// Adds this build and, if given, the previous one.
    fn add_ours(&mut self, options: &Options, name: &str, kind: &Kind) -> Outcome {
        let mut builds = vec![Contender::new(name, &built(options)?, kind.clone())];
        if let Some(before) = &options.against {
            let (name, binary) = (format!("{name}{BEFORE}"), existing(before)?);
            let accepted = match kind {
                Kind::Shared { database, .. } => accepts_postgres(&binary, &database.any_url()),
                _ => Ok(()),
            };
            match accepted {
                Ok(()) => builds.push(Contender::new(&name, &binary, kind.clone())),
                Err(reason) => self.absent.push(format!("{name}: {reason}")),
            }
        }
        let builds = builds
            .into_iter()
            .map(|build| build.with_credentials(&self.credentials));
        self.ours.push(builds.collect());
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
            Field::Durable => self.durable.clone(),
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

/// The measured build of ours.
fn built(options: &Options) -> Outcome<PathBuf> {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_durable-streams-server"));
    existing(&options.ours.clone().unwrap_or_else(built))
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
