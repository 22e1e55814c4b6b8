//! The figures of a run.

use std::{collections::BTreeMap, io, path::Path};

use serde::Serialize;

use crate::{
    contender::Contender,
    lineup::{AGAIN, BEFORE},
    machine::{Disturbance, Machine, objections},
    row::{Bound, Measure, ROWS, Row},
    statistics::{Ratio, median, paired_ratio, reached, spread},
};

/// A figure of a contender in a round.
#[derive(Debug, Clone, Serialize)]
struct Sample {
    row: &'static str,
    measure: Measure,
    contender: String,
    round: usize,
    value: f64,
}

#[derive(Serialize)]
pub struct Report {
    pub machine: Machine,
    pub load_at_start: f64,
    /// A ratio with a larger spread is called wide.
    pub small_spread: f64,
    pub programs: Vec<String>,
    pub disturbances: Vec<Disturbance>,
    /// Contenders that did not take part, each with the reason.
    pub absent: Vec<String>,
    samples: Vec<Sample>,
    /// Failures of ours.
    problems: Vec<String>,
    /// Failures of other contenders, and limits of the machine.
    remarks: Vec<String>,
    /// Reasons why the machine's load is unknown.
    unknown: Vec<String>,
}

impl Report {
    pub fn new(machine: Machine, load_at_start: f64, small_spread: f64) -> Self {
        Self {
            machine,
            load_at_start,
            small_spread,
            programs: Vec::new(),
            disturbances: Vec::new(),
            absent: Vec::new(),
            samples: Vec::new(),
            problems: Vec::new(),
            remarks: Vec::new(),
            unknown: Vec::new(),
        }
    }

    pub fn add(&mut self, row: &'static Row, measure: Measure, contender: &str, round: usize, value: f64) {
        if row.measures.contains(&measure) {
            self.samples.push(Sample {
                row: row.name,
                measure,
                contender: contender.to_owned(),
                round,
                value,
            });
        }
    }

    pub fn problem(&mut self, row: &str, contender: &Contender, problem: &str) {
        let text = format!("{row}, {}: {problem}", contender.name);
        eprintln!("  ! {text}");
        if contender.is_ours() {
            self.problems.push(text);
        } else {
            self.remarks.push(text);
        }
    }

    pub fn remark(&mut self, text: String) {
        self.remarks.push(text);
    }

    pub fn cannot_judge(&mut self, row: &str, reason: &str) {
        self.unknown.push(format!("{row}: {reason}"));
    }

    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The reasons why the figures are not valid; none if they are.
    pub fn objections(&self) -> Vec<String> {
        let mut all = objections(self.load_at_start, &self.disturbances);
        all.extend(self.unknown.iter().cloned());
        all
    }

    /// In the order of the line-up.
    pub fn contenders(&self, row: &Row, measure: Measure) -> Vec<&str> {
        let mut contenders: Vec<&str> = Vec::new();
        for sample in &self.samples {
            if sample.row == row.name && sample.measure == measure && !contenders.contains(&sample.contender.as_str()) {
                contenders.push(&sample.contender);
            }
        }
        contenders
    }

    fn by_round(&self, row: &Row, measure: Measure, contender: &str) -> BTreeMap<usize, f64> {
        self.samples
            .iter()
            .filter(|sample| sample.row == row.name && sample.measure == measure && sample.contender == contender)
            .map(|sample| (sample.round, sample.value))
            .collect()
    }

    pub fn rounds(&self, row: &Row) -> usize {
        let rounds = self.samples.iter().filter(|sample| sample.row == row.name);
        rounds.map(|sample| sample.round + 1).max().unwrap_or(0)
    }

    /// The median and the spread of a contender's own values.
    pub fn own(&self, row: &Row, measure: Measure, contender: &str) -> Option<Ratio> {
        let values: Vec<f64> = self.by_round(row, measure, contender).into_values().collect();
        Some(Ratio {
            median: median(&values)?,
            spread: spread(&values),
        })
    }

    /// The ratio of two contenders, round by round.
    pub fn ratio(&self, row: &Row, measure: Measure, contender: &str, base: &str) -> Option<Ratio> {
        let base = self.by_round(row, measure, base);
        paired_ratio(&self.by_round(row, measure, contender), &base)
    }

    /// The widest spread of a ratio in the first measure of a row.
    pub fn widest_spread(&self, row: &Row) -> Option<f64> {
        let measure = *row.measures.first()?;
        let base = row.field.base();
        let mut spreads = Vec::new();
        for contender in self.contenders(row, measure) {
            let beside_base = self.ratio(row, measure, contender, base).filter(|_| contender != base);
            let beside_before = self.ratio(row, measure, contender, &format!("{contender}{BEFORE}"));
            let ratios = [beside_base, beside_before].into_iter().flatten();
            spreads.extend(ratios.filter_map(|ratio| ratio.spread));
        }
        spreads.into_iter().max_by(f64::total_cmp)
    }

    /// The target of a figure, and whether it is met; `None` if the figure is closer to the target
    /// than the noise.
    pub fn target(&self, row: &Row, measure: Measure, contender: &str) -> Option<(f64, Option<bool>)> {
        let target = row
            .targets
            .iter()
            .find(|target| target.measure == measure && target.contenders.contains(&contender))?;
        let (goal, seen, noise) = match target.bound {
            Bound::Value(goal) => (goal, self.own(row, measure, contender)?, 0.0),
            Bound::Share(goal) => {
                let base = row.field.base();
                let control = self.ratio(row, measure, &format!("{base}{AGAIN}"), base)?;
                let ratio = self.ratio(row, measure, contender, base)?;
                (goal, ratio, (control.median - 1.0).abs())
            }
        };
        let noise = noise.max(seen.spread.unwrap_or(0.0) / 2.0);
        Some((goal, reached(seen.median, goal, noise, measure.more_is_better())))
    }

    /// Writes everything to a file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        #[derive(Serialize)]
        struct File<'a> {
            valid: bool,
            objections: Vec<String>,
            #[serde(flatten)]
            report: &'a Report,
        }
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let objections = self.objections();
        let file = File {
            valid: objections.is_empty(),
            objections,
            report: self,
        };
        std::fs::write(path, serde_json::to_string_pretty(&file)?)
    }

    /// Rows that have figures.
    pub fn rows(&self) -> impl Iterator<Item = &'static Row> {
        ROWS.iter().filter(|row| self.rounds(row) > 0)
    }
}
