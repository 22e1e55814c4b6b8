//! `[observability]`: the log.

use crate::settings::{choices, section};

choices! {
    /// `observability.format`
    #[derive(Default)]
    pub enum LogFormat {
        /// For people.
        #[default]
        Console = "console",
        /// One object a line, with the field names of ECS.
        Json = "json",
    }
}

section! {
    /// The log.
    pub struct ObservabilityConfig {
        /// A level, or a filter in the syntax of `RUST_LOG`.
        rust_log: String = "info".into(), { rails: "log.level" };
        /// Lines for people, or JSON with the field names of ECS.
        format: LogFormat = LogFormat::Console, { rails: "log.format" };
    }
}
