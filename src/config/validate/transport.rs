//! How the public listener speaks.

use super::Checker;
use crate::{
    config::host::is_host,
    listener::{HttpVersion, TransportMode},
    settings::{Origin, text::quote},
};

const MODE: &str = "transport.mode";

impl Checker<'_> {
    /// The mode and the TLS files agree.
    pub(super) fn transport_mode(&mut self) {
        let (mode, tls) = (self.config.transport.mode, &self.config.transport.tls);
        let files = [
            ("transport.tls.cert_path", tls.cert_path.is_some()),
            ("transport.tls.key_path", tls.key_path.is_some()),
            ("transport.tls.client_ca_path", tls.client_ca_path.is_some()),
        ];
        let automatic = self.config.transport.acme.domain.is_some();
        for (key, given) in files {
            let is_ca = key == "transport.tls.client_ca_path";
            let needed = match mode {
                TransportMode::Http => false,
                TransportMode::Tls => !is_ca && !automatic,
                TransportMode::Mtls => is_ca || !automatic,
            };
            if needed && !given {
                let message = format!("transport.mode = \"{}\" needs {{{key}}}, which is not set", mode.word());
                self.fail(&[MODE, key], message);
            }
            let meant = match mode {
                TransportMode::Http => "\"tls\" or \"mtls\"",
                TransportMode::Tls if is_ca => "\"mtls\"",
                _ => continue,
            };
            if given {
                let message = format!(
                    "{{{key}}} is set, but transport.mode is \"{}\": set the mode to {meant}, or remove this key",
                    mode.word()
                );
                self.fail(&[key, MODE], message);
            }
        }
    }

    /// `transport.http.versions` is what the mode allows, and ALPN offers exactly that.
    pub(super) fn http_versions(&mut self) {
        const VERSIONS: &str = "transport.http.versions";
        const ALPN: &str = "transport.tls.alpn_protocols";
        let versions = &self.config.transport.http.versions;
        let mode = self.config.transport.mode;
        if !versions.contains(&HttpVersion::Http1) {
            self.fail(&[VERSIONS], "must contain \"http1\", which every client can speak");
        }
        if mode == TransportMode::Http {
            if versions.contains(&HttpVersion::Http2) {
                let message = "\"http2\" needs TLS: with transport.mode = \"http\" there is only \"http1\"";
                self.fail(&[VERSIONS, MODE], message);
            }
            return;
        }
        let alpn = &self.config.transport.tls.alpn_protocols;
        for name in alpn.iter().filter(|name| !matches!(name.as_str(), "http/1.1" | "h2")) {
            self.fail(&[ALPN], format!("{} is not one of http/1.1, h2", quote(name)));
        }
        for (version, name) in [(HttpVersion::Http1, "http/1.1"), (HttpVersion::Http2, "h2")] {
            let (spoken, offered) = (versions.contains(&version), alpn.iter().any(|other| other == name));
            let version = version.word();
            if spoken && !offered {
                let message = format!("{VERSIONS} contains \"{version}\", but {ALPN} does not contain \"{name}\"");
                self.fail(&[ALPN, VERSIONS], message);
            }
            if offered && !spoken {
                let message = format!("{ALPN} contains \"{name}\", but {VERSIONS} does not contain \"{version}\"");
                self.fail(&[ALPN, VERSIONS], message);
            }
        }
    }

    pub(super) fn tls_versions(&mut self) {
        let tls = &self.config.transport.tls;
        if tls.min_version > tls.max_version {
            let message = format!(
                "transport.tls.min_version (\"{}\") is above transport.tls.max_version (\"{}\")",
                tls.min_version.word(),
                tls.max_version.word()
            );
            self.fail(&["transport.tls.min_version", "transport.tls.max_version"], message);
        }
    }

    /// Automatic HTTPS.
    pub(super) fn acme(&mut self) {
        const DOMAIN: &str = "transport.acme.domain";
        let (acme, tls) = (&self.config.transport.acme, &self.config.transport.tls);
        if let Some(domain) = &acme.domain {
            if !is_host(domain) || !domain.contains('.') || domain.parse::<std::net::IpAddr>().is_ok() {
                let message = format!(
                    "{} is not a public host name, such as \"streams.example.com\"",
                    quote(domain)
                );
                self.fail(&[DOMAIN], message);
            }
            if self.config.transport.mode != TransportMode::Tls {
                let message = format!(
                    "automatic HTTPS needs transport.mode = \"tls\", not \"{}\"",
                    self.config.transport.mode.word()
                );
                self.fail(&[DOMAIN, MODE], message);
            }
            if acme.cache_dir.is_none() && self.layers.origin("storage.data_dir") == Origin::Default {
                let message = "automatic HTTPS needs storage.data_dir (or transport.acme.cache_dir), where the account \
                               and the certificate are kept: without it every start orders another one, and the \
                               CA's limits are soon reached";
                self.fail(&[DOMAIN, "storage.data_dir"], message);
            }
            for (key, given) in [
                ("transport.tls.cert_path", tls.cert_path.is_some()),
                ("transport.tls.key_path", tls.key_path.is_some()),
            ] {
                if given {
                    self.fail(
                        &[DOMAIN, key],
                        format!("asks for a certificate, but {{{key}}} gives one: remove one of them"),
                    );
                }
            }
        }
        if !acme.directory_url.starts_with("https://") {
            let message = format!("{} is not an https:// URL", quote(&acme.directory_url));
            self.fail(&["transport.acme.directory_url"], message);
        }
        for contact in &acme.contact {
            if contact.starts_with("mailto:") || !contact.contains('@') {
                let message = format!("{} is not a mail address (without \"mailto:\")", quote(contact));
                self.fail(&["transport.acme.contact"], message);
            }
        }
    }
}
