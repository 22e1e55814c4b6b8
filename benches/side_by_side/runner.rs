//! Runs the rows: the contenders of a row take turns, round after round.

use std::{path::PathBuf, time::Duration};

use tempfile::TempDir;
use tokio::time::Instant;

use crate::{
    contender::Contender,
    lineup::{AGAIN, Lineup},
    machine::{Disturbance, Snapshot, Usage},
    process::{Server, cpu_of_all},
    report::Report,
    row::{Row, Settings},
    work::{Figures, Idle, Outcome, Work},
};

/// The minimum and maximum number of rounds, and the spread that ends a row in between.
pub struct Rounds {
    pub min: usize,
    pub max: usize,
    pub spread: f64,
}

pub struct Bench {
    pub lineup: Lineup,
    pub settings: Settings,
    pub streams: usize,
    pub rounds: Rounds,
    pub started: Instant,
    pub dir: TempDir,
    pub report: Report,
}

/// A contender in a row.
struct Entrant {
    contender: Contender,
    work: Work,
    dir: PathBuf,
    server: Option<Server>,
}

impl Entrant {
    async fn turn(&mut self, row: &Row, length: Duration) -> Outcome<Figures> {
        let server = match self.server.take() {
            Some(server) => server,
            None => {
                let server = Server::start(&self.contender, &self.dir).await?;
                self.work.prepare(&self.contender, &server).await?;
                server
            }
        };
        let figures = self.work.turn(&self.contender, &server, length).await?;
        if row.starts_servers_each_turn {
            server.stop().await;
            let _ = std::fs::remove_dir_all(&self.dir);
        } else {
            self.server = Some(server);
        }
        Ok(figures)
    }

    /// Checks the streams' content and stops the server.
    async fn finish(self) -> Outcome {
        let Some(server) = self.server else { return Ok(()) };
        let checked = self.work.check(&self.contender, &server).await;
        server.stop().await;
        let _ = std::fs::remove_dir_all(&self.dir);
        checked
    }
}

impl Bench {
    pub async fn run(&mut self, row: &'static Row) {
        match row.work {
            Some(work) => self.rounds(row, work).await,
            None => self.idle(row).await,
        }
    }

    async fn rounds(&mut self, row: &'static Row, work: fn(&Settings) -> Work) {
        let mut entrants: Vec<Entrant> = Vec::new();
        for contender in self.lineup.of(row.field) {
            let settings = match contender.has_given_database() {
                true => &self.settings.of(&contender.name),
                false => &self.settings,
            };
            entrants.push(Entrant {
                dir: self.dir.path().join(row.name).join(&contender.name),
                work: work(settings),
                server: None,
                contender,
            });
        }
        if !row.starts_servers_each_turn {
            // Warms up caches, allocators and connections; its figures do not count.
            self.round(row, &mut entrants, None).await;
        }
        let mut disturbance = Disturbance {
            row: row.name.to_owned(),
            ..Disturbance::default()
        };
        for round in 0..self.rounds.max {
            let usage = self.round(row, &mut entrants, Some(round)).await;
            disturbance.add(&usage);
            let spread = self.report.widest_spread(row);
            eprintln!(
                "{:>4} s  {}: round {} of {} to {}, widest spread of a ratio {}, other processes {:.1}% of the CPU",
                self.started.elapsed().as_secs(),
                row.name,
                round + 1,
                self.rounds.min,
                self.rounds.max,
                spread.map_or("unknown".to_owned(), |spread| format!("{:.1}%", spread * 100.0)),
                usage.others() * 100.0
            );
            let small = spread.is_some_and(|spread| spread <= self.rounds.spread);
            if round + 1 >= self.rounds.min && small {
                break;
            }
        }
        self.report.disturbances.push(disturbance);
        for entrant in entrants {
            let contender = entrant.contender.clone();
            if let Err(error) = entrant.finish().await {
                self.report.problem(row.name, &contender, &error);
            }
        }
    }

    /// Gives each contender a turn. A failed contender is skipped in later rounds.
    async fn round(&mut self, row: &'static Row, entrants: &mut Vec<Entrant>, round: Option<usize>) -> Usage {
        let length = match round {
            Some(_) => row.turn,
            None => row.turn / 3,
        };
        let before = self.snapshot(entrants);
        let count = entrants.len();
        let mut failed = Vec::new();
        for turn in 0..count {
            let index = place(turn, count, round.unwrap_or(0));
            let Some(entrant) = entrants.get_mut(index) else {
                continue;
            };
            match (entrant.turn(row, length).await, round) {
                (Ok(figures), Some(round)) => {
                    for (measure, value) in figures {
                        self.report.add(row, measure, &entrant.contender.name, round, value);
                    }
                }
                (Ok(_), None) => {}
                (Err(error), _) => {
                    self.report.problem(row.name, &entrant.contender, &error);
                    failed.push(index);
                }
            }
        }
        let usage = match (before, self.snapshot(entrants)) {
            (Ok(before), Ok(after)) => after.since(&before),
            (Err(error), _) | (_, Err(error)) => {
                self.report.cannot_judge(row.name, &error);
                Usage::default()
            }
        };
        failed.sort_unstable();
        for index in failed.into_iter().rev() {
            entrants.remove(index);
        }
        usage
    }

    fn snapshot(&self, entrants: &[Entrant]) -> Outcome<Snapshot> {
        let servers = entrants.iter().filter_map(|entrant| entrant.server.as_ref());
        Snapshot::take(cpu_of_all(servers) + self.lineup.database_cpu())
    }

    async fn idle(&mut self, row: &'static Row) {
        let idle = Idle {
            settings: &self.settings,
            streams: self.streams,
        };
        let mut disturbance = Disturbance {
            row: row.name.to_owned(),
            ..Disturbance::default()
        };
        let once = |contender: &Contender| !contender.name.ends_with(AGAIN);
        for contender in self.lineup.of(row.field).into_iter().filter(once) {
            let before = self.snapshot(&[]);
            let seconds = self.started.elapsed().as_secs();
            eprintln!("{seconds:>4} s  {}: {}", row.name, contender.name);
            let dir = self.dir.path().join(row.name).join(&contender.name);
            match idle.run(&contender, &dir).await {
                Ok((figures, shortfall)) => {
                    for (measure, value) in figures {
                        self.report.add(row, measure, &contender.name, 0, value);
                    }
                    if let Some(error) = shortfall {
                        self.report.problem(row.name, &contender, &error);
                    }
                }
                Err(error) => self.report.problem(row.name, &contender, &error),
            }
            let _ = std::fs::remove_dir_all(&dir);
            match (before, self.snapshot(&[])) {
                (Ok(before), Ok(after)) => disturbance.add(&after.since(&before)),
                (Err(error), _) | (_, Err(error)) => self.report.cannot_judge(row.name, &error),
            }
        }
        self.report.disturbances.push(disturbance);
    }
}

/// The contender of a turn. Each round starts with another one and every other round is reversed,
/// so that no contender always follows the same one.
fn place(turn: usize, count: usize, round: usize) -> usize {
    let place = (turn + round) % count;
    if round.is_multiple_of(2) {
        place
    } else {
        count - 1 - place
    }
}
