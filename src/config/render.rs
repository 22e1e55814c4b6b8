//! The merged configuration as TOML, each value with its origin.

use serde_json::Value as Json;

use super::{
    load::Loaded,
    schema::{KeyEntry, Schema},
};
use crate::settings::text::mask;

impl Loaded {
    /// The merged configuration as TOML that could be loaded again, except for what is
    /// masked: passwords and tokens in URLs, and key material where a path belongs. A key without a value
    /// is a comment.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let merged = serde_json::to_value(&self.config).unwrap_or_default();
        let schema = Schema::get();
        let mut text = String::new();
        for section in &schema.sections {
            let keys = schema.keys_of(&section.path);
            let lines: Vec<_> = keys.filter_map(|entry| self.line(entry, &merged)).collect();
            if lines.is_empty() {
                continue;
            }
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&format!("[{}]\n", section.path));
            // One long value must not indent every comment.
            const MAX_WIDTH: usize = 60;
            let widths = lines.iter().map(|(value, _)| value.chars().count());
            let width = widths.max().unwrap_or(0).min(MAX_WIDTH);
            for (value, origin) in lines {
                text.push_str(&format!("{value:<width$}  # {origin}\n"));
            }
        }
        text
    }

    /// A key's line and its origin; `None` in an optional section that is absent.
    fn line(&self, entry: &KeyEntry, merged: &Json) -> Option<(String, String)> {
        let name = entry.key.name;
        let value = entry.value(merged)?;
        Some(match toml_text(value) {
            Some(value) => (format!("{name} = {value}"), self.layers.origin(&entry.path).to_string()),
            None => (format!("# {name}"), "not set".into()),
        })
    }
}

/// A value in TOML, secrets masked. An empty one is written like none, because some keys must not
/// be given empty.
pub(super) fn toml_text(value: &Json) -> Option<String> {
    match value {
        Json::Null => None,
        Json::String(text) if text.is_empty() => None,
        Json::String(text) => Some(toml::Value::String(mask(text).into_owned()).to_string()),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().filter_map(toml_text).collect();
            (!items.is_empty()).then(|| format!("[{}]", items.join(", ")))
        }
        Json::Object(fields) => {
            let fields = fields
                .iter()
                .filter_map(|(name, value)| Some((name, toml_text(value)?)));
            let fields: Vec<String> = fields.map(|(name, value)| format!("{name} = {value}")).collect();
            Some(format!("{{ {} }}", fields.join(", ")))
        }
        other => Some(other.to_string()),
    }
}
