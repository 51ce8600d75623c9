//! Every subcommand of the program, once with `--help` and once with the fewest arguments that it takes, against a fresh
//! CA: none panics, whatever it answers.

use std::path::Path;
use std::process::Stdio;

use crate::support::process::{chancery, code, run, told};

/// Commands that run until they are ended, or change the machine.
const LEFT_OUT: [&str; 3] = ["serve", "trust install", "trust uninstall"];

/// The subcommands of a command, as its help lists them.
fn below(at: &Path, command: &[String]) -> Vec<Vec<String>> {
    let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
    arguments.push("--help");
    let output = run(at, &arguments);
    assert_eq!(code(&output), 0, "{command:?}: {}", told(&output));
    let help = String::from_utf8(output.stdout).unwrap();
    let Some((_, list)) = help.split_once("Commands:\n") else { return Vec::new() };
    let list = list.lines().take_while(|line| !line.is_empty());
    let names = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    names.map(|name| command.iter().cloned().chain([name.to_owned()]).collect()).collect()
}

fn leaves(at: &Path, command: &[String]) -> Vec<Vec<String>> {
    let below = below(at, command);
    if below.is_empty() {
        return vec![command.to_vec()];
    }
    below.iter().flat_map(|command| leaves(at, command)).collect()
}

/// The required arguments as the usage names them: `<NAME>` becomes something that a person might write.
fn smallest(at: &Path, command: &[String]) -> Vec<String> {
    let mut asked: Vec<&str> = command.iter().map(String::as_str).collect();
    asked.push("--help");
    let help = String::from_utf8(run(at, &asked).stdout).unwrap();
    let usage = help.lines().find(|line| line.starts_with("Usage:")).unwrap_or_else(|| panic!("{help}"));
    let mut arguments = command.to_vec();
    for word in usage.split_whitespace().skip(2 + command.len()) {
        match word.trim_end_matches("...") {
            flag if flag.starts_with("--") => arguments.push(flag.to_owned()),
            value if value.starts_with('<') => arguments.push(value_for(value).to_owned()),
            _ => {}
        }
    }
    arguments
}

fn value_for(place: &str) -> &'static str {
    match place {
        "<FILE>" | "<CSR>" | "<CERTIFICATE>" | "<KEY>" | "<THING>" => "web.lab.example.crt",
        "<DOMAIN>" => "tls",
        "<ROLE>" => "viewer",
        "<WHO>" => "delegate",
        "<TIME>" => "2030-01-01T00:00:00Z",
        "<LENGTH>" => "12h",
        "<URL>" => "https://127.0.0.1:1",
        "<SHELL>" => "bash",
        "<ROOT>" => "root.pem",
        _ => "tls-1",
    }
}

#[test]
fn no_command_panics() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    assert_eq!(code(&run(at, &["issue", "web.lab.example"])), 0);
    std::fs::write(at.join("root.pem"), run(at, &["ca", "show", "tls-root", "-o", "pem"]).stdout).unwrap();
    let all = leaves(at, &[]);
    assert!(all.len() > 60, "{}: {all:?}", all.len());
    for command in all {
        if LEFT_OUT.contains(&command.join(" ").as_str()) {
            continue;
        }
        for arguments in [command.clone(), smallest(at, &command)] {
            let mut process = chancery(at);
            let output = process.args(&arguments).stdin(Stdio::null()).output().unwrap();
            let text = told(&output);
            assert!(
                !text.contains("panicked") && output.status.code().is_some_and(|code| code < 100),
                "{arguments:?}: {text}"
            );
        }
    }
    assert_eq!(code(&run(at, &["fsck"])), 0);
}
