//! Why a server did not start: the phase, and every problem.

use std::fmt;

use crate::config::{LoadError, Stage};

/// A phase of the start; a failure names its phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The sources of the configuration are read.
    LoadConfig,
    /// The values are validated, each and together.
    ValidateConfig,
    /// The keys that verify tokens are read.
    LoadKeys,
    /// Certificate, key and client CA files exist and can be read.
    CheckTlsFiles,
    /// Certificate and key are parsed and matched.
    BuildTlsContext,
    /// The listeners bind their addresses.
    BindListener,
    /// Storage is opened, and requests are served.
    StartServer,
}

impl Phase {
    /// The exit code when this phase fails: 78 (`EX_CONFIG`) where only the operator's files can be
    /// wrong, so that a supervisor need not retry; 1 where a retry may succeed (a port in use, a
    /// full disk), and for certificates that do not fit.
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

/// Why the server did not start: `[phase] problem`, or the number of problems and a line for each.
#[derive(Debug, thiserror::Error)]
#[error("[{phase}] {}", describe(.problems, .notes))]
pub struct StartupError {
    phase: Phase,
    problems: Vec<String>,
    notes: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StartupError {
    /// One problem.
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

    /// One problem with its cause; the texts of all causes follow after colons.
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

    /// Every problem, a line each.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The exit code of the process.
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
