//! Parses the arguments and hands over to `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(chancery::cli::run(std::env::args_os()))
}
