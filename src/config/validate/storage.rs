//! `[storage]`.

use super::Checker;
use crate::{settings::Origin, storage::StorageMode};

const MODE: &str = "storage.mode";
const URL: &str = "storage.url";
const LISTEN_URL: &str = "storage.listen_url";

impl Checker<'_> {
    pub(super) fn storage(&mut self) {
        let storage = &self.config.storage;
        if storage.mode == StorageMode::Postgres {
            if storage.url.is_none() {
                let message = "storage.mode = \"postgres\" needs {storage.url}, such as \
                    postgres://streams:password@db.example.com/streams";
                self.fail(&[URL, MODE], message);
            }
            self.postgres_is_built_in();
            self.postgres_url(URL, storage.url.as_deref());
            self.postgres_url(LISTEN_URL, storage.listen_url.as_deref());
            return;
        }
        for key in [URL, LISTEN_URL] {
            if self.layers.origin(key) != Origin::Default {
                let message = format!(
                    "has an effect with storage.mode = \"postgres\" only, not \"{}\"",
                    storage.mode.word()
                );
                self.fail(&[key, MODE], message);
            }
        }
    }

    #[cfg(feature = "postgres")]
    fn postgres_is_built_in(&mut self) {}

    #[cfg(not(feature = "postgres"))]
    fn postgres_is_built_in(&mut self) {
        self.fail(
            &[MODE],
            "\"postgres\" is not part of this build: build it with the feature postgres",
        );
    }

    #[cfg(feature = "postgres")]
    fn postgres_url(&mut self, key: &str, url: Option<&str>) {
        if let Some(url) = url
            && let Err(error) = crate::storage::postgres::check_url(url)
        {
            self.fail(&[key], error.to_string());
        }
    }

    #[cfg(not(feature = "postgres"))]
    #[allow(clippy::unused_self, clippy::needless_pass_by_ref_mut)]
    fn postgres_url(&mut self, _key: &str, _url: Option<&str>) {}
}
