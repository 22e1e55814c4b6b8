//! Several servers on one PostgreSQL, each with a relay of its own between them.

use std::{net::SocketAddr, path::Path};

use super::{
    super::{
        fleet::Fleet,
        support::{server::Setup, shared::postgres::Postgres},
    },
    pooler::{PgBouncer, PoolMode},
    relay::Relay,
    small_disk::SmallDisk,
};

pub struct Scene {
    pub relays: Vec<Relay>,
    pub pooler: Option<PgBouncer>,
    pub postgres: Postgres,
    /// After PostgreSQL, which uses it.
    pub disk: Option<SmallDisk>,
    database: &'static str,
    setups: Vec<Setup>,
}

/// Short, so that a deadlock in any run is in PostgreSQL's log.
const SETTINGS: [(&str, &str); 2] = [("deadlock_timeout", "200ms"), ("log_lock_waits", "off")];

impl Scene {
    /// PostgreSQL with further settings, and servers that are not started yet.
    pub fn new(servers: usize, settings: &[(&str, &str)], pooler: Option<PoolMode>) -> Self {
        let postgres = Postgres::start(&[&SETTINGS, settings].concat());
        Self::on(postgres, "postgres", servers, pooler, None)
    }

    /// With the tables on a small disk.
    pub fn on_small_disk(servers: usize, mib: u64) -> Self {
        let disk = SmallDisk::new(mib);
        let postgres = Postgres::start(&SETTINGS);
        let place = format!("create tablespace small location '{}'", disk.tables().display());
        postgres.sql("postgres", &place);
        postgres.sql("postgres", "create database small tablespace small");
        Self::on(postgres, "small", servers, None, Some(disk))
    }

    fn on(
        postgres: Postgres,
        database: &'static str,
        servers: usize,
        pooler: Option<PoolMode>,
        disk: Option<SmallDisk>,
    ) -> Self {
        let pooler = pooler.map(|mode| PgBouncer::start(&postgres, mode));
        let direct = SocketAddr::from(([127, 0, 0, 1], postgres.port()));
        let upstream = pooler.as_ref().map_or(direct, |pooler| pooler.address);
        let relays: Vec<Relay> = (0..servers).map(|_| Relay::to(upstream)).collect();
        let url = |relay: &Relay| {
            let port = format!(":{}/", postgres.port());
            postgres
                .url(database)
                .replace(&port, &format!(":{}/", relay.address.port()))
        };
        let setups = relays
            .iter()
            .map(|relay| {
                Setup::new()
                    .with("storage.mode", "postgres")
                    .with("storage.url", url(relay))
            })
            .collect();
        Self {
            relays,
            pooler,
            postgres,
            disk,
            database,
            setups,
        }
    }

    /// Changes the setup of each server, by its number.
    pub fn each(mut self, change: impl Fn(usize, Setup) -> Setup) -> Self {
        self.setups = self
            .setups
            .into_iter()
            .enumerate()
            .map(|(number, setup)| change(number, setup))
            .collect();
        self
    }

    /// Starts the servers.
    pub fn fleet(&self) -> Fleet {
        Fleet::start(self.setups.clone())
    }

    /// A directory for other programs.
    pub fn dir(&self) -> &Path {
        self.setups[0].dir.path()
    }

    pub fn sql(&self, sql: &str) -> String {
        self.postgres.sql(self.database, sql)
    }

    /// Fails if PostgreSQL had to end a deadlock.
    #[track_caller]
    pub fn had_no_deadlock(&self) {
        let log = self.postgres.log();
        let line = log.lines().find(|line| line.contains("deadlock detected"));
        assert_eq!(line, None, "two commits waited for each other");
    }
}
