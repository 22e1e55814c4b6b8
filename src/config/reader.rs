//! Lays one source over the configuration built so far, and finds what the schema does not know.

use super::{
    Config,
    problem::{Refusal, Report, Stage, nearest},
    schema::{Leaf, Section, Walker},
    sources::Origins,
    value::{Data, Origin, Table, Value},
};

/// Applies a source to `config`. Each field that it sets has its origin noted; everything
/// that it should not say goes into the report. `aliases` are keys that the source's form
/// knows besides the schema's, for suggestions.
pub(super) fn apply(
    source: &Table,
    aliases: &[String],
    config: &mut Config,
    origins: &mut Origins,
    report: &mut Report,
) {
    let mut reader = Reader {
        frames: vec![Frame {
            table: source,
            known: Vec::new(),
        }],
        path: Vec::new(),
        aliases,
        origins,
        report,
    };
    config.fields(&mut reader);
    reader.report_unknown();
}

/// Every key of the schema, in its order.
pub(super) fn all_keys() -> Vec<String> {
    let mut lister = Lister::default();
    Config::default().fields(&mut lister);
    lister.keys
}

/// After this many problems, unknown keys are reported without suggestions.
const MOST_SUGGESTIONS: usize = 100;

/// Keys that must not be given without a value: their default is weaker than what was meant.
const NEVER_EMPTY: [&str; 4] = ["auth.issuer", "auth.audience", "http.cors_origins", "transport.mode"];

/// Why such a key is refused.
pub(super) const EMPTY: &str =
    "is given but empty, which would switch its protection off; give it a value, or remove it";

/// Whether a key is there and says nothing.
pub(super) fn is_empty(value: &Value) -> bool {
    match &value.data {
        Data::Null => true,
        Data::Text(text) => text.trim().is_empty(),
        Data::Plain(text) => text.trim().trim_matches(',').is_empty(),
        Data::List(items) => items.is_empty(),
        _ => false,
    }
}

struct Frame<'a> {
    table: &'a Table,
    known: Vec<&'static str>,
}

struct Reader<'a> {
    frames: Vec<Frame<'a>>,
    path: Vec<&'static str>,
    aliases: &'a [String],
    origins: &'a mut Origins,
    report: &'a mut Report,
}

impl<'a> Reader<'a> {
    /// The value under a name of the section being walked; the name counts as known from here on.
    fn take(&mut self, name: &'static str) -> Option<&'a Value> {
        let frame = self.frames.last_mut()?;
        frame.known.push(name);
        frame.table.get(name).filter(|value| value.data != Data::Null)
    }

    /// The value under a name, also when it is nothing.
    fn given(&self, name: &str) -> Option<&'a Value> {
        self.frames.last()?.table.get(name)
    }

    fn key(&self, name: &str) -> String {
        join(&self.path, name)
    }

    fn refuse(&mut self, value: &Value, key: &str, refusal: Refusal) {
        let origin = refusal.origin.unwrap_or_else(|| value.origin.clone());
        // A malformed variable is named by the step that reads variables.
        let stage = match origin {
            Origin::Variable(_) if !refusal.fixed => Stage::Load,
            _ => refusal.stage,
        };
        self.origins.spoiled(key);
        self.report.push(stage, &origin, key, refusal.message);
    }

    /// What the section just walked holds besides its fields.
    fn report_unknown(&mut self) {
        let Some(frame) = self.frames.pop() else {
            return;
        };
        let unknown = frame
            .table
            .iter()
            .filter(|(name, _)| !frame.known.contains(&name.as_str()));
        for (name, value) in unknown {
            let key = self.key(name);
            // Looking for what is alike takes its time; nobody reads that many answers.
            let near = (self.report.problems.len() < MOST_SUGGESTIONS)
                .then(|| suggestion(&key, name, &frame.known, &self.path, self.aliases))
                .flatten();
            let misplaced = match (&value.data, &near) {
                (Data::Table(fields), None) => self.misplaced(&key, fields),
                _ => Vec::new(),
            };
            if misplaced.is_empty() {
                let message = unknown_key(near, &value.origin);
                self.report.problem(&value.origin, &key, message);
            }
            for (key, near, origin) in misplaced {
                let message = unknown_key(near, &origin);
                self.report.problem(&origin, &key, message);
            }
        }
    }

    /// The keys of a section that is like none, when at least one of them is known elsewhere:
    /// then each of them is out of place rather than the section misspelt.
    fn misplaced(&self, section: &str, fields: &Table) -> Vec<(String, Option<String>, Origin)> {
        let keys = fields.iter().take(MOST_SUGGESTIONS).map(|(field, value)| {
            let key = format!("{section}.{field}");
            let near = suggestion(&key, field, &[], &[], self.aliases);
            (key, near, value.origin.clone())
        });
        let keys: Vec<_> = keys.collect();
        let any = keys.iter().any(|(_, near, _)| near.is_some());
        if any { keys } else { Vec::new() }
    }
}

fn unknown_key(near: Option<String>, origin: &Origin) -> String {
    match (near, origin) {
        (None, _) => "unknown key; `config` prints the keys that there are".into(),
        (Some(near), Origin::Variable(_)) => {
            format!("unknown key (did you mean {}?)", super::variables::name_of(&near))
        }
        (Some(near), _) => format!("unknown key (did you mean \"{near}\"?)"),
    }
}

/// The nearest of the form's own keys, else of the section's, else of the whole schema.
fn suggestion(
    key: &str,
    name: &str,
    known: &[&'static str],
    path: &[&'static str],
    aliases: &[String],
) -> Option<String> {
    let alias = nearest(key, aliases.iter().map(String::as_str)).map(str::to_owned);
    let sibling = || nearest(name, known.iter().copied()).map(|near| join(path, near));
    alias.or_else(sibling).or_else(|| nearest_anywhere(key))
}

/// The key that is most like this one from its end: a section in front may be missing or
/// another than it should be.
fn nearest_anywhere(key: &str) -> Option<String> {
    let all = all_keys();
    let length = key.split('.').count();
    let ends: Vec<&str> = all.iter().map(|full| last_parts(full, length)).collect();
    let near = nearest(key, ends.iter().copied())?;
    let at = ends.iter().position(|end| *end == near)?;
    all.get(at).cloned()
}

fn last_parts(key: &str, count: usize) -> &str {
    let cut = key.rmatch_indices('.').nth(count.saturating_sub(1));
    cut.and_then(|(dot, _)| key.get(dot + 1..)).unwrap_or(key)
}

fn join(path: &[&'static str], name: &str) -> String {
    let mut key: String = path.iter().flat_map(|part| [*part, "."]).collect();
    key.push_str(name);
    key
}

impl Walker for Reader<'_> {
    fn enter(&mut self, name: &'static str) -> bool {
        let Some(value) = self.take(name) else {
            return false;
        };
        if let Data::Table(table) = &value.data {
            self.frames.push(Frame {
                table,
                known: Vec::new(),
            });
            self.path.push(name);
            return true;
        }
        let key = self.key(name);
        self.refuse(value, &key, value.data.wrong_type("a section with keys of its own"));
        false
    }

    fn leave(&mut self) {
        self.report_unknown();
        self.path.pop();
    }

    fn wants(&mut self, name: &'static str) -> bool {
        let frame = self.frames.last_mut();
        frame.is_some_and(|frame| {
            frame.known.push(name);
            frame.table.get(name).is_some_and(|value| value.data != Data::Null)
        })
    }

    fn leaf(&mut self, name: &'static str, leaf: &mut dyn Leaf) {
        let key = self.key(name);
        if NEVER_EMPTY.contains(&key.as_str())
            && let Some(value) = self.given(name).filter(|value| is_empty(value))
        {
            self.take(name);
            self.refuse(value, &key, Refusal::new(Stage::Validate, EMPTY.into()));
            return;
        }
        let Some(value) = self.take(name) else {
            return;
        };
        match leaf.set(value) {
            Ok(()) => self.origins.set(&key, &value.origin),
            Err(refusals) => {
                for refusal in refusals {
                    self.refuse(value, &key, refusal);
                }
            }
        }
    }
}

#[derive(Default)]
struct Lister {
    path: Vec<&'static str>,
    keys: Vec<String>,
}

impl Walker for Lister {
    fn enter(&mut self, name: &'static str) -> bool {
        self.path.push(name);
        true
    }

    fn leave(&mut self) {
        self.path.pop();
    }

    fn wants(&mut self, _name: &'static str) -> bool {
        true
    }

    fn leaf(&mut self, name: &'static str, _leaf: &mut dyn Leaf) {
        self.keys.push(join(&self.path, name));
    }
}
