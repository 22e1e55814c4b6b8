//! Servers that share one PostgreSQL.

mod failover;
mod faults;
mod linear;
mod pooler;
mod relay;
mod rolling;
mod scene;
mod small_disk;
mod starts;
mod subscriptions;
mod wakeup;
