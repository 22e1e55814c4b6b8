//! The command line: arguments in, exit code out.

use std::{io::Write, process::ExitCode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match durable_streams_server::run_command(std::env::args_os()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Where standard error is gone there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "{}", error.text);
            ExitCode::from(error.code)
        }
    }
}
