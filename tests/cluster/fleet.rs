//! The servers that clients may ask. Any of them may be away at any moment.

use std::{
    net::SocketAddr,
    sync::{Mutex, RwLock},
};

use super::support::server::{Server, Setup};

pub struct Fleet {
    places: Vec<Place>,
}

/// A server's place: its setup outlives its processes.
struct Place {
    setup: Setup,
    server: Mutex<Option<Server>>,
    address: RwLock<Option<SocketAddr>>,
}

impl Fleet {
    /// Starts a server for each setup.
    #[track_caller]
    pub fn start(setups: Vec<Setup>) -> Self {
        let fleet = Self::empty(setups);
        (0..fleet.len()).for_each(|place| fleet.fill(place));
        fleet
    }

    /// Places without servers.
    pub fn empty(setups: Vec<Setup>) -> Self {
        let places = setups.into_iter().map(|setup| Place {
            setup: setup.with("transport.connection.sse_heartbeat_secs", 1),
            server: Mutex::default(),
            address: RwLock::default(),
        });
        Self {
            places: places.collect(),
        }
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Where the server of this place listens, unless it is away.
    pub fn address(&self, place: usize) -> Option<SocketAddr> {
        *self.places[place].address.read().unwrap()
    }

    /// Starts the server of a place, unless it runs.
    #[track_caller]
    pub fn fill(&self, place: usize) {
        let place = &self.places[place];
        let mut server = place.server.lock().unwrap();
        if server.is_none() {
            let started = place.setup.start();
            *place.address.write().unwrap() = Some(started.public);
            *server = Some(started);
        }
    }

    /// Starts the server of a place, which may have to wait for the store.
    #[track_caller]
    pub fn launch(&self, place: usize) {
        let place = &self.places[place];
        let mut server = place.server.lock().unwrap();
        let started = place.setup.launch();
        *place.address.write().unwrap() = Some(started.public);
        *server = Some(started);
    }

    /// Stops the server of a place, which must exit with success.
    #[track_caller]
    pub fn stop(&self, place: usize) {
        let place = &self.places[place];
        *place.address.write().unwrap() = None;
        if let Some(server) = place.server.lock().unwrap().take() {
            server.stop();
        }
    }

    /// Kills the server of a place.
    pub fn kill(&self, place: usize) {
        let place = &self.places[place];
        *place.address.write().unwrap() = None;
        if let Some(server) = place.server.lock().unwrap().take() {
            server.kill();
        }
    }

    /// Sends a signal to the server of a place.
    pub fn signal(&self, place: usize, signal: &str) {
        if let Some(server) = &*self.places[place].server.lock().unwrap() {
            server.signal(signal);
        }
    }

    /// Looks at the server of a place.
    pub fn with<T>(&self, place: usize, look: impl FnOnce(&Server) -> T) -> Option<T> {
        self.places[place].server.lock().unwrap().as_ref().map(look)
    }

    /// Stops all servers, which must exit with success.
    #[track_caller]
    pub fn stop_all(&self) {
        (0..self.len()).for_each(|place| self.stop(place));
    }
}
