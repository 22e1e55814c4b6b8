//! The signing keys of webhooks, kept in a stream of the store, so that they are stored where the
//! data is and all servers of a store sign with the same ones (section 6.5).

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Mutex;

use super::codec;
use crate::{
    clock::Clock,
    engine::{Engine, LogChange, LogError, LogWrite, Unavailable},
    protocol::{NameError, Offset, StreamName},
    webhook::{KeyError, KeyRing, Seed, WebhooksConfig},
};

/// How long keys are used before the store is asked for newer ones, in seconds.
const MAX_AGE: u64 = 60;
const MAX_MOVES: u32 = 8;

/// Why a delivery cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A key cannot be made or used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What is stored is not a key ring.
    #[error("the stored signing keys cannot be read")]
    Stored(#[source] serde_json::Error),
    /// See [`Unavailable`].
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

pub(super) struct Keys {
    log: StreamName,
    config: WebhooksConfig,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    ring: Arc<KeyRing>,
    tail: Option<Offset>,
    /// When the store was last asked, in seconds since the epoch.
    asked_at: Option<u64>,
}

impl Keys {
    pub(super) fn new(config: &WebhooksConfig) -> Result<Self, NameError> {
        Ok(Self {
            log: StreamName::internal("signing-keys")?,
            config: config.clone(),
            known: Mutex::default(),
        })
    }

    /// Whether there are any.
    pub(super) async fn are_stored(&self, engine: &Engine) -> Result<bool, Unavailable> {
        Ok(engine.extent(&self.log).await?.is_some())
    }

    /// The published keys. Makes none.
    pub(super) async fn jwks(&self, engine: &Engine, clock: &Clock) -> Result<Bytes, KeysError> {
        let now = clock.secs();
        let mut known = self.known.lock().await;
        // Another server may have made the first one since.
        if known.is_old(now) || known.ring.kid(now).is_none() {
            self.read(&mut known, engine, now).await?;
        }
        Ok(known.ring.jwks(now))
    }

    /// The id of the key that signs. Makes the first one.
    pub(super) async fn kid(&self, engine: &Engine, clock: &Clock) -> Result<String, KeysError> {
        let now = clock.secs();
        let ring = self.current(engine, now).await?;
        Ok(ring.kid(now).ok_or(KeyError::Missing)?.to_owned())
    }

    /// The value of `Webhook-Signature` for a body.
    pub(super) async fn sign(&self, engine: &Engine, clock: &Clock, body: &[u8]) -> Result<String, KeysError> {
        let now = clock.secs();
        let ring = self.current(engine, now).await?;
        Ok(ring.signature_header(now, body)?)
    }

    /// The ring to sign with, after rotation where that is due.
    async fn current(&self, engine: &Engine, now: u64) -> Result<Arc<KeyRing>, KeysError> {
        let mut known = self.known.lock().await;
        if !known.is_old(now) && known.ring.kid(now).is_some() {
            return Ok(Arc::clone(&known.ring));
        }
        for _ in 0..MAX_MOVES {
            self.read(&mut known, engine, now).await?;
            let Some(next) = known.ring.maintained(now, self.config.key_rotation(), Seed::generate)? else {
                return Ok(Arc::clone(&known.ring));
            };
            // Stored first, so that no key signs that a restart would forget.
            let change = LogChange::Replace(codec::encode(&[&next]).map_err(KeysError::Stored)?);
            let write = LogWrite::alone(known.tail, change);
            match engine.write_log(&self.log, write).await {
                Ok(logged) => {
                    known.ring = Arc::new(next);
                    known.tail = Some(logged.tail);
                    return Ok(Arc::clone(&known.ring));
                }
                Err(LogError::Moved) => {}
                Err(LogError::Unavailable(unavailable)) => return Err(unavailable.into()),
            }
        }
        Err(Unavailable::Raced.into())
    }

    async fn read(&self, known: &mut Known, engine: &Engine, now: u64) -> Result<(), KeysError> {
        let log = engine.read_log(&self.log, None).await?;
        let line = log.as_ref().and_then(|log| last_line(&log.messages));
        known.ring = match line {
            Some(line) => Arc::new(serde_json::from_slice(line).map_err(KeysError::Stored)?),
            None => Arc::default(),
        };
        known.tail = log.map(|log| log.tail);
        known.asked_at = Some(now);
        Ok(())
    }
}

impl Known {
    fn is_old(&self, now: u64) -> bool {
        self.asked_at.is_none_or(|at| now < at || now - at >= MAX_AGE)
    }
}

fn last_line(messages: &[u8]) -> Option<&[u8]> {
    let messages = messages.strip_suffix(b",\n")?;
    messages.rsplit(|byte| *byte == b'\n').next()
}
