//! The load of the machine, and the verdict on figures taken under it. Tested by
//! `tests/benchmark.rs`.

use std::{fs, time::Duration};

use serde::Serialize;

/// The one-minute load average at the start above which a run is not valid.
pub const MAX_LOAD: f64 = 0.3;
/// The share of all CPU time that other processes may take during a row.
pub const MAX_OTHERS: f64 = 0.03;
/// The same during one round of it.
pub const MAX_OTHERS_IN_A_ROUND: f64 = 0.10;
/// The share of all CPU time that the hypervisor may take away during a row.
pub const MAX_STEAL: f64 = 0.02;

/// Linux reports CPU times in ticks of 10 ms (`USER_HZ`), see proc(5).
const TICKS_PER_SECOND: f64 = 100.0;
const KTHREADD: u32 = 2;

/// The hardware and the kernel.
#[derive(Debug, Serialize)]
pub struct Machine {
    cores: usize,
    model: String,
    kernel: String,
    governor: String,
}

impl Machine {
    pub fn read() -> Self {
        let line = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
        let model = line("/proc/cpuinfo").and_then(|text| {
            let model = text.lines().find(|line| line.starts_with("model name"))?;
            Some(model.split_once(':')?.1.trim().to_owned())
        });
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            model: model.unwrap_or_else(|| "unknown CPU".to_owned()),
            kernel: line("/proc/sys/kernel/osrelease").unwrap_or_default(),
            governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
                .unwrap_or_else(|| "not visible".to_owned()),
        }
    }

    pub fn describe(&self) -> String {
        format!(
            "{} cores, {}, Linux {}, frequency governor {}",
            self.cores, self.model, self.kernel, self.governor
        )
    }
}

/// The one-minute load average.
pub fn load() -> Result<f64, String> {
    let text = fs::read_to_string("/proc/loadavg").map_err(|e| format!("/proc/loadavg: {e}"))?;
    parse_load(&text).ok_or_else(|| format!("/proc/loadavg has no load average: {text}"))
}

fn parse_load(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

/// CPU times of the whole machine since its start, in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Times {
    all: u64,
    /// Processes and kernel threads.
    busy: u64,
    steal: u64,
}

/// The first line of `/proc/stat`. Guests are in `user` and `nice` already.
fn parse_times(text: &str) -> Option<Times> {
    let fields: Vec<u64> = text
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = *fields.as_slice() else {
        return None;
    };
    Some(Times {
        all: user + nice + system + idle + iowait + irq + softirq + steal,
        busy: user + nice + system,
        steal,
    })
}

/// The parent and CPU ticks of a process, from `/proc/PID/stat`. The process name may contain any
/// character.
fn parse_process(text: &str) -> Option<(u32, u64)> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some((fields.get(1)?.parse().ok()?, ticks(11)? + ticks(12)?))
}

/// CPU ticks of kernel threads. They write back what the servers wrote, so they do not count as other
/// processes.
fn kernel_thread_ticks() -> u64 {
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| parse_process(&fs::read_to_string(entry.path().join("stat")).ok()?))
        .filter(|(parent, _)| *parent == KTHREADD)
        .map(|(_, ticks)| ticks)
        .sum()
}

/// The machine's CPU times at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot {
    times: Times,
    kernel_threads: u64,
    ours: Duration,
}

impl Snapshot {
    /// `ours` is what this program and the servers that it started have used so far.
    pub fn take(ours: Duration) -> Result<Self, String> {
        let text = fs::read_to_string("/proc/stat").map_err(|e| format!("/proc/stat: {e}"))?;
        Ok(Self {
            times: parse_times(&text).ok_or("/proc/stat has no CPU times")?,
            kernel_threads: kernel_thread_ticks(),
            ours,
        })
    }

    pub fn since(&self, before: &Self) -> Usage {
        let ticks = |now: u64, then: u64| now.saturating_sub(then) as f64;
        let ours = self.ours.saturating_sub(before.ours).as_secs_f64() * TICKS_PER_SECOND;
        let known = ours + ticks(self.kernel_threads, before.kernel_threads);
        Usage {
            all: ticks(self.times.all, before.times.all),
            others: ticks(self.times.busy, before.times.busy) - known,
            steal: ticks(self.times.steal, before.times.steal),
        }
    }
}

/// CPU ticks of all cores in a round or a row. The kernel samples them, so the others' share of a
/// short round can be slightly negative.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Usage {
    all: f64,
    others: f64,
    steal: f64,
}

impl Usage {
    pub fn add(&mut self, other: &Self) {
        self.all += other.all;
        self.others += other.others;
        self.steal += other.steal;
    }

    /// The share of all CPU time that other processes took.
    pub fn others(&self) -> f64 {
        (self.others / self.all.max(1.0)).max(0.0)
    }

    /// The share of all CPU time that the hypervisor took away.
    pub fn steal(&self) -> f64 {
        self.steal / self.all.max(1.0)
    }
}

/// CPU time that others took during a row.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Disturbance {
    pub row: String,
    pub total: Usage,
    /// The others' share in each round.
    pub rounds: Vec<f64>,
}

impl Disturbance {
    pub fn add(&mut self, usage: &Usage) {
        self.total.add(usage);
        self.rounds.push(usage.others());
    }

    pub fn worst_round(&self) -> f64 {
        self.rounds.iter().copied().fold(0.0, f64::max)
    }
}

/// The reasons why the figures are not valid; none if they are.
pub fn objections(load_at_start: f64, rows: &[Disturbance]) -> Vec<String> {
    let mut objections = Vec::new();
    if load_at_start > MAX_LOAD {
        objections.push(format!(
            "load average {load_at_start:.2} at the start, limit {MAX_LOAD:.2}"
        ));
    }
    for row in rows {
        let percent = |share: f64| share * 100.0;
        let (others, worst, steal) = (row.total.others(), row.worst_round(), row.total.steal());
        if others > MAX_OTHERS {
            objections.push(format!(
                "{}: other processes took {:.1}% of the CPU, limit {:.0}%",
                row.row,
                percent(others),
                percent(MAX_OTHERS)
            ));
        } else if worst > MAX_OTHERS_IN_A_ROUND {
            objections.push(format!(
                "{}: other processes took {:.1}% of the CPU in one round, limit {:.0}%",
                row.row,
                percent(worst),
                percent(MAX_OTHERS_IN_A_ROUND)
            ));
        }
        if steal > MAX_STEAL {
            objections.push(format!(
                "{}: the hypervisor took {:.1}% of the CPU, limit {:.0}%",
                row.row,
                percent(steal),
                percent(MAX_STEAL)
            ));
        }
    }
    objections
}

/// A one-line summary.
pub fn verdict(load_at_start: f64, objections: &[String], wide_rows: &[&str], failures: usize) -> String {
    let mut verdict = match objections {
        [] => format!("VALID: load average {load_at_start:.2} at the start"),
        [only] => format!("NOT VALID: {only}"),
        [first, rest @ ..] => format!("NOT VALID: {first}; and {} more, listed below the tables", rest.len()),
    };
    if !wide_rows.is_empty() {
        verdict += &format!("; the spread is not small in {}", wide_rows.join(", "));
    }
    if failures > 0 {
        verdict += &format!("; {failures} of ours FAILED");
    }
    verdict
}

// Cargo builds a benchmark without a harness as a test that has no tests.
#[cfg(test)]
#[allow(dead_code, unused_imports)]
mod tests {
    use super::*;

    fn row(rounds: &[(f64, f64)]) -> Disturbance {
        let mut row = Disturbance {
            row: "append".into(),
            ..Disturbance::default()
        };
        for &(others, steal) in rounds {
            let all = 1000.0;
            row.add(&Usage {
                all,
                others: others * all,
                steal: steal * all,
            });
        }
        row
    }

    #[test]
    fn a_quiet_machine_draws_no_objection() {
        assert!(objections(0.3, &[row(&[(0.01, 0.0), (0.02, 0.01)])]).is_empty());
    }

    #[test]
    fn each_kind_of_disturbance_is_named() {
        let cases = [
            (0.31, vec![(0.0, 0.0)], "load average 0.31 at the start"),
            (0.0, vec![(0.04, 0.0), (0.03, 0.0)], "other processes took 3.5%"),
            (0.0, vec![(0.0, 0.03)], "the hypervisor took 3.0%"),
        ];
        for (load, rounds, expected) in cases {
            let said = objections(load, &[row(&rounds)]).join("\n");
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn one_bad_round_counts_although_the_row_was_quiet_in_the_mean() {
        let mut rounds = vec![(0.0, 0.0); 9];
        rounds.push((0.2, 0.0));
        let said = objections(0.0, &[row(&rounds)]).join("\n");
        assert!(said.contains("20.0% of the CPU in one round"), "{said}");
    }

    #[test]
    fn sampling_errors_below_zero_cancel_out() {
        let noisy = row(&[(-0.04, 0.0), (0.05, 0.0), (-0.01, 0.0)]);
        assert!(noisy.total.others().abs() < 1e-9);
        assert!(row(&[(-0.5, 0.0)]).total.others() == 0.0);
    }

    #[test]
    fn others_are_what_neither_we_nor_kernel_threads_used() {
        let times = |busy| Times {
            all: busy * 2,
            busy,
            steal: busy / 10,
        };
        let snapshot = |busy, kernel_threads, seconds| Snapshot {
            times: times(busy),
            kernel_threads,
            ours: Duration::from_secs(seconds),
        };
        let usage = snapshot(3000, 150, 11).since(&snapshot(1000, 50, 1));
        assert_eq!(usage.others(), 900.0 / 4000.0);
        assert_eq!(usage.steal(), 200.0 / 4000.0);
    }

    #[test]
    fn proc_files_are_read() {
        assert_eq!(parse_load("2.18 3.64 2.41 1/96 21295\n"), Some(2.18));
        assert_eq!(parse_load(""), None);
        let times = parse_times("cpu  100 10 20 500 5 1 2 7 40 3\ncpu0 1 2 3 4 5 6 7 8 9 10\n");
        let expected = Times {
            all: 645,
            busy: 130,
            steal: 7,
        };
        assert_eq!(times, Some(expected));
        assert_eq!(parse_times("cpu  1 2 3\n"), None);
        let process = "42 (a) b (c) S 2 0 0 0 -1 0 0 0 0 0 30 12 5 6 20 0 1 0 9";
        assert_eq!(parse_process(process), Some((2, 42)));
        assert_eq!(parse_process("42 (short) S"), None);
    }

    #[test]
    fn a_verdict_names_the_first_objection_wide_rows_and_failures() {
        let objections = ["load".to_owned(), "others".to_owned()];
        let cases = [
            (0, "VALID: load average 0.10 at the start"),
            (1, "NOT VALID: load"),
            (2, "NOT VALID: load; and 1 more, listed below the tables"),
        ];
        for (count, expected) in cases {
            assert_eq!(verdict(0.1, &objections[..count], &[], 0), expected);
        }
        let said = verdict(0.1, &[], &["append", "sse"], 2);
        assert!(
            said.ends_with("; the spread is not small in append, sse; 2 of ours FAILED"),
            "{said}"
        );
    }
}
