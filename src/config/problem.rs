//! What is wrong, said so that a stranger can mend it: place, key, reason.

use std::{fmt, sync::Arc};

use super::value::Origin;

/// The step that found a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// `load_config`: a source cannot be read, or holds what the schema does not know.
    Load,
    /// `validate_config`: each value can be read, but is malformed or contradicts another.
    Validate,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Load => "load_config",
            Self::Validate => "validate_config",
        })
    }
}

/// One problem; displays as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The step that found it.
    pub stage: Stage,
    /// Where the value stands.
    pub origin: Origin,
    /// The key, in the words of the schema unless [`Origin::File`] holds another; may be empty.
    pub key: String,
    /// The reason.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.origin, &self.key, &self.message)
    }
}

/// Something that works, but should be changed; displays as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where it stands.
    pub origin: Origin,
    /// The key as it is written there.
    pub key: String,
    /// What to do about it.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.origin, &self.key, &self.message)
    }
}

/// `place: key: message`, without the parts that there are not.
fn place(f: &mut fmt::Formatter<'_>, origin: &Origin, key: &str, message: &str) -> fmt::Result {
    if *origin != Origin::Default {
        write!(f, "{origin}: ")?;
    }
    let key = match origin {
        Origin::File { key: Some(written), .. } => written.as_ref(),
        _ => key,
    };
    if !key.is_empty() {
        // A quoted TOML key may hold anything; a report has a line for each problem.
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

/// Why there is no configuration: every problem found.
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

    /// What was noticed on the way: an unset variable may be why something is missing.
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

/// One problem on the line of the phase, several on a line each, warnings after them.
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

/// Why one value was refused; the reader adds place and key.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) stage: Stage,
    pub(super) message: String,
    pub(super) origin: Option<Origin>,
    /// Stays in its stage even when the value is a variable's.
    pub(super) fixed: bool,
}

impl Refusal {
    pub(super) fn new(stage: Stage, message: String) -> Self {
        Self {
            stage,
            message,
            origin: None,
            fixed: false,
        }
    }

    /// A value that reads well and is not supported.
    pub(super) fn unsupported(message: String) -> Self {
        Self {
            fixed: true,
            ..Self::new(Stage::Validate, message)
        }
    }

    pub(super) fn at(mut self, origin: &Origin) -> Self {
        self.origin = Some(origin.clone());
        self
    }
}

/// Where problems and warnings are gathered while a configuration is loaded.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
    /// A source could not be read at all: what it would have said is not known, so nothing
    /// can be said about how the values fit together.
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

    /// Source by source as they came up, and from top to bottom in each.
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

    /// A whole source that cannot be read.
    pub(super) fn unreadable(&mut self, path: &Arc<str>, line: usize, message: impl Into<String>) {
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

/// ` (did you mean "x"?)`, or nothing when nothing is near.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or_else(String::new, |near| format!(" (did you mean \"{near}\"?)"))
}

/// The candidate most like `word`, if any is like it at all.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const ALIKE: f64 = 0.6;
    const LONGEST: usize = 100;
    if word.len() > LONGEST {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
