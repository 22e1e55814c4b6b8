//! The server as a program.

use std::{io::Write, process::ExitCode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match durable_streams_server::run_command(std::env::args_os()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Standard error may be closed; ignore.
            let _ = writeln!(std::io::stderr(), "{}", error.text);
            ExitCode::from(error.code)
        }
    }
}
