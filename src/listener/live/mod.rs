//! Live responses on HTTP/1.1, which are written without hyper.
//!
//! # Why
//!
//! A live read is a connection that waits. hyper keeps a read buffer, a write buffer and the
//! future of the connection for it, and none of them is used between two events. This module takes
//! the socket back from hyper and writes the chunks itself, so that an idle reader holds its
//! socket and its response body.
//!
//! | KiB per idle reader, plain HTTP/1.1 | taken over | carried by hyper |
//! |---|---|---|
//! | memory store | 1.5 | 20.5 |
//! | `acid` | 1.9 | |
//!
//! Measured on 2026-11-26 on Linux (mimalloc, one server token, release build without LTO): the growth
//! of the server's PSS (`/proc/PID/smaps_rollup`) from 100 to 14,100 readers of one stream (2,100
//! carried by hyper), after several events. hyper carries a GET with a body of one byte. 10,000
//! readers save 185 MiB. With `acid`, a reader keeps its token for the next holder of the store.
//!
//! CPU per event is no reason: with 2000 readers and single events of 256 bytes it was 11.4 to 13.5
//! µs either way (user and system, three runs on a busy machine), nearly all of it in the kernel's
//! `write`.
//!
//! # How
//!
//! 1. [`handoff`]: `ConnectionService` attaches a `LiveHandoff` to each request that is a GET on
//!    HTTP/1.1 without a body. If the application answers with 200 and `text/event-stream`, the
//!    response goes into the connection's slot, and the request's future stays pending for ever.
//! 2. [`takeover`]: the slot. The connection's task (`connection/http1.rs`) looks at it after each
//!    poll of hyper. It takes the response once the socket has accepted all earlier responses.
//! 3. The task takes hyper's connection apart, which drops the pending future and the buffers and
//!    returns the socket and the service.
//! 4. [`writer`]: `LiveWriter` writes the head and a chunk for each frame of the body, with one
//!    vectored write and no copy. [`client_watch`] notices a client that leaves.
//! 5. If the response ends and the client has sent nothing meanwhile, a new hyper connection
//!    continues on the same socket. Otherwise the connection closes.
//!
//! HTTP/2 is not affected: its connections are shared by many streams and stay with hyper.
//!
//! # Risks, and the tests that cover them
//!
//! | risk | rule | test |
//! |---|---|---|
//! | hyper is left with a future that never resolves | the slot is filled before the future stays pending, and the task reads it in the same poll | `tests/live.rs`: every test |
//! | hyper has read a pipelined request, which would be lost | `read_buf` is not empty: answer, say `connection: close`, close | `a_pipelined_request_is_never_half_read` |
//! | an earlier response is still in hyper's buffer | wait until no write is blocked | the same test, live response second |
//! | the response differs from hyper's on the wire | same head and framing | `a_live_response_is_well_formed_and_its_connection_goes_on`, curl |
//! | an aborted body looks complete | no last chunk | `a_broken_body_never_looks_complete` |
//! | timeouts, limits or the shutdown no longer apply | the socket stays a `WriteTimeout`, the body is charged, the task ends with the server | `a_stalled_live_reader_is_dropped`, `tests/responses.rs`, `a_stop_waits_for_live_responses_to_end_themselves` |
//! | a half-closed client is taken for one that left, or the reverse | two probes | `tests/half_close.rs`, `tests/timeouts.rs` |

mod client_watch;
pub(super) mod handoff;
pub(super) mod takeover;
pub(super) mod writer;
