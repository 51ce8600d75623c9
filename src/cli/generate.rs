//! `completion SHELL` and `man DIR`: made from the commands themselves, so that they never say something else.

use std::path::Path;

use clap_complete::Shell;

use super::failure::{Result, Trying};
use super::{command, output};
use crate::error::Error;

pub fn completion(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "chancery", &mut script);
    Ok(output::data(&String::from_utf8_lossy(&script))?)
}

/// One page a command: chancery.1, chancery-issue.1, chancery-ca-create.1 …
pub fn man(directory: &Path) -> Result<()> {
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command(), directory))
        .map_err(|e| Error::malformed(format!("cannot write into {}: {e}", directory.display())));
    written.trying(|| "cannot write the manual pages".into())?;
    output::say(&format!("written  {}/chancery.1 and a page for each command", directory.display()));
    Ok(())
}
