use super::{
    problem::{Refusal, Stage, did_you_mean},
    scalar::toml_text,
    schema::{Scalar, section},
    value::Data,
};

/// `[retention]`: how much of their past streams keep, where they were not created with
/// `Stream-Retention-Age` or `Stream-Retention-Bytes`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionConfig {
    /// `retention.rules`: the first rule whose `streams` matches a stream's name holds for it.
    /// Default: none, streams keep everything.
    pub rules: Vec<RetentionRule>,
}

/// One of `retention.rules`, such as
/// `{ streams = "gid://app/Room/*", max_age_secs = 604800, max_bytes = 10485760 }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRule {
    /// `streams`: a stream's name, in which `*` stands for any run of characters.
    pub streams: String,
    /// `max_age_secs`: what is older is given up. Default: nothing is for its age.
    pub max_age_secs: Option<u64>,
    /// `max_bytes`: what lies further than this before the tail is given up. Default: nothing is.
    pub max_bytes: Option<u64>,
}

section!(RetentionConfig { rules });

const KEYS: [&str; 3] = ["streams", "max_age_secs", "max_bytes"];

impl Scalar for RetentionRule {
    fn read(data: &Data) -> Result<Self, Refusal> {
        let refused = |what: String| Refusal::new(Stage::Load, what);
        let Data::Table(table) = data else {
            return Err(data.wrong_type("rules such as { streams = \"logs/*\", max_age_secs = 86400 }"));
        };
        if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let hint = did_you_mean(unknown, KEYS);
            return Err(refused(format!(
                "a rule has no key {unknown:?}{hint}; it has {}",
                KEYS.join(", ")
            )));
        }
        let field = |key: &str| {
            table
                .get(key)
                .map(|value| &value.data)
                .filter(|data| **data != Data::Null)
        };
        let number = |key: &str| {
            let number = field(key).map(u64::read).transpose();
            match number.map_err(|refusal| refused(format!("{key}: {}", refusal.message)))? {
                Some(0) => Err(refused(format!("{key}: must be at least 1; leave it out for no limit"))),
                number => Ok(number),
            }
        };
        let streams = field("streams").ok_or_else(|| refused("a rule needs `streams`, such as \"logs/*\"".into()))?;
        let rule = Self {
            streams: String::read(streams).map_err(|refusal| refused(format!("streams: {}", refusal.message)))?,
            max_age_secs: number("max_age_secs")?,
            max_bytes: number("max_bytes")?,
        };
        if rule.max_age_secs.is_none() && rule.max_bytes.is_none() {
            return Err(refused("a rule needs `max_age_secs`, `max_bytes` or both".into()));
        }
        Ok(rule)
    }

    fn show(&self) -> String {
        let limits = [("max_age_secs", self.max_age_secs), ("max_bytes", self.max_bytes)];
        let limits: String = limits
            .iter()
            .filter_map(|(key, limit)| Some(format!(", {key} = {}", (*limit)?)))
            .collect();
        format!("{{ streams = {}{limits} }}", toml_text(&self.streams))
    }
}
