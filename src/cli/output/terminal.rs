//! Whether a person reads stdout: how wide the terminal is, and whether it may have colours (https://no-color.org,
//! https://bixense.com/clicolors).

use std::io::IsTerminal;
use std::sync::OnceLock;

use clap::ValueEnum;

use crate::server::settings::Environment;

/// `--color`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

/// What stdout is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terminal {
    /// None where no terminal reads: nothing is aligned or shortened there.
    pub columns: Option<usize>,
    pub color: bool,
}

/// The width of a terminal that does not tell it.
const USUAL_COLUMNS: usize = 80;

/// Set once, before anything is printed.
static STDOUT: OnceLock<Terminal> = OnceLock::new();

pub fn set_up(color: ColorChoice, environment: &Environment) {
    let columns = std::io::stdout().is_terminal().then(|| columns(environment));
    // a second call cannot happen, and would say the same
    let _ = STDOUT.set(Terminal { columns, color: is_colored(color, columns.is_some(), environment) });
}

pub fn stdout() -> Terminal {
    STDOUT.get().copied().unwrap_or_default()
}

/// Whether a terminal shows stdout.
pub fn is_shown() -> bool {
    stdout().columns.is_some()
}

fn columns(environment: &Environment) -> usize {
    let told = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    let named = || environment.text("COLUMNS").and_then(|text| text.parse().ok());
    Some(told).filter(|columns| *columns > 0).or_else(named).filter(|columns| *columns > 0).unwrap_or(USUAL_COLUMNS)
}

/// The flag decides, then NO_COLOR, then CLICOLOR_FORCE, then what stdout is.
fn is_colored(choice: ColorChoice, is_terminal: bool, environment: &Environment) -> bool {
    // a variable without a text counts as absent
    let is_set = |name| environment.text(name).is_some();
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if is_set("NO_COLOR") => false,
        ColorChoice::Auto
            if is_set("CLICOLOR_FORCE") && environment.text("CLICOLOR_FORCE").as_deref() != Some("0") =>
        {
            true
        }
        ColorChoice::Auto => {
            is_terminal
                && environment.text("TERM").as_deref() != Some("dumb")
                && environment.text("CLICOLOR").as_deref() != Some("0")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_comes_before_no_color_and_that_before_force() {
        let colored =
            |choice, is_terminal, set: &[(&str, &str)]| is_colored(choice, is_terminal, &Environment::of(set));
        let auto = ColorChoice::Auto;
        assert!(colored(auto, true, &[]) && !colored(auto, false, &[]));
        assert!(!colored(auto, true, &[("NO_COLOR", "1")]) && colored(auto, true, &[("NO_COLOR", "")]));
        assert!(!colored(auto, true, &[("TERM", "dumb")]) && !colored(auto, true, &[("CLICOLOR", "0")]));
        assert!(
            colored(auto, false, &[("CLICOLOR_FORCE", "1")]) && !colored(auto, false, &[("CLICOLOR_FORCE", "0")])
        );
        assert!(!colored(auto, false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
        assert!(colored(ColorChoice::Always, false, &[("NO_COLOR", "1")]));
        assert!(!colored(ColorChoice::Never, true, &[("CLICOLOR_FORCE", "1")]));
    }
}
