//! The listener with real sockets, or with connections in memory where time has to pass.

mod acme;
mod bind;
mod certs;
mod drain;
mod floods;
mod frames;
mod framing;
mod half_close;
mod http2;
mod internal;
mod limits;
mod live;
mod memory;
mod responses;
mod stalls;
mod support;
mod timeouts;
mod tls;
mod tls_files;
