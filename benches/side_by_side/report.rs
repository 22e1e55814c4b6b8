//! The figures, as a table for people and as JSON.

use std::{collections::BTreeMap, io, path::Path};

use serde::Serialize;

use crate::contender::Contender;

/// One figure of one contender in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    pub measure: &'static str,
    pub contender: &'static str,
    pub round: usize,
    pub value: f64,
}

/// What a figure is and what it should be.
pub struct Measure {
    pub name: &'static str,
    pub what: &'static str,
    pub unit: &'static str,
    /// The largest allowed value of a contender, as a share of the official server's in the same run.
    pub shares: &'static [(&'static str, f64)],
    /// The largest allowed value.
    pub limit: Option<f64>,
}

/// Every figure, with the targets of the project's design.
pub const MEASURES: &[Measure] = &[
    Measure {
        name: "append",
        what: "append 256 B (32 connections, 64 streams)",
        unit: "µs",
        shares: &[("file-durable", 0.75), ("acid", 1.0), ("memory", 0.55)],
        limit: None,
    },
    Measure {
        name: "append_json",
        what: "append 256 B of JSON",
        unit: "µs",
        shares: &[],
        limit: None,
    },
    Measure {
        name: "read1k",
        what: "read 1 KiB (16 connections)",
        unit: "µs",
        shares: &[("memory", 0.45), ("acid", 0.45), ("file-durable", 0.45)],
        limit: None,
    },
    Measure {
        name: "read1m",
        what: "read 1 MiB (4 connections)",
        unit: "µs",
        shares: &[("memory", 1.0), ("acid", 1.0), ("file-durable", 1.0)],
        limit: None,
    },
    Measure {
        name: "sse",
        what: "SSE, a delivered event (500 readers × 50/s)",
        unit: "µs",
        shares: &[("memory", 1.1), ("acid", 1.1), ("file-durable", 1.1)],
        limit: None,
    },
    Measure {
        name: "sse_memory",
        what: "SSE, memory of a reader",
        unit: "KiB",
        shares: &[],
        limit: Some(12.0),
    },
    Measure {
        name: "idle_count",
        what: "idle streams created",
        unit: "",
        shares: &[],
        limit: None,
    },
    Measure {
        name: "idle_memory",
        what: "memory of an idle stream",
        unit: "B",
        shares: &[],
        limit: Some(200.0),
    },
    Measure {
        name: "idle_memory_restarted",
        what: "the same after a restart, beyond an empty server's",
        unit: "B",
        shares: &[],
        limit: Some(200.0),
    },
    Measure {
        name: "idle_descriptors",
        what: "descriptors of all idle streams",
        unit: "",
        shares: &[],
        limit: None,
    },
    Measure {
        name: "restart",
        what: "start to first answer with them on disk",
        unit: "ms",
        shares: &[],
        limit: Some(50.0),
    },
];

pub const OFFICIAL: &str = "official";

/// All samples of a run.
#[derive(Default, Serialize)]
pub struct Report {
    samples: Vec<Sample>,
    /// What kept one of ours from being measured.
    problems: Vec<String>,
    /// What kept another from being measured: to be known, but no fault of ours.
    remarks: Vec<String>,
}

impl Report {
    pub fn add(&mut self, measure: &'static str, contender: &'static str, round: usize, value: f64) {
        self.samples.push(Sample {
            measure,
            contender,
            round,
            value,
        });
    }

    pub fn problem(&mut self, workload: &str, contender: &Contender, problem: &str) {
        let text = format!("{workload}, {}: {problem}", contender.name);
        eprintln!("  ! {text}");
        if contender.is_ours() {
            self.problems.push(text);
        } else {
            self.remarks.push(text);
        }
    }

    pub fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    fn values(&self, measure: &str, contender: &str) -> Vec<f64> {
        let of = |sample: &&Sample| sample.measure == measure && sample.contender == contender;
        self.samples.iter().filter(of).map(|sample| sample.value).collect()
    }

    /// The median of the rounds' ratios, each taken within its round.
    fn ratio(&self, measure: &str, contender: &str) -> Option<f64> {
        let by_round = |name: &str| -> BTreeMap<usize, f64> {
            let of = |sample: &&Sample| sample.measure == measure && sample.contender == name;
            self.samples
                .iter()
                .filter(of)
                .map(|sample| (sample.round, sample.value))
                .collect()
        };
        let official = by_round(OFFICIAL);
        let ratios = by_round(contender)
            .into_iter()
            .filter_map(|(round, value)| Some(value / official.get(&round)?));
        median(ratios.collect())
    }

    /// Prints every measure that has samples.
    pub fn print(&self) {
        for measure in MEASURES {
            let mut contenders: Vec<&str> = Vec::new();
            for sample in self.samples.iter().filter(|sample| sample.measure == measure.name) {
                if !contenders.contains(&sample.contender) {
                    contenders.push(sample.contender);
                }
            }
            if contenders.is_empty() {
                continue;
            }
            let unit = if measure.unit.is_empty() {
                String::new()
            } else {
                format!(" [{}]", measure.unit)
            };
            println!("\n{}{unit}", measure.what);
            for contender in contenders {
                let values = self.values(measure.name, contender);
                let Some(middle) = median(values.clone()) else { continue };
                let ratio = self.ratio(measure.name, contender);
                let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
                let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let spread = match values.len() {
                    1 => String::new(),
                    rounds => format!("{} to {} in {rounds} rounds", figure(lowest), figure(highest)),
                };
                let shown_ratio = ratio
                    .filter(|_| contender != OFFICIAL)
                    .map_or(String::new(), |ratio| format!("{ratio:.2} of official"));
                let verdict = self.verdict(measure, contender, middle, ratio);
                let row = format!(
                    "  {contender:<14}{:>10}   {shown_ratio:<18}{verdict:<24}{spread}",
                    figure(middle)
                );
                println!("{}", row.trim_end());
            }
        }
        for (title, lines) in [
            ("Failed, and so not to be believed:", &self.problems),
            ("Beside us:", &self.remarks),
        ] {
            if !lines.is_empty() {
                println!("\n{title}");
                for line in lines {
                    println!("  {line}");
                }
            }
        }
    }

    fn verdict(&self, measure: &Measure, contender: &str, value: f64, ratio: Option<f64>) -> String {
        let share = measure.shares.iter().find(|(name, _)| *name == contender);
        let judged = match (share, measure.limit) {
            (Some((_, target)), _) => ratio.map(|ratio| (ratio <= *target, format!("target {target}"))),
            (None, Some(limit)) if !contender.starts_with(OFFICIAL) && contender != "hyper" => {
                Some((value <= limit, format!("target {limit}")))
            }
            _ => None,
        };
        judged.map_or(String::new(), |(met, target)| {
            format!("{target}: {}", if met { "met" } else { "MISSED" })
        })
    }

    /// Writes everything to a file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(path, serde_json::to_string_pretty(self)?)
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn figure(value: f64) -> String {
    if value >= 1000.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}
