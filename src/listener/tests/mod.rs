mod bind;
mod drain;
mod framing;
mod internal;
mod limits;
mod support;
