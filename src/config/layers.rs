//! The layers: what each source sets, laid over what the sources before it set.

use std::collections::BTreeSet;

use figment::{
    Figment, Metadata, Profile, Provider, Source,
    value::{Dict, Map},
};

use super::{
    problem::Report,
    schema::{Schema, join, variable_name},
    sections::Config,
};
use crate::{
    listener::TransportMode,
    settings::{Data, Key, Origin, Refusal, Stage, Table, Value, text::nearest},
};

/// After this many problems, unknown keys are reported without suggestions, which are slow.
const MAX_SUGGESTIONS: usize = 100;

/// Why a guarded key is refused.
pub(super) const EMPTY: &str =
    "is given but empty, which would switch its protection off; give it a value, or remove it";

/// The merged values, and where each came from.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    figment: Figment,
    /// Keys with a value that could not be read: nothing is concluded from their defaults.
    invalid: BTreeSet<String>,
}

/// One value as a figment provider, with its origin in the metadata's source.
struct Setting<'a> {
    path: &'a str,
    value: figment::value::Value,
    origin: &'a Origin,
}

impl Provider for Setting<'_> {
    fn metadata(&self) -> Metadata {
        let origin = serde_json::to_string(self.origin).unwrap_or_default();
        Metadata::from(self.origin.to_string(), origin)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let nested = figment::util::nest(self.path, self.value.clone());
        Ok(Profile::Default.collect(nested.into_dict().unwrap_or_default()))
    }
}

impl Layers {
    /// Where the value of a key such as `transport.mode` came from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        let source = self.figment.find_metadata(key).and_then(|found| found.source.as_ref());
        let origin = source.and_then(Source::custom);
        origin
            .and_then(|origin| serde_json::from_str(origin).ok())
            .unwrap_or(Origin::Default)
    }

    /// Whether the value of this key, or of one in this section, could not be read.
    pub(super) fn is_invalid(&self, key: &str) -> bool {
        self.invalid
            .iter()
            .any(|invalid| invalid.starts_with(key) || key.starts_with(&format!("{invalid}.")))
    }

    /// Whether the layers so far set a mode with TLS.
    pub(super) fn has_tls(&self) -> bool {
        let mode = self.figment.extract_inner("transport.mode");
        mode.is_ok_and(|mode: TransportMode| mode != TransportMode::Http)
    }

    /// The merged layers.
    pub(super) fn extract(&self, report: &mut Report) -> Config {
        self.figment.extract().unwrap_or_else(|error| {
            report.problem(&Origin::Default, "", error.to_string());
            Config::default()
        })
    }

    /// Lays a source over the others. Everything in it that is unknown or cannot be read goes
    /// into the report. `aliases` are keys of the source's form that the schema does not have.
    pub(super) fn lay(&mut self, source: &Table, aliases: &[&str], report: &mut Report) {
        let mut laying = Laying {
            layers: self,
            aliases,
            report,
        };
        laying.section("", source);
    }

    fn merge(&mut self, path: &str, value: serde_json::Value, origin: &Origin) {
        let Ok(value) = figment::value::Value::serialize(value) else {
            return;
        };
        let mut figment = std::mem::take(&mut self.figment);
        if value.as_array().is_some() {
            // A list that is merged into a list would keep the origin of the first.
            let value = false.into();
            figment = figment.merge(Setting { path, value, origin });
        }
        self.figment = figment.merge(Setting { path, value, origin });
    }
}

struct Laying<'a> {
    layers: &'a mut Layers,
    aliases: &'a [&'a str],
    report: &'a mut Report,
}

impl Laying<'_> {
    fn section(&mut self, section: &str, table: &Table) {
        let schema = Schema::get();
        for (name, value) in table {
            let path = join(section, name);
            // A quoted key may hold dots, and names nothing then.
            let is_plain = !name.contains('.');
            if let Some(key) = schema.key(&path).filter(|_| is_plain) {
                self.key(&path, key, value);
            } else if let Some(found) = schema.section(&path).filter(|_| is_plain) {
                match &value.data {
                    Data::Null => {}
                    Data::Table(inner) => {
                        if found.optional {
                            self.layers
                                .merge(&path, serde_json::Value::Object(Default::default()), &value.origin);
                        }
                        self.section(&path, inner);
                    }
                    other => self.refuse(
                        value,
                        &path,
                        Refusal::wrong_type(other, "a section with keys of its own"),
                    ),
                }
            } else {
                self.unknown(section, name, value);
            }
        }
    }

    fn key(&mut self, path: &str, key: &Key, value: &Value) {
        if key.never_empty && value.is_empty() {
            self.refuse(value, path, Refusal::malformed(EMPTY));
            return;
        }
        if value.data == Data::Null {
            return;
        }
        match (key.read)(value) {
            Ok(read) => self.layers.merge(path, read, &value.origin),
            Err(refusals) => {
                for refusal in refusals {
                    self.refuse(value, path, refusal);
                }
            }
        }
    }

    fn refuse(&mut self, value: &Value, path: &str, refusal: Refusal) {
        let origin = refusal.origin.unwrap_or_else(|| value.origin.clone());
        // A malformed variable is reported by the step that reads variables.
        let stage = match origin {
            Origin::Variable(_) if !refusal.fixed => Stage::Load,
            _ => refusal.stage,
        };
        self.layers.invalid.insert(path.into());
        self.report.push(stage, &origin, path, refusal.message);
    }

    fn unknown(&mut self, section: &str, name: &str, value: &Value) {
        let path = join(section, name);
        let near = (self.report.problems.len() < MAX_SUGGESTIONS)
            .then(|| self.suggestion(&path, name, Some(section)))
            .flatten();
        if let (Data::Table(fields), None) = (&value.data, &near) {
            let misplaced = self.misplaced(&path, fields);
            if !misplaced.is_empty() {
                for (path, near, origin) in misplaced {
                    self.report.problem(&origin, &path, unknown_key(near, &origin));
                }
                return;
            }
        }
        self.report
            .problem(&value.origin, &path, unknown_key(near, &value.origin));
    }

    /// The keys of an unknown section, when at least one of them is known elsewhere: then the
    /// keys are misplaced rather than the section misspelt.
    fn misplaced(&self, section: &str, fields: &Table) -> Vec<(String, Option<String>, Origin)> {
        let keys = fields.iter().take(MAX_SUGGESTIONS).map(|(name, value)| {
            let path = join(section, name);
            let near = self.suggestion(&path, name, None);
            (path, near, value.origin.clone())
        });
        let keys: Vec<_> = keys.collect();
        let any = keys.iter().any(|(_, near, _)| near.is_some());
        if any { keys } else { Vec::new() }
    }

    /// The nearest of the form's own keys, else of the section's, else of the whole schema.
    fn suggestion(&self, path: &str, name: &str, section: Option<&str>) -> Option<String> {
        let alias = nearest(path, self.aliases.iter().copied()).map(str::to_owned);
        let sibling = || {
            let section = section?;
            nearest(name, Schema::get().names_in(section)).map(|near| join(section, near))
        };
        alias.or_else(sibling).or_else(|| closest_key_in_any_section(path))
    }
}

fn unknown_key(near: Option<String>, origin: &Origin) -> String {
    match (near, origin) {
        (None, _) => "unknown key; `config` prints all keys".into(),
        (Some(near), Origin::Variable(_)) => format!("unknown key (did you mean {}?)", variable_name(&near)),
        (Some(near), _) => format!("unknown key (did you mean \"{near}\"?)"),
    }
}

/// Compares the ends of keys: a section in front may be missing or wrong.
fn closest_key_in_any_section(path: &str) -> Option<String> {
    let paths: Vec<&str> = Schema::get().paths().collect();
    let parts = path.split('.').count();
    let ends: Vec<&str> = paths.iter().map(|full| last_parts(full, parts)).collect();
    let near = nearest(path, ends.iter().copied())?;
    let at = ends.iter().position(|end| *end == near)?;
    paths.get(at).map(|found| (*found).to_owned())
}

fn last_parts(path: &str, count: usize) -> &str {
    let cut = path.rmatch_indices('.').nth(count.saturating_sub(1));
    cut.and_then(|(dot, _)| path.get(dot + 1..)).unwrap_or(path)
}
