//! Configuration errors: where, which key, and how to fix it.

use std::fmt;

use crate::settings::{Origin, Stage};

/// One problem; displays as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The step that found it.
    pub stage: Stage,
    /// Where the value is written.
    pub origin: Origin,
    /// The key of the schema, unless [`Origin::File`] has another; may be empty.
    pub key: String,
    /// The reason.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.origin, &self.key, &self.message)
    }
}

/// Something that works but should be changed; displays as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where it is written.
    pub origin: Origin,
    /// The key as it is written there.
    pub key: String,
    /// The remedy.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.origin, &self.key, &self.message)
    }
}

/// `place: key: message`, without empty parts.
fn place(f: &mut fmt::Formatter<'_>, origin: &Origin, key: &str, message: &str) -> fmt::Result {
    if *origin != Origin::Default {
        write!(f, "{origin}: ")?;
    }
    let key = match origin {
        Origin::File { key: Some(written), .. } => written.as_ref(),
        _ => key,
    };
    if !key.is_empty() {
        // A quoted TOML key may hold anything, and a problem takes one line.
        let shown: String = key.chars().take(200).flat_map(printable).collect();
        write!(f, "{shown}: ")?;
    }
    f.write_str(message)
}

fn printable(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_debug());
    let itself = escaped.is_none().then_some(c);
    escaped.into_iter().flatten().chain(itself)
}

/// Why a configuration cannot be used: every problem found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("[{}] {}", self.stage(), lines(.problems, .warnings))]
pub struct LoadError {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
}

impl LoadError {
    /// All problems, in the order of the sources.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Warnings up to here: an unset variable may be why something is missing.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The first step that failed.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.problems
            .iter()
            .map(|problem| problem.stage)
            .min()
            .unwrap_or(Stage::Load)
    }
}

/// One problem on the line of the phase, or a line for each of several; then the warnings.
fn lines(problems: &[Problem], warnings: &[Warning]) -> String {
    let mut text = match problems {
        [only] => only.to_string(),
        several => {
            let mut text = format!("{} problems", several.len());
            for problem in several {
                text.push_str(&format!("\n  {problem}"));
            }
            text
        }
    };
    for warning in warnings {
        text.push_str(&format!("\n  warning: {warning}"));
    }
    text
}

/// The problems and warnings of one load.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
    /// A source could not be read at all, so how the values fit together is unknown.
    pub(super) unreadable: bool,
}

impl Report {
    pub(super) fn problem(&mut self, origin: &Origin, key: &str, message: impl Into<String>) {
        self.push(Stage::Load, origin, key, message);
    }

    pub(super) fn push(&mut self, stage: Stage, origin: &Origin, key: &str, message: impl Into<String>) {
        self.problems.push(Problem {
            stage,
            origin: origin.clone(),
            key: key.into(),
            message: message.into(),
        });
    }

    /// Orders problems by source, and from top to bottom within each.
    pub(super) fn sort(&mut self) {
        let mut sources: Vec<String> = Vec::new();
        for problem in &self.problems {
            let source = problem.origin.source();
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        self.problems.sort_by_cached_key(|problem| {
            let source = problem.origin.source();
            (sources.iter().position(|other| *other == source), problem.origin.line())
        });
    }

    /// Reports a source that cannot be read.
    pub(super) fn unreadable(&mut self, path: &str, line: usize, message: impl Into<String>) {
        self.unreadable = true;
        self.problem(&Origin::file(path, line), "", message);
    }

    pub(super) fn warn(&mut self, origin: &Origin, key: &str, message: impl Into<String>) {
        self.warnings.push(Warning {
            origin: origin.clone(),
            key: key.into(),
            message: message.into(),
        });
    }
}
