//! Durable Streams inside an axum application that has routes of its own:
//!
//!     cargo run --example embed
//!     curl -X PUT -H 'content-type: text/plain' -d hello localhost:4437/v1/stream/greeting
//!     curl localhost:4437/v1/stream/greeting
//!     curl localhost:4437/rooms/1
//!
//! It reads `config/*.toml` and `DS_*` variables, as the server does. Without them the streams are
//! in memory and open to everyone. It needs none of the crate's features but `postgres` for a database.

use std::{
    io::Write as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, extract::Path, routing::get};
use durable_streams_server::{
    AcidStorage, Config, ConfigLoadOptions, FileStorage, InMemoryStorage, Storage, StorageMode, build_router_with_ready,
};
#[cfg(feature = "postgres")]
use durable_streams_server::{PostgresOptions, PostgresStorage};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let loaded = Config::load(&ConfigLoadOptions::default())?;
    let listener = TcpListener::bind(loaded.config.server.bind_address).await?;
    writeln!(std::io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    serve(listener, &loaded.config, async {
        let _ = tokio::signal::ctrl_c().await;
    })
    .await
}

/// Serves the application until `stop`, then finishes open requests.
pub async fn serve(
    listener: TcpListener,
    config: &Config,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let (ready, stopping) = (Arc::new(AtomicBool::new(true)), CancellationToken::new());
    let opened = {
        let config = config.clone();
        tokio::task::spawn_blocking(move || storage(&config)).await??
    };
    let streams = build_router_with_ready(opened, config, Arc::clone(&ready), stopping.clone())?;

    // The application's own routes and the streams.
    let application = Router::new().route("/rooms/{id}", get(room)).merge(streams);

    let stop = async move {
        stop.await;
        // Readiness fails, and live reads end. axum waits for open requests, and a live read would
        // never end on its own.
        ready.store(false, Ordering::Relaxed);
        stopping.cancel();
    };
    // The peer's address tells a proxy from a client (`[proxy]`).
    let service = application.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop).await?;
    Ok(())
}

/// One of the application's own pages.
async fn room(Path(id): Path<u32>) -> String {
    format!("room {id}")
}

/// The backend of `[storage]`. Opening it blocks. Only one process at a time may open a directory; any number
/// may share a database.
fn storage(config: &Config) -> Result<Arc<dyn Storage>, Error> {
    let section = &config.storage;
    let (dir, open_files) = (&section.data_dir, section.max_open_files);
    Ok(match section.mode {
        StorageMode::Memory => Arc::new(InMemoryStorage::new(config.limits.max_memory_bytes)),
        StorageMode::FileFast => Arc::new(FileStorage::open(dir, false, open_files)?),
        StorageMode::FileDurable => Arc::new(FileStorage::open(dir, true, open_files)?),
        StorageMode::Acid => Arc::new(AcidStorage::open(dir, section.cache_bytes)?),
        #[cfg(feature = "postgres")]
        StorageMode::Postgres => {
            let mut options = PostgresOptions::new(section.url.clone().unwrap_or_default(), "rooms");
            options.listen_url.clone_from(&section.listen_url);
            Arc::new(PostgresStorage::connect(&options)?)
        }
        #[cfg(not(feature = "postgres"))]
        StorageMode::Postgres => return Err("this build has no support for PostgreSQL".into()),
    })
}
