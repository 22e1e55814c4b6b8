//! The rows of the report: workloads, contenders and targets.

use std::time::Duration;

use serde::Serialize;

use crate::{
    MIB,
    work::{Append, Read, Sse, Work},
};

/// A figure of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    Cpu,
    DatabaseCpu,
    Throughput,
    P50,
    P99,
    ReaderMemory,
    StreamsCreated,
    StreamMemory,
    StreamMemoryRestarted,
    StreamDescriptors,
    Restart,
}

impl Measure {
    pub fn title(self) -> &'static str {
        match self {
            Self::Cpu => "server CPU of one [µs]",
            Self::DatabaseCpu => "PostgreSQL's CPU of one [µs]",
            Self::Throughput => "throughput [1/s], more is better",
            Self::P50 => "latency, p50 [µs]",
            Self::P99 => "latency, p99 [µs]",
            Self::ReaderMemory => "server memory of a reader [KiB]",
            Self::StreamsCreated => "streams created",
            Self::StreamMemory => "server memory of an idle stream [B]",
            Self::StreamMemoryRestarted => "the same after a restart, beyond an empty server's [B]",
            Self::StreamDescriptors => "file descriptors of all idle streams",
            Self::Restart => "start to first answer with the streams on disk [ms]",
        }
    }

    pub fn more_is_better(self) -> bool {
        matches!(self, Self::Throughput | Self::StreamsCreated)
    }
}

/// The contenders of a row. The first is the base of its ratios and takes part twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The official server, and ours on each backend.
    Stores,
    /// The same, and bare hyper.
    StoresAndHyper,
    /// The same, and nginx.
    StoresHyperAndNginx,
    /// The official server, bare hyper that verifies tokens, and ours on the first backend.
    Tokens,
    /// The official server, ours on the first backend, and bare hyper.
    Crowd,
    /// Bare hyper, ours on the first backend, and nginx if available. The official server has no
    /// TLS.
    Tls { nginx: bool },
    /// Ours on the backends whose acknowledgements are durable: alone on a disk, and one, two and
    /// four servers on one database.
    Durable,
}

impl Field {
    /// The base of the ratios.
    pub fn base(self) -> &'static str {
        match self {
            Self::Tls { .. } => "hyper",
            Self::Durable => "acid",
            _ => "official",
        }
    }
}

/// A target of this project.
#[derive(Clone, Copy)]
pub struct Target {
    pub measure: Measure,
    pub contenders: &'static [&'static str],
    pub bound: Bound,
}

#[derive(Clone, Copy)]
pub enum Bound {
    /// A share of the official server's figure in the same run.
    Share(f64),
    Value(f64),
}

/// Counts that the command line may change.
#[derive(Clone)]
pub struct Settings {
    /// Part of all stream names, so that a database can be reused.
    pub tag: String,
    pub readers: usize,
}

impl Settings {
    /// Those of a contender whose streams must not be those of others in the same database.
    pub fn of(&self, contender: &str) -> Self {
        let name = contender.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        Self {
            tag: format!("{}-{name}", self.tag),
            ..self.clone()
        }
    }

    pub fn path(&self, name: &str) -> String {
        format!("/v1/stream/bench-{}-{name}", self.tag)
    }
}

pub struct Row {
    pub name: &'static str,
    pub title: &'static str,
    pub field: Field,
    /// The spread of the first measure decides the number of rounds.
    pub measures: &'static [Measure],
    pub targets: &'static [Target],
    /// The duration of a turn, unless the work has a natural end.
    pub turn: Duration,
    /// Restarts servers for each turn, because memory left by earlier turns would hide the growth.
    pub starts_servers_each_turn: bool,
    /// `None` if the row has its own procedure.
    pub work: Option<fn(&Settings) -> Work>,
}

impl Row {
    pub fn named(name: &str) -> Option<&'static Self> {
        ROWS.iter().find(|row| row.name == name)
    }
}

const BACKENDS: &[&str] = &["memory", "acid", "file-durable"];
const LATENCY: &[Measure] = &[Measure::P50, Measure::P99, Measure::Throughput, Measure::Cpu];
const CPU: &[Measure] = &[Measure::Cpu, Measure::DatabaseCpu];
const DURABLE: &[Measure] = &[
    Measure::Throughput,
    Measure::Cpu,
    Measure::DatabaseCpu,
    Measure::P50,
    Measure::P99,
];

const fn target(measure: Measure, contenders: &'static [&'static str], bound: Bound) -> Target {
    Target {
        measure,
        contenders,
        bound,
    }
}

const NEVER_SLOWER: [Target; 3] = [
    target(Measure::P50, BACKENDS, Bound::Share(1.0)),
    target(Measure::P99, BACKENDS, Bound::Share(1.0)),
    target(Measure::Throughput, BACKENDS, Bound::Share(1.0)),
];

const PLAIN: Row = Row {
    name: "",
    title: "",
    field: Field::Stores,
    measures: CPU,
    targets: &[],
    turn: Duration::from_millis(500),
    starts_servers_each_turn: false,
    work: None,
};

pub const ROWS: &[Row] = &[
    Row {
        name: "append",
        title: "append 256 B, 32 connections, 64 streams",
        measures: &[Measure::Cpu, Measure::Throughput, Measure::P50, Measure::P99],
        targets: &[
            target(Measure::Cpu, &["memory"], Bound::Share(0.55)),
            target(Measure::Cpu, &["acid"], Bound::Share(0.85)),
            target(Measure::Cpu, &["file-durable"], Bound::Share(0.75)),
            NEVER_SLOWER[0],
            NEVER_SLOWER[1],
            NEVER_SLOWER[2],
        ],
        work: Some(|settings| Work::Append(Append::binary(settings, 32))),
        ..PLAIN
    },
    Row {
        name: "append1",
        title: "append 256 B, 1 connection, 64 streams",
        measures: LATENCY,
        targets: &NEVER_SLOWER,
        work: Some(|settings| Work::Append(Append::binary(settings, 1))),
        ..PLAIN
    },
    Row {
        name: "append256",
        title: "append 256 B, 256 connections, 64 streams",
        measures: LATENCY,
        targets: &NEVER_SLOWER,
        work: Some(|settings| Work::Append(Append::binary(settings, 256))),
        ..PLAIN
    },
    Row {
        name: "append_json",
        title: "append 256 B of JSON, an array of one; 32 connections, 64 streams",
        work: Some(|settings| Work::Append(Append::json(settings))),
        ..PLAIN
    },
    Row {
        name: "append_producer",
        title: "append 256 B with producer headers; 32 connections, 64 streams, one producer each",
        work: Some(|settings| Work::Append(Append::by_producers(settings))),
        ..PLAIN
    },
    Row {
        name: "durable",
        title: "durable append 256 B, 32 connections, 64 streams; servers that share a database",
        field: Field::Durable,
        measures: DURABLE,
        work: Some(|settings| Work::Append(Append::binary(settings, 32))),
        ..PLAIN
    },
    Row {
        name: "durable256",
        title: "durable append 256 B, 256 connections, 64 streams; servers that share a database",
        field: Field::Durable,
        measures: DURABLE,
        work: Some(|settings| Work::Append(Append::binary(settings, 256))),
        ..PLAIN
    },
    Row {
        name: "durable_hot",
        title: "durable append 256 B, 32 connections, one stream; servers that share a database",
        field: Field::Durable,
        measures: DURABLE,
        work: Some(|settings| Work::Append(Append::to_one_stream(settings, 32))),
        ..PLAIN
    },
    Row {
        name: "read1k",
        title: "read 1 KiB, 16 connections (nginx: a static file)",
        field: Field::StoresHyperAndNginx,
        targets: &[target(Measure::Cpu, BACKENDS, Bound::Share(0.38))],
        work: Some(|settings| Work::Read(Read::new(settings, "small", 1024, 16))),
        ..PLAIN
    },
    Row {
        name: "read1m",
        title: "read 1 MiB, 4 connections",
        field: Field::StoresAndHyper,
        targets: &[target(Measure::Cpu, BACKENDS, Bound::Share(0.90))],
        work: Some(|settings| Work::Read(Read::new(settings, "large", MIB, 4))),
        ..PLAIN
    },
    Row {
        name: "fresh_token",
        title: "read 1 KiB with a new token each time, 16 connections (official: without tokens)",
        field: Field::Tokens,
        work: Some(|settings| Work::Read(Read::new(settings, "small", 1024, 16).with_fresh_tokens())),
        ..PLAIN
    },
    Row {
        name: "sse",
        title: "SSE, a delivered event, 500 readers × 50/s",
        field: Field::StoresAndHyper,
        targets: &[target(Measure::Cpu, BACKENDS, Bound::Share(0.70))],
        work: Some(|settings| Work::Sse(Sse::new(settings, 500, 50, 40))),
        ..PLAIN
    },
    Row {
        name: "sse15k",
        title: "SSE, a delivered event, 15,000 readers (--readers) × 5/s",
        field: Field::Crowd,
        measures: &[Measure::Cpu, Measure::ReaderMemory],
        targets: &[
            target(Measure::Cpu, BACKENDS, Bound::Share(0.70)),
            target(Measure::ReaderMemory, BACKENDS, Bound::Value(2.0)),
        ],
        starts_servers_each_turn: true,
        work: Some(|settings| Work::Sse(Sse::new(settings, settings.readers, 5, 8))),
        ..PLAIN
    },
    Row {
        name: "h2_read1k",
        title: "read 1 KiB, HTTP/2 over TLS, 16 connections (nginx: a static file)",
        field: Field::Tls { nginx: true },
        work: Some(|settings| Work::Read(Read::new(settings, "small", 1024, 16))),
        ..PLAIN
    },
    Row {
        name: "h2_sse",
        title: "SSE, a delivered event, HTTP/2 over TLS, 300 readers × 40/s",
        field: Field::Tls { nginx: false },
        work: Some(|settings| Work::Sse(Sse::new(settings, 300, 40, 32))),
        ..PLAIN
    },
    Row {
        name: "idle",
        title: "idle streams (one round)",
        measures: &[
            Measure::StreamsCreated,
            Measure::StreamMemory,
            Measure::StreamMemoryRestarted,
            Measure::StreamDescriptors,
            Measure::Restart,
        ],
        targets: &[
            target(Measure::StreamMemory, BACKENDS, Bound::Value(200.0)),
            target(Measure::StreamMemoryRestarted, BACKENDS, Bound::Value(200.0)),
            target(Measure::Restart, BACKENDS, Bound::Value(50.0)),
        ],
        ..PLAIN
    },
];
