//! Deploys in a row under load, through a proxy that switches as kamal-proxy does.

mod crashes;
mod events;
mod gap;
mod kamal;
mod readers;
mod record;
mod scene;
mod switch;
mod writers;
