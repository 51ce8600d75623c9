//! Which formats each command prints, by its words. Asked before a command begins, so that none does its work and then
//! cannot say what it did.

use clap::ArgMatches;

use super::output::Format::{self, Json, Jsonl, Name, Pem, Yaml};
use crate::error::{Error, Result};

const DOCUMENT: &[Format] = &[Json, Yaml, Jsonl];
const NAMED: &[Format] = &[Json, Yaml, Jsonl, Name];
const CERTIFICATE: &[Format] = &[Json, Yaml, Jsonl, Name, Pem];
const EVENTS: &[Format] = &[Json, Jsonl];
const WORDS: &[Format] = &[];

/// Besides `table`, which is what people are told in any case.
const FORMATS: &[(&str, &[Format])] = &[
    ("serve", EVENTS),
    ("init", EVENTS),
    ("migrate", DOCUMENT),
    ("clock show", DOCUMENT),
    ("clock trust", DOCUMENT),
    ("setup-link", DOCUMENT),
    ("issue", CERTIFICATE),
    ("sign", CERTIFICATE),
    ("renew", NAMED),
    ("revoke", NAMED),
    ("inspect", &[Json, Yaml, Jsonl, Pem]),
    ("verify", DOCUMENT),
    ("find", CERTIFICATE),
    ("ca list", CERTIFICATE),
    ("ca show", CERTIFICATE),
    ("ca create", CERTIFICATE),
    ("ca import", WORDS),
    ("ca import-certificates", DOCUMENT),
    ("ca csr", WORDS),
    ("ca install", WORDS),
    ("ca root offline", WORDS),
    ("ca root online", WORDS),
    ("ca anchor add", WORDS),
    ("ca anchor list", NAMED),
    ("ca anchor remove", WORDS),
    ("ca crl sign", WORDS),
    ("ca crl import", WORDS),
    ("ca renew", WORDS),
    ("ca ocsp", NAMED),
    ("ca set", NAMED),
    ("ca activate", NAMED),
    ("ca retire", NAMED),
    ("ca remove", NAMED),
    ("profile list", NAMED),
    ("profile show", NAMED),
    ("profile create", NAMED),
    ("profile edit", NAMED),
    ("profile test", DOCUMENT),
    ("profile export", &[Json]),
    ("profile apply", NAMED),
    ("key block", NAMED),
    ("key list", NAMED),
    ("key unblock", NAMED),
    // the secret is printed this once
    ("token create", DOCUMENT),
    ("token list", NAMED),
    ("token revoke", NAMED),
    ("grant create", NAMED),
    ("grant list", NAMED),
    ("grant revoke", DOCUMENT),
    ("acme accounts list", NAMED),
    ("acme accounts show", NAMED),
    ("acme accounts grant", DOCUMENT),
    ("acme accounts deactivate", DOCUMENT),
    ("acme orders list", NAMED),
    ("acme orders show", NAMED),
    ("acme attempts", DOCUMENT),
    ("acme explain", DOCUMENT),
    ("acme test", DOCUMENT),
    ("acme eab create", DOCUMENT),
    ("acme eab list", NAMED),
    ("acme eab revoke", DOCUMENT),
    ("acme directory list", NAMED),
    ("acme directory show", NAMED),
    ("acme directory create", NAMED),
    ("acme directory set", NAMED),
    ("acme limits", DOCUMENT),
    ("acme resume", DOCUMENT),
    ("acme renewals move", NAMED),
    ("acme renewals list", NAMED),
    ("acme renewals cancel", DOCUMENT),
    ("bootstrap", NAMED),
    ("context list", NAMED),
    ("context use", WORDS),
    ("context show", DOCUMENT),
    ("context set", WORDS),
    ("context remove", WORDS),
    ("trust install", DOCUMENT),
    ("trust uninstall", DOCUMENT),
    ("trust status", DOCUMENT),
    ("trust doctor", DOCUMENT),
    ("user create", NAMED),
    ("user list", NAMED),
    ("user role", NAMED),
    ("user password", NAMED),
    ("user sign-in-link", DOCUMENT),
    ("user disable", NAMED),
    ("user enable", NAMED),
    ("audit list", DOCUMENT),
    ("audit verify", DOCUMENT),
    ("audit confirm", DOCUMENT),
    ("audit export", &[Jsonl]),
    ("audit key", DOCUMENT),
    ("quickstart", WORDS),
    ("doctor", DOCUMENT),
    ("fsck", DOCUMENT),
    ("reconcile", DOCUMENT),
    ("config check", WORDS),
    ("config show", DOCUMENT),
    ("config schema", &[Json]),
    ("completion", WORDS),
    ("man", WORDS),
];

fn of(page: &str) -> Option<&'static [Format]> {
    FORMATS.iter().find(|(name, _)| *name == page).map(|(_, formats)| *formats)
}

/// The formats of a page, for its end; none where it prints words alone or is no command.
pub fn line(page: &str) -> Option<String> {
    let formats = of(page).filter(|formats| !formats.is_empty())?;
    Some(format!("Formats for -o: {}", words(formats)))
}

fn words(formats: &[Format]) -> String {
    let all: Vec<_> = [Format::Table].iter().chain(formats).map(|format| format.word()).collect();
    all.join(", ")
}

/// Refuses a format that the command does not print.
pub fn check(matches: &ArgMatches, format: Option<Format>) -> Result<()> {
    let mut page = String::new();
    let mut at = matches.subcommand();
    while let Some((name, below)) = at {
        page = format!("{page} {name}").trim_start().to_owned();
        at = below.subcommand();
    }
    let allowed = of(&page).unwrap_or(WORDS);
    match format.filter(|format| *format != Format::Table && !allowed.contains(format)) {
        None => Ok(()),
        Some(refused) => Err(Error::malformed(format!(
            "`chancery {page}` prints no {}; give -o {}, or leave -o out",
            refused.word(),
            match words(allowed).rsplit_once(", ") {
                Some((others, last)) => format!("{others} or {last}"),
                None => words(allowed),
            }
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::FORMATS;

    fn commands(command: &clap::Command, page: &str, into: &mut Vec<String>) {
        if command.get_subcommands().next().is_none() {
            into.push(page.to_owned());
        }
        for sub in command.get_subcommands() {
            commands(sub, format!("{page} {}", sub.get_name()).trim_start(), into);
        }
    }

    #[test]
    fn every_command_says_what_it_prints() {
        let mut expected = Vec::new();
        commands(&crate::cli::command(), "", &mut expected);
        let mut known: Vec<_> = FORMATS.iter().map(|(page, _)| (*page).to_owned()).collect();
        expected.sort();
        known.sort();
        assert_eq!(known, expected);
    }
}
