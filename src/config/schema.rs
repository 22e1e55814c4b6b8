//! All keys and sections, by their full names.

use std::sync::LazyLock;

use serde_json::Value as Json;

use super::sections::Config;
use crate::settings::{Key, Section, SectionInfo};

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let mut schema = Schema::default();
    schema.add("", Config::describe());
    schema
});

/// Every key and every section that the modules declare, in their order.
#[derive(Default)]
pub(super) struct Schema {
    pub(super) sections: Vec<SectionEntry>,
    pub(super) keys: Vec<KeyEntry>,
}

pub(super) struct SectionEntry {
    /// Such as `transport.tls`.
    pub(super) path: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the generated documents"))]
    pub(super) about: &'static str,
    /// Whether there is a configuration without it.
    pub(super) optional: bool,
}

pub(super) struct KeyEntry {
    /// Such as `transport.tls.cert_path`.
    pub(super) path: String,
    pub(super) key: Key,
}

impl KeyEntry {
    /// The key's value in a configuration, in JSON.
    pub(super) fn value<'a>(&self, config: &'a Json) -> Option<&'a Json> {
        self.path.split('.').try_fold(config, |value, name| value.get(name))
    }
}

impl Schema {
    pub(super) fn get() -> &'static Self {
        &SCHEMA
    }

    fn add(&mut self, path: &str, info: SectionInfo) {
        if !path.is_empty() {
            self.sections.push(SectionEntry {
                path: path.into(),
                about: info.about.trim(),
                optional: info.optional,
            });
        }
        for key in info.keys {
            let path = join(path, key.name);
            self.keys.push(KeyEntry { path, key });
        }
        for (name, inner) in info.sections {
            self.add(&join(path, name), inner);
        }
    }

    pub(super) fn key(&self, path: &str) -> Option<&Key> {
        self.keys
            .iter()
            .find(|entry| entry.path == path)
            .map(|entry| &entry.key)
    }

    pub(super) fn section(&self, path: &str) -> Option<&SectionEntry> {
        self.sections.iter().find(|entry| entry.path == path)
    }

    /// The keys of one section, without those of sections within it.
    pub(super) fn keys_of<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a KeyEntry> {
        self.keys.iter().filter(move |entry| parent(&entry.path) == section)
    }

    /// The names of a section's keys and sections.
    pub(super) fn names_in<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a str> {
        let keys = self.keys.iter().map(|entry| entry.path.as_str());
        let sections = self.sections.iter().map(|entry| entry.path.as_str());
        keys.chain(sections)
            .filter(move |path| parent(path) == section)
            .map(|path| path.rsplit('.').next().unwrap_or(path))
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|entry| entry.path.as_str())
    }

    /// The keys that have another name in the Rails form, and that name.
    pub(super) fn rails_names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let named = self.keys.iter().filter(|entry| !entry.key.rails.is_empty());
        named.map(|entry| (entry.key.rails, entry.path.as_str()))
    }
}

/// The section of a key or section.
fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(section, _)| section)
}

pub(super) fn join(section: &str, name: &str) -> String {
    match section {
        "" => name.into(),
        section => format!("{section}.{name}"),
    }
}

/// The variable of a key: `transport.tls.cert_path` → `DS_TRANSPORT__TLS__CERT_PATH`.
pub(super) fn variable_name(key: &str) -> String {
    format!("DS_{}", key.replace('.', "__").to_uppercase())
}
