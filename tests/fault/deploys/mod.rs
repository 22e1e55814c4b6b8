//! Deploys in a row under load, through a proxy that switches as kamal-proxy does.

mod events;
mod kamal;
mod readers;
mod record;
mod scene;
mod switch;
mod writers;
