//! The database that a URL names, and how a connection to it is made secure.

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Longest that a connection may take to be made, for each host and address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Addresses beyond the first that a connection waits for.
const MAX_ADDRESSES: u32 = 8;
/// A peer that acknowledges nothing for this long is gone.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(8);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);

/// A URL cannot be used. The message never contains the URL or its password.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It is not a PostgreSQL URL.
    #[error("must begin with postgres:// or postgresql://")]
    Scheme,
    /// A part is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The mode of TLS is unknown, or offers no protection.
    #[error(
        "has sslmode={0}; use disable (no TLS), or verify-full (TLS and a verified certificate, the default for other hosts)"
    )]
    SslMode(String),
    /// The certificate authority's file cannot be used.
    #[error("has the sslrootcert {}, which cannot be used: {problem}", path.display())]
    RootCert {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
}

/// A database and how to connect to it.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) tls: Option<MakeRustlsConnect>,
    /// For messages: user, hosts and database, without the password.
    pub(super) shown: String,
}

/// The parameters that concern TLS. The client library does not know all of them.
#[derive(Default)]
struct TlsParameters {
    mode: Option<String>,
    root_cert: Option<PathBuf>,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(url: &str) -> Result<Self, TargetError> {
        check_separators(url)?;
        let (url, parameters) = take_tls_parameters(url)?;
        let mut config = Config::from_str(&url).map_err(|error| {
            // The source names the parameter, and no value.
            let source = std::error::Error::source(&error).map(ToString::to_string);
            TargetError::Invalid(format!(
                "is not a valid URL: {}",
                source.unwrap_or_else(|| "it cannot be parsed".to_owned())
            ))
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(TargetError::Invalid("names no host".to_owned()));
        }
        config
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(TCP_USER_TIMEOUT)
            .keepalives_idle(KEEPALIVE_IDLE)
            .application_name("durable-streams-server");
        let tls = parameters.apply(&mut config)?;
        let shown = shown(&config);
        Ok(Self { config, tls, shown })
    }
}

impl Target {
    /// Longest wait for a connection, if one to a single address and its checks may take `one`. The addresses are
    /// tried one after the other, and one that is gone is given [`CONNECT_TIMEOUT`].
    pub(super) async fn patience(&self, one: Duration) -> Duration {
        let (hosts, addresses) = (self.config.get_hosts(), self.config.get_hostaddrs());
        let mut count = addresses.len();
        for host in hosts.iter().skip(addresses.len()) {
            count += match host {
                Host::Tcp(name) if name.parse::<std::net::IpAddr>().is_err() => {
                    let found = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((name.as_str(), 0)));
                    found.await.map_or(1, |found| found.map_or(1, Iterator::count))
                }
                Host::Tcp(_) | Host::Unix(_) => 1,
            };
        }
        let others = u32::try_from(count.saturating_sub(1)).unwrap_or(MAX_ADDRESSES);
        one + CONNECT_TIMEOUT * others.min(MAX_ADDRESSES)
    }
}

impl TlsParameters {
    fn apply(self, config: &mut Config) -> Result<Option<MakeRustlsConnect>, TargetError> {
        let is_local = config.get_hostaddrs().is_empty() && config.get_hosts().iter().all(is_local);
        let mode = self
            .mode
            .as_deref()
            .unwrap_or(if is_local { "disable" } else { "verify-full" });
        match mode {
            "disable" => {
                config.ssl_mode(SslMode::Disable);
                Ok(None)
            }
            "verify-full" => {
                config.ssl_mode(SslMode::Require);
                let client =
                    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                        .with_safe_default_protocol_versions()
                        .map_err(|error| TargetError::Invalid(error.to_string()))?
                        .with_root_certificates(self.roots()?)
                        .with_no_client_auth();
                Ok(Some(MakeRustlsConnect::new(client)))
            }
            other => Err(TargetError::SslMode(other.to_owned())),
        }
    }

    fn roots(&self) -> Result<RootCertStore, TargetError> {
        let mut roots = RootCertStore::empty();
        let Some(path) = self.root_cert.as_ref().filter(|path| path.as_os_str() != "system") else {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            return Ok(roots);
        };
        let failed = |problem: String| TargetError::RootCert {
            path: path.clone(),
            problem,
        };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| failed(error.to_string()))?;
            roots.add(certificate).map_err(|error| failed(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(failed("it holds no certificate".to_owned()));
        }
        Ok(roots)
    }
}

/// Refuses a URL in which a part of the password would be taken for the host, the database or the name of a
/// parameter, all of which are shown, or would not be recognized as one where passwords are masked.
fn check_separators(url: &str) -> Result<(), TargetError> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let keys = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    let is_split = !authority.contains('@') && query.contains('@');
    if is_split || authority.matches('@').count() > 1 || keys.chain([path]).any(|part| part.contains('@')) {
        return Err(TargetError::Invalid(
            "has an @ where none can be: in the user and the password, write %40 for @, %2F for /, %3F for ? and \
             %23 for #"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Removes the TLS parameters from a URL.
fn take_tls_parameters(url: &str) -> Result<(String, TlsParameters), TargetError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(TargetError::Scheme);
    }
    let mut found = TlsParameters::default();
    let Some((base, query)) = url.split_once('?') else {
        return Ok((url.to_owned(), found));
    };
    let mut others = Vec::new();
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = || {
            let decoded = percent_encoding::percent_decode_str(value).decode_utf8();
            decoded.map_err(|_| TargetError::Invalid(format!("has a {key} that is not UTF-8")))
        };
        match key {
            "sslmode" => found.mode = Some(value()?.into_owned()),
            "sslrootcert" => found.root_cert = Some(PathBuf::from(&*value()?)),
            _ => others.push(pair),
        }
    }
    let url = if others.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{}", others.join("&"))
    };
    Ok((url, found))
}

/// Whether a connection to a host does not leave the machine.
fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()),
    }
}

fn shown(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(index, host)| {
            let port = ports.get(index).or_else(|| ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        })
        .collect();
    let user = config.get_user().map(|user| format!("{user}@")).unwrap_or_default();
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("postgres://{user}{}/{database}", hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, TargetError> {
        url.parse()
    }

    fn refused(url: &str) -> String {
        match target(url) {
            Ok(target) => panic!("{} is accepted", target.shown),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_remote_host_needs_a_verified_certificate_unless_the_url_says_otherwise() {
        for (url, mode) in [
            ("postgres://a:s3cret@db.example/x", SslMode::Require),
            ("postgres://a:s3cret@db.example/x?sslmode=verify-full", SslMode::Require),
            ("postgres://a:s3cret@10.0.0.7,127.0.0.1/x", SslMode::Require),
            ("postgres://a:s3cret@db.example/x?sslmode=disable", SslMode::Disable),
            ("postgres://a:s3cret@localhost/x", SslMode::Disable),
            ("postgresql://a:s3cret@127.0.0.1:77/x", SslMode::Disable),
            ("postgresql://a@%2Frun%2Fpostgresql/x", SslMode::Disable),
            (
                "postgresql://a@localhost/x?sslmode=verify-full&target_session_attrs=read-write",
                SslMode::Require,
            ),
        ] {
            let target = target(url).unwrap();
            assert_eq!(target.config.get_ssl_mode(), mode, "{url}");
            assert_eq!(target.tls.is_some(), mode == SslMode::Require, "{url}");
            assert!(!target.shown.contains("s3cret"), "{}", target.shown);
        }
        assert_eq!(
            target("postgres://a:s3cret@one,two:77/x").unwrap().shown,
            "postgres://a@one:5432,two:77/x"
        );
    }

    #[tokio::test]
    async fn every_address_may_take_its_time() {
        let one = Duration::from_secs(5);
        for (url, seconds) in [
            ("postgres://a@10.0.0.1/x", 5),
            ("postgres://a@10.0.0.1,10.0.0.2,10.0.0.3/x", 11),
            ("postgres://a@one,two/x?hostaddr=10.0.0.1,10.0.0.2", 8),
            ("postgresql://a@%2Frun%2Fpostgresql/x", 5),
        ] {
            let patience = target(url).unwrap().patience(one).await;
            assert_eq!(patience, Duration::from_secs(seconds), "{url}");
        }
    }

    #[test]
    fn refusals_do_not_repeat_the_password() {
        for url in [
            "mysql://a:s3cret@db/x",
            "postgres://a:s3cret@db/x?sslmode=prefer",
            "postgres://a:s3cret@db/x?sslmode=require",
            "postgres://a:s3cret@db/x?sslrootcert=%2Fnowhere",
            "postgres://a:s3cret@db:seven/x",
            "postgres://a:s3cret@db/x?password=s3cret&nonsense=s3cret",
            "postgres:///x",
        ] {
            let refusal = refused(url);
            assert!(!refusal.contains("s3cret"), "{refusal}");
        }
        for url in [
            "postgres://a:p@s3cret@db/x",
            "postgres://a:p@s3cret/t@db/x",
            "postgres://a:p@s?3cret@db/x=1",
            "postgres://a:p?s3cret=1@db/x",
            "postgres://a:p/s3cret?k=1@db/x",
            "postgres://a:p/s3cret@db/x",
            "postgres://a:p#s3cret@db/x",
        ] {
            let refusal = refused(url);
            assert!(refusal.contains("%40") && !refusal.contains("3cret"), "{refusal}");
        }
        assert!(target("postgres://a%40b:p%40s@db/x?application_name=a@b").is_ok());
        assert!(refused("postgres://a@db/x?sslmode=allow").contains("verify-full"));
    }
}
