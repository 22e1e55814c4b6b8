//! The path of the protocol, and the pages that may call it.

use super::Checker;
use crate::{config::host::is_origin, routes::server_paths, settings::text::quote};

impl Checker<'_> {
    pub(super) fn base_path(&mut self) {
        let path = &self.config.http.stream_base_path;
        if let Some(reason) = refuse_base_path(path) {
            self.fail(&["http.stream_base_path"], format!("{} {reason}", quote(path)));
        }
    }

    pub(super) fn public_url(&mut self) {
        let Some(url) = &self.config.http.public_url else {
            return;
        };
        let is_http = url.starts_with("http://") || url.starts_with("https://");
        if !is_http || !is_origin(url) {
            let message = format!(
                "{} is not scheme, host and port without a path, such as \"https://streams.example.com\"",
                quote(url)
            );
            self.fail(&["http.public_url"], message);
        }
    }

    pub(super) fn cors_origins(&mut self) {
        let origins = &self.config.http.cors_origins;
        if origins.trim() == "*" {
            return;
        }
        for origin in origins.split(',').map(str::trim) {
            if !is_origin(origin) {
                let message = format!(
                    "{} is not an origin: write \"*\", or scheme, host and port without a path, \
                     such as \"https://app.example.com\"",
                    quote(origin)
                );
                self.fail(&["http.cors_origins"], message);
            }
        }
    }
}

fn refuse_base_path(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        return Some("must begin with \"/\"".into());
    }
    if path == "/" {
        return Some("leaves no room for the server's own paths; mount at one below, such as \"/v1/stream\"".into());
    }
    if path.ends_with('/') {
        return Some("must not end with \"/\"".into());
    }
    if path.contains(|c: char| "?#%*{}\\\"".contains(c) || !c.is_ascii_graphic()) {
        return Some("must be a plain ASCII path: no ?, #, %, *, braces, quotes or spaces".into());
    }
    if path.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
        return Some("must not contain empty, \".\" or \"..\" segments".into());
    }
    server_paths()
        .find(|own| {
            path.strip_prefix(*own)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .map(|own| format!("is under {own}, which is the server's own"))
}
