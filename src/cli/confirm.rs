//! The question before a change: nothing is changed without a yes, and without a terminal there is nobody to ask.

use std::io::{BufRead, IsTerminal, Write};

use super::failure::{Failure, Result};
use crate::error::{Error, ErrorKind};

/// Returns at a yes, given by the flag or at the terminal. `unasked` is the refusal where there is no terminal.
pub fn confirm(yes: bool, unasked: &'static str) -> Result<()> {
    if yes {
        return Ok(());
    }
    let refused = |detail: &str| Err(Failure::from(Error::new(ErrorKind::Malformed, detail)));
    if !std::io::stdin().is_terminal() {
        return refused(unasked);
    }
    let mut err = std::io::stderr().lock();
    let _nobody_reads = write!(err, "Continue? [y/N] ").and_then(|()| err.flush());
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    refused("nothing was changed")
}
