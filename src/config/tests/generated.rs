//! The documents made from the declarations of the keys: `config/default.toml`,
//! `docs/configuration.md` and the JSON Schemas.

use serde_json::{Value as Json, json};

use super::super::{
    Config,
    render::toml_text,
    schema::{KeyEntry, Schema, SectionEntry, variable_name},
};
use crate::settings::Kind;

const UPDATE: &str = "UPDATE_GENERATED";

#[test]
fn generated_documents_are_current() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, text) in [
        ("config/default.toml", default_toml()),
        ("docs/configuration.md", reference()),
        ("config/durable_streams.schema.json", pretty(&rails_schema())),
        ("config/server.schema.json", pretty(&toml_schema())),
    ] {
        let file = root.join(path);
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let found = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            found == text,
            "{path} is stale: run `{UPDATE}=1 cargo test --lib generated`"
        );
    }
}

fn pretty(schema: &Json) -> String {
    serde_json::to_string_pretty(schema).unwrap() + "\n"
}

/// The default configuration, with optional sections.
fn defaults() -> Json {
    let config = Config {
        auth: Some(Default::default()),
        internal: Some(Default::default()),
        ..Config::default()
    };
    serde_json::to_value(config).unwrap()
}

/// A key's default in TOML; `None` when it has none.
fn default_of(entry: &KeyEntry, defaults: &Json) -> Option<String> {
    let value = entry.value(defaults).unwrap();
    let text = toml_text(value);
    let is_list = value.as_array().is_some();
    let is_free = entry.key.example.is_empty() || entry.key.kind == Kind::List(&Kind::Rule);
    text.or_else(|| (is_list && is_free).then(|| "[]".into()))
}

fn first_sentence(doc: &str) -> &str {
    let doc = doc.trim();
    let end = doc.find(". ").or(doc.strip_suffix('.').map(str::len));
    &doc[..end.unwrap_or(doc.len())]
}

/// The sentence that says what 0 means.
fn zero(doc: &str) -> Option<&str> {
    let at = doc.find(" 0: ")? + 1;
    doc[at..].split('.').next()
}

fn in_units(entry: &KeyEntry, default: &str) -> Option<String> {
    const MIB: u64 = 1024 * 1024;
    let bytes: u64 = default.parse().ok()?;
    (entry.path.contains("_bytes") && bytes >= MIB && bytes.is_multiple_of(MIB)).then(|| format!("{} MiB", bytes / MIB))
}

fn words(kind: Kind) -> Option<&'static [&'static str]> {
    match kind {
        Kind::Word(words) => Some(words),
        Kind::List(item) => words_of(item),
        _ => None,
    }
}

fn words_of(kind: &Kind) -> Option<&'static [&'static str]> {
    words(*kind)
}

const PREAMBLE: &str = "\
# Every key, with its default. Generated from the declarations of the keys.
# A line that begins with \"# \" and holds a key shows what applies without it: uncomment it to
# change it. docs/configuration.md describes each key.
#
# Order, later over earlier: built-in defaults, defaults of the profile, this file,
# config/<profile>.toml, config/local.toml, the file of --config, DS_* variables
# (transport.tls.cert_path is DS_TRANSPORT__TLS__CERT_PATH).
# `durable-streams-server config` prints the result and where each value came from,
# `durable-streams-server check` says what is wrong with it.
";

fn default_toml() -> String {
    let schema = Schema::get();
    let defaults = defaults();
    let mut text = PREAMBLE.to_owned();
    for section in &schema.sections {
        let header = format!("[{}]", section.path);
        let header = if section.optional {
            format!("# {header}")
        } else {
            header
        };
        text.push_str(&format!("\n{header:<38}# {}\n", section.about.trim_end_matches('.')));
        for entry in schema.keys_of(&section.path) {
            text.push_str(&default_line(entry, &defaults));
        }
    }
    text
}

fn default_line(entry: &KeyEntry, defaults: &Json) -> String {
    let key = &entry.key;
    let default = default_of(entry, defaults);
    let mut notes = Vec::new();
    match (&default, key.derived) {
        (None, "") => notes.push("no default".into()),
        (None, derived) => notes.push(format!("no default: {derived}")),
        (Some(default), _) => notes.extend(in_units(entry, default)),
    }
    if let Some(words) = words(key.kind) {
        notes.push(words.join(" | "));
    }
    notes.push(first_sentence(key.doc).into());
    notes.extend(zero(key.doc).map(str::to_owned));
    if default.is_some() && !key.example.is_empty() {
        notes.push(format!("such as {}", key.example));
    }
    let value = default.unwrap_or_else(|| key.example.into());
    let line = format!("# {} = {value}", key.name);
    format!("{line:<37} # {}\n", notes.join("; "))
}

fn type_name(kind: Kind) -> String {
    match kind {
        Kind::Flag => "true or false".into(),
        Kind::Number => "number".into(),
        Kind::Text => "text".into(),
        Kind::Path => "path".into(),
        Kind::Socket => "address with port".into(),
        Kind::Ip => "IP address".into(),
        Kind::Network => "IP address or CIDR block".into(),
        Kind::Word(words) => words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(", "),
        Kind::Rule => "rule".into(),
        Kind::List(item) => format!("list of: {}", type_name(*item)),
    }
}

const REFERENCE: &str = include_str!("reference.md");

/// `docs/configuration.md`: the text in `reference.md`, and a table for each section.
fn reference() -> String {
    let schema = Schema::get();
    let defaults = defaults();
    let mut text = REFERENCE.to_owned();
    for section in &schema.sections {
        let keys: Vec<_> = schema.keys_of(&section.path).collect();
        if keys.is_empty() {
            continue;
        }
        text.push_str(&format!("\n### `[{}]`\n\n{}\n\n", section.path, section.about));
        text.push_str("| Key | Type | Default | |\n|---|---|---|---|\n");
        for entry in keys {
            text.push_str(&reference_row(entry, &defaults));
        }
    }
    text
}

fn reference_row(entry: &KeyEntry, defaults: &Json) -> String {
    let key = &entry.key;
    let default = match (default_of(entry, defaults), key.derived) {
        (Some(default), _) => {
            let units = in_units(entry, &default).map_or_else(String::new, |units| format!(" ({units})"));
            format!("`{default}`{units}")
        }
        (None, "") => "none".into(),
        (None, derived) => derived.into(),
    };
    let mut text = key.doc.trim().to_owned();
    if let Some(range) = key.range() {
        text.push_str(&format!(" Range: {range}."));
    }
    if !key.rails.is_empty() {
        text.push_str(&format!(" In the Rails form: `{}`.", key.rails));
    }
    let kind = match key.kind {
        Kind::Number if key.name.ends_with("_secs") => "seconds".into(),
        Kind::Number if key.name.contains("_bytes") => "bytes".into(),
        kind => type_name(kind),
    };
    format!("| `{}` | {kind} | {default} | {text} |\n", key.name)
}

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A value's schema. `erb`: a tag may take the place of the value.
fn value_schema(entry: &KeyEntry, erb: bool) -> Json {
    let key = &entry.key;
    let mut schema = kind_schema(key.kind, erb);
    if key.kind == Kind::Number {
        schema["minimum"] = key.min.into();
        if key.max < u64::MAX {
            schema["maximum"] = key.max.into();
        }
    }
    if let Kind::List(_) = key.kind {
        // One value is a list of one.
        schema = json!({"anyOf": [schema["items"], schema]});
    }
    if erb {
        schema = json!({"anyOf": [schema, erb_tag()]});
    }
    let default = entry.value(&defaults()).cloned().unwrap();
    if toml_text(&default).is_some() {
        schema["default"] = default;
    }
    schema["description"] = key.doc.trim().into();
    schema
}

fn erb_tag() -> Json {
    json!({"type": "string", "pattern": "<%="})
}

fn kind_schema(kind: Kind, erb: bool) -> Json {
    match kind {
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Number => json!({"type": "integer"}),
        Kind::Text | Kind::Path | Kind::Socket | Kind::Ip | Kind::Network => json!({"type": "string", "minLength": 1}),
        // `1.2` is a number to YAML.
        Kind::Word(words) if erb && words.iter().all(|word| word.parse::<f64>().is_ok()) => {
            let numbers = words.iter().map(|word| json!(word.parse::<f64>().unwrap()));
            let all: Vec<Json> = words.iter().map(|word| json!(word)).chain(numbers).collect();
            json!({"enum": all})
        }
        Kind::Word(words) => json!({"enum": words}),
        Kind::Rule => json!({
            "type": "object",
            "properties": {
                "streams": {"type": "string", "minLength": 1},
                "max_age_secs": {"type": "integer", "minimum": 1},
                "max_bytes": {"type": "integer", "minimum": 1},
            },
            "required": ["streams"],
            "additionalProperties": false,
        }),
        Kind::List(item) => json!({"type": "array", "items": kind_schema(*item, erb)}),
    }
}

/// The schema's sections as one object.
fn sections_schema(erb: bool) -> Json {
    let schema = Schema::get();
    let mut root = object("", erb);
    for section in &schema.sections {
        let mut inner = object(section.about, erb);
        for entry in schema.keys_of(&section.path) {
            inner["properties"][entry.key.name] = value_schema(entry, erb);
        }
        place(&mut root, section, inner);
    }
    root
}

fn place(root: &mut Json, section: &SectionEntry, inner: Json) {
    let mut at = root;
    for name in section.path.split('.') {
        at = &mut at["properties"][name];
    }
    *at = inner;
}

fn object(about: &str, erb: bool) -> Json {
    let kind = if erb {
        json!(["object", "null"])
    } else {
        json!("object")
    };
    let mut object = json!({"type": kind, "properties": {}, "additionalProperties": false});
    if !about.is_empty() {
        object["description"] = about.into();
    }
    object
}

fn toml_schema() -> Json {
    let mut schema = sections_schema(false);
    schema["$schema"] = DIALECT.into();
    schema["title"] = "Configuration of durable-streams-server, in TOML".into();
    schema
}

/// The form of `config/durable_streams.yml`: the schema's sections and the form's own keys, for
/// each environment.
fn rails_schema() -> Json {
    let mut environment = sections_schema(true);
    for (name, schema) in [
        (
            "port",
            json!({"type": "integer", "minimum": 0, "maximum": 65_535, "description": "Port of the public listener."}),
        ),
        (
            "bind",
            json!({"type": "string", "description": "Address of the public listener."}),
        ),
        (
            "domain",
            json!({"type": "string", "description": "Host name of the public listener, with or without a port: TLS, with the files in `tls` or automatic HTTPS."}),
        ),
    ] {
        environment["properties"][name] = json!({"anyOf": [schema, erb_tag()]});
    }
    for (rails, path) in Schema::get().rails_names() {
        let entry = Schema::get().keys.iter().find(|entry| entry.path == path).unwrap();
        let mut schema = value_schema(entry, true);
        if path.ends_with("_secs") {
            let description = schema["description"].clone();
            schema = json!({"type": ["integer", "string"], "examples": ["30s", "5m"], "description": description});
        }
        match rails.split_once('.') {
            None => environment["properties"][rails] = schema,
            Some((section, name)) => {
                if environment["properties"][section].is_null() {
                    environment["properties"][section] = object("", true);
                }
                environment["properties"][section]["properties"][name] = schema;
            }
        }
    }
    json!({
        "$schema": DIALECT,
        "title": "config/durable_streams.yml",
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/environment"},
        "$defs": {"environment": environment},
    })
}

/// Every key is in every document, by its name.
#[test]
fn every_key_is_documented() {
    let reference = reference();
    let (toml, rails) = (toml_schema(), rails_schema());
    for entry in &Schema::get().keys {
        assert!(
            reference.contains(&format!("| `{}` |", entry.key.name)),
            "{}",
            entry.path
        );
        let path = format!("/properties/{}", entry.path.replace('.', "/properties/"));
        assert!(toml.pointer(&path).is_some(), "{}", entry.path);
        assert!(
            rails.pointer(&format!("/$defs/environment{path}")).is_some(),
            "{}",
            entry.path
        );
        assert!(!variable_name(&entry.path).contains('.'));
        assert!(entry.key.doc.trim().ends_with('.'), "{}", entry.path);
    }
    assert!(
        rails
            .pointer("/$defs/environment/properties/tls/properties/cert")
            .is_some()
    );
    assert!(rails.pointer("/$defs/environment/properties/route").is_some());
}
