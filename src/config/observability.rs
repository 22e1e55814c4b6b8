use super::schema::{choices, section};

/// `observability.format` (`log.format` in the Rails form)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `console`: for people.
    #[default]
    Console,
    /// `json`: one object a line, ECS field names.
    Json,
}

/// `[observability]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservabilityConfig {
    /// `observability.rust_log` (`log.level` in the Rails form): a level, or a filter in the
    /// syntax of `RUST_LOG`. Default `info`.
    pub rust_log: String,
    /// `observability.format`. Default `console`.
    pub format: LogFormat,
}

impl Default for ObservabilityConfig {
    fn default() -> Self {
        Self {
            rust_log: "info".into(),
            format: LogFormat::Console,
        }
    }
}

section!(ObservabilityConfig { rust_log, format });
choices!(LogFormat {
    Console = "console",
    Json = "json",
});
