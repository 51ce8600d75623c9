//! The help pages: every command and every argument is described.

use clap::Command;

use super::{code, run};

/// Whatever has no help text, by its whole name.
fn undescribed(command: &Command, path: &str, found: &mut Vec<String>) {
    for argument in command.get_arguments() {
        if argument.get_help().is_none_or(|help| help.to_string().trim().is_empty()) {
            found.push(format!("{path} {}", argument.get_id()));
        }
    }
    for sub in command.get_subcommands() {
        let path = format!("{path} {}", sub.get_name());
        if sub.get_about().is_none_or(|about| about.to_string().trim().is_empty()) {
            found.push(path.clone());
        }
        undescribed(sub, &path, found);
    }
}

#[test]
fn every_command_and_argument_has_a_help_text() {
    let mut commands = chancery::cli::command();
    commands.build();
    let mut found = Vec::new();
    undescribed(&commands, "chancery", &mut found);
    assert!(found.is_empty(), "{found:#?}");
    // a test that looks at nothing proves nothing
    let mut bare = Vec::new();
    undescribed(&Command::new("x").arg(clap::Arg::new("y")).subcommand(Command::new("z")), "x", &mut bare);
    assert_eq!(bare, ["x y", "x z"]);
}

#[test]
fn settings_without_a_flag_stand_at_the_end_of_the_help_of_serve() {
    let home = tempfile::tempdir().unwrap();
    let page = run(home.path(), &["serve", "--help"]);
    assert_eq!(code(&page), 0);
    let page = String::from_utf8(page.stdout).unwrap();
    for line in [
        "CHANCERY_HSTS  (hsts, default: off)",
        "CHANCERY_TRUSTED_PROXIES  (trusted_proxies, default: none)",
        "CHANCERY_PROXY_PROTOCOL  (proxy_protocol, default: none)",
        "CHANCERY_CRL_BACKDATE  (crl_backdate, default: 300s)",
        "CHANCERY_ANCHOR  (anchor, default: ",
        "CHANCERY_CHECKPOINTS  (checkpoints, default: none)",
        "CHANCERY_DRAIN  (drain, default: 5000ms)",
        "CHANCERY_ACME__HTTP01_PORT  (acme.http01_port, default: 80)",
        "`chancery config show --origin`",
    ] {
        assert!(page.contains(line), "{line} in\n{page}");
    }
    // a reserved name with nothing behind it
    assert!(!page.contains("listen-mtls"), "{page}");
}
