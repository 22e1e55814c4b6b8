//! The report for people. Its first and its last line say whether the figures are valid.

use crate::{
    lineup::{AGAIN, BEFORE},
    machine::verdict,
    report::Report,
    row::{Measure, Row},
    statistics::Ratio,
};

impl Report {
    pub fn print(&self) {
        let verdict = self.verdict();
        println!("{verdict}\n");
        println!("{}", self.machine.describe());
        println!("load average at the start {:.2}", self.load_at_start);
        for program in &self.programs {
            println!("{program}");
        }
        for row in self.rows() {
            self.print_row(row);
        }
        let objections = self.objections();
        self.print_list("Not valid, because:", &objections);
        self.print_list(
            "Failed, so that what is shown of them is not to be trusted:",
            self.problems(),
        );
        self.print_list("Others that failed, and limits of this machine:", self.remarks());
        self.print_list("Skipped:", &self.absent);
        println!("\n{verdict}");
    }

    fn print_list(&self, title: &str, lines: &[String]) {
        if !lines.is_empty() {
            println!("\n{title}");
            for line in lines {
                println!("  {line}");
            }
        }
    }

    fn verdict(&self) -> String {
        let wide: Vec<&str> = self
            .rows()
            .filter(|row| self.is_wide(self.widest_spread(row)))
            .map(|row| row.name)
            .collect();
        verdict(self.load_at_start, &self.objections(), &wide, self.problems().len())
    }

    fn is_wide(&self, spread: Option<f64>) -> bool {
        spread.is_some_and(|spread| spread > self.small_spread)
    }

    fn print_row(&self, row: &Row) {
        println!("\n{}: {}", row.name, row.title);
        let spread = match (self.widest_spread(row), self.small_spread * 100.0) {
            (None, _) => "too few rounds for a spread".to_owned(),
            (Some(spread), limit) if self.is_wide(Some(spread)) => {
                format!("THE SPREAD IS NOT SMALL: {:.1}%, limit {limit:.0}%", spread * 100.0)
            }
            (Some(spread), _) => format!("the spread is small: {:.1}% at most", spread * 100.0),
        };
        println!("  rounds: {}; {spread}", self.rounds(row));
        if let Some(seen) = self.disturbances.iter().find(|seen| seen.row == row.name) {
            println!(
                "  other processes took {:.1}% of the CPU, {:.1}% in the worst round; steal {:.1}%",
                seen.total.others() * 100.0,
                seen.worst_round() * 100.0,
                seen.total.steal() * 100.0
            );
        }
        for &measure in row.measures {
            self.print_measure(row, measure);
        }
    }

    fn print_measure(&self, row: &Row, measure: Measure) {
        let contenders = self.contenders(row, measure);
        let base = row.field.base();
        if contenders.is_empty() {
            return;
        }
        let control = self.ratio(row, measure, &format!("{base}{AGAIN}"), base);
        let compares = contenders.iter().any(|contender| contender.ends_with(BEFORE));
        let before = if compares { "of before" } else { "" };
        println!("  {}", measure.title());
        println!(
            "    {:<20}{:>10} {:>7}  {:<14}  {:<16}  {before:<14}  target",
            "",
            "median",
            "spread",
            format!("of {base}"),
            format!("({base} again)")
        );
        for contender in contenders {
            let Some(own) = self.own(row, measure, contender) else {
                continue;
            };
            let beside_base = self.ratio(row, measure, contender, base).filter(|_| contender != base);
            let beside_before = self.ratio(row, measure, contender, &format!("{contender}{BEFORE}"));
            let shown_control = match (beside_base, control) {
                (Some(_), Some(control)) => format!("({})", ratio(control)),
                _ => String::new(),
            };
            let wide = beside_base.is_some_and(|ratio| self.is_wide(ratio.spread))
                || beside_before.is_some_and(|ratio| self.is_wide(ratio.spread));
            let line = format!(
                "    {contender:<20}{:>10} {:>7}  {:<14}  {shown_control:<16}  {:<14}  {:<14}{}",
                figure(own.median),
                own.spread.map(percent).unwrap_or_default(),
                beside_base.map(ratio).unwrap_or_default(),
                beside_before.map(ratio).unwrap_or_default(),
                self.shown_target(row, measure, contender),
                if wide { "  wide" } else { "" }
            );
            println!("{}", line.trim_end());
        }
    }

    /// An invalid run neither meets nor misses targets.
    fn shown_target(&self, row: &Row, measure: Measure, contender: &str) -> String {
        let Some((goal, reached)) = self.target(row, measure, contender) else {
            return String::new();
        };
        let verdict = match reached {
            _ if !self.objections().is_empty() => "",
            Some(true) => " met",
            Some(false) => " MISSED",
            None => " too close",
        };
        format!("{goal}{verdict}")
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

fn ratio(ratio: Ratio) -> String {
    let spread = ratio.spread.map(|spread| format!(" ±{}", percent(spread)));
    let digits = match ratio.median.abs() {
        small if small < 0.1 => 3,
        large if large >= 100.0 => 0,
        _ => 2,
    };
    format!("{:.digits$}{}", ratio.median, spread.unwrap_or_default())
}

fn figure(value: f64) -> String {
    if value >= 1000.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}
