use std::fmt;

use crate::config::{LoadError, Stage};

/// A phase of the start. A failure names the one that it happened in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The sources of the configuration are read.
    LoadConfig,
    /// The values are checked, each and together.
    ValidateConfig,
    /// The keys that tokens are verified with are read.
    LoadKeys,
    /// Certificate, key and client CA files are there and readable.
    CheckTlsFiles,
    /// What those files hold is put to use.
    BuildTlsContext,
    /// The listeners take their addresses.
    BindListener,
    /// Storage is opened and requests are answered.
    StartServer,
}

impl Phase {
    /// What the process exits with when this phase fails: 78 (`EX_CONFIG`) for the phases in
    /// which only the operator's files can be wrong, so that a supervisor need not try again;
    /// 1 for those that may go well the next time (a port in use, a full disk) and for what
    /// files turn out to hold once they are used.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::LoadConfig | Self::ValidateConfig | Self::LoadKeys | Self::CheckTlsFiles => 78,
            Self::BuildTlsContext | Self::BindListener | Self::StartServer => 1,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LoadConfig => "load_config",
            Self::ValidateConfig => "validate_config",
            Self::LoadKeys => "load_keys",
            Self::CheckTlsFiles => "check_tls_files",
            Self::BuildTlsContext => "build_tls_context",
            Self::BindListener => "bind_listener",
            Self::StartServer => "start_server",
        })
    }
}

/// Why the server did not start: `[phase] problem`, or the number of problems and one on a
/// line each.
#[derive(Debug, thiserror::Error)]
#[error("[{phase}] {}", describe(.problems, .notes))]
pub struct StartupError {
    phase: Phase,
    problems: Vec<String>,
    notes: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StartupError {
    /// One problem, said in full.
    pub fn new(phase: Phase, problem: impl Into<String>) -> Self {
        Self::several(phase, vec![problem.into()])
    }

    /// All problems of a phase.
    #[must_use]
    pub fn several(phase: Phase, problems: Vec<String>) -> Self {
        Self {
            phase,
            problems,
            notes: Vec::new(),
            source: None,
        }
    }

    /// One problem with its cause; the causes' texts follow after colons.
    pub fn with_source(
        phase: Phase,
        problem: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        let mut text = problem.into();
        let mut cause: Option<&dyn std::error::Error> = Some(source.as_ref());
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        Self {
            phase,
            problems: vec![text],
            notes: Vec::new(),
            source: Some(source),
        }
    }

    /// The phase that failed.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Everything that is wrong, a line each.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// What the process exits with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.phase.exit_code()
    }
}

impl From<LoadError> for StartupError {
    fn from(error: LoadError) -> Self {
        let phase = match error.stage() {
            Stage::Load => Phase::LoadConfig,
            Stage::Validate => Phase::ValidateConfig,
        };
        let problems = error.problems().iter().map(ToString::to_string).collect();
        let notes = error
            .warnings()
            .iter()
            .map(|warning| format!("warning: {warning}"))
            .collect();
        Self {
            phase,
            problems,
            notes,
            source: Some(Box::new(error)),
        }
    }
}

fn describe(problems: &[String], notes: &[String]) -> String {
    let mut text = match problems {
        [only] => only.clone(),
        several => format!("{} problems", several.len()),
    };
    let listed = if problems.len() == 1 { &[] } else { problems };
    for line in listed.iter().chain(notes) {
        text.push_str(&format!("\n  {line}"));
    }
    text
}
