//! The binary `knock`.

use std::process::ExitCode;

fn main() -> ExitCode {
    knock::run(std::env::args_os())
}
