//! Through PgBouncer in transaction mode, where a session is nobody's for longer than a statement.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt as _,
    process::{Child, Command, Stdio},
};

use super::{faults::Proxy, news::everything_arrives, *};
use crate::storage::postgres::connections::Purpose;
use crate::test_support::postgres::{PASSWORD, USER};

struct PgBouncer {
    process: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl PgBouncer {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={} user={USER} password={PASSWORD}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n",
            Postgres::shared().port()
        );
        fs::write(dir.path().join("pgbouncer.ini"), config).unwrap();
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        // PgBouncer refuses to run as root.
        let mut command = if fs::metadata("/proc/self").unwrap().uid() == 0 {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "pgbouncer"]);
            command
        } else {
            Command::new("pgbouncer")
        };
        command
            .arg(dir.path().join("pgbouncer.ini"))
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command
            .spawn()
            .expect("PgBouncer: install the Debian package `pgbouncer`");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(process.try_wait().unwrap().is_none(), "PgBouncer has ended");
        }
        Self {
            process,
            port,
            _dir: dir,
        }
    }
}

#[test]
fn everything_works_through_a_pooler_that_swallows_notifications() {
    let (pooler, database) = (PgBouncer::start(), Postgres::shared().database());
    let options = PostgresOptions {
        url: database.url().replace(
            &format!(":{}/", Postgres::shared().port()),
            &format!(":{}/", pooler.port),
        ),
        ..options(&database)
    };
    let follower = PostgresStorage::open(&options, Clock::system()).unwrap();
    everything_arrives(&database, &follower);
    drop(follower);
}

/// A pooler takes a connection that has answered one statement for unused, although it is still at work on
/// another one that was sent with it, and gives it to somebody else if the client is gone.
#[test]
fn nobody_gets_the_answer_to_a_statement_of_a_connection_that_was_cut() {
    let (pooler, database) = (PgBouncer::start(), Postgres::shared().database());
    let proxy = Proxy::to(pooler.port);
    let store = proxy.open(&database);
    let ask = |sql: &str| store.block(store.core.connections.read_for(Purpose::Lookups, sql, &[]));
    let others = || {
        let rows = ask("select 'mine'").unwrap().unwrap();
        assert_eq!(rows[0].try_get::<_, String>(0).ok().as_deref(), Some("mine"));
    };
    others();
    for _ in 0..3 {
        std::thread::scope(|scope| {
            let first = scope.spawn(|| ask("select pg_sleep(0.3)::text, 'first'"));
            wait_until(Postgres::shared(), "the first statement does not begin", || {
                let active = "state = 'active' and query like '%first%' and pid <> pg_backend_pid()";
                database.sql(&format!("select count(*) from pg_stat_activity where {active}")) == "1"
            });
            scope.spawn(|| ask("select pg_sleep(0.6)::text, 'second'"));
            let _ = first.join().unwrap();
            proxy.heal();
        });
        (0..10).for_each(|_| others());
    }
}
