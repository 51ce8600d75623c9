//! Commands in what the product tells operators: each exists, and typed as it stands it mends what was found.

use std::path::{Path, PathBuf};

use chancery::store::engine::{Db, q};
use clap::error::ErrorKind;
use serde_json::Value;

use super::{code, run, told};
use crate::support::stores::plain;

/// The texts between backquotes that begin with `chancery `.
fn commands(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).filter(|part| part.starts_with("chancery ")).map(str::to_owned).collect()
}

/// Each `{…}` of a format string becomes a word that is a slug, a name and a number at once.
fn filled(command: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for c in command.chars() {
        match c {
            '{' => inside = true,
            '}' => {
                inside = false;
                text.push('1');
            }
            _ if inside => {}
            c => text.push(c),
        }
    }
    text
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// What stands in the string literals of a source, each continued line joined; comments are left out.
fn literals(source: &str) -> String {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut text = String::new();
    let mut lines = code.split("\\\n");
    text.push_str(lines.next().unwrap_or_default());
    lines.for_each(|line| text.push_str(line.trim_start()));
    text
}

/// Why clap does not take a command; a group such as `chancery ca`, of which a sentence speaks, is taken.
fn refused(command: &str) -> Option<String> {
    let parsed = chancery::cli::command().try_get_matches_from(command.split_whitespace());
    let error = parsed.err()?;
    let speaks_of = matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
    );
    // `fsck --accept`: a flag of which a sentence speaks, without its value
    let speaks_of = speaks_of || error.to_string().contains("a value is required for");
    (!speaks_of).then(|| format!("{command}: {error}"))
}

#[test]
fn every_command_that_a_message_names_is_one_of_ours() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut wrong = Vec::new();
    let mut seen = 0;
    // what adds flags to commands holds parts of them
    for file in files.into_iter().filter(|file| !file.ends_with("src/cli/repeated.rs")) {
        let text = literals(&std::fs::read_to_string(&file).unwrap());
        for command in commands(&text).iter().filter(|command| !command.starts_with("chancery {")) {
            seen += 1;
            wrong.extend(refused(&filled(command)).map(|why| format!("{}: {why}", file.display())));
        }
    }
    assert!(seen > 40, "{seen}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn pages(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "tests" {
            pages(&path, into);
        } else if path.extension().is_some_and(|e| e == "md") {
            into.push(path);
        }
    }
}

/// The commands of a Markdown page: between backquotes, and the lines of its blocks without what follows a command.
fn commands_of_page(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in page.lines() {
        let fence = line.starts_with("```");
        fenced ^= fence;
        let code = if fenced && !fence { Some(line) } else { line.strip_prefix("    ") };
        match code.and_then(command_line) {
            Some(command) => found.push(first_command(&command)),
            _ if !fenced => found.extend(commands(line).iter().map(|command| first_command(command))),
            _ => {}
        }
    }
    found
}

/// Up to a remark or what a shell would do next, without quotes.
fn first_command(line: &str) -> String {
    let end = line.find(['#', '>', '&', '|', '\\']).unwrap_or(line.len());
    line[..end].replace('\'', "").trim().to_owned()
}

/// The arguments of a line whose program is ours; variables and `sudo` may stand before it.
fn command_line(code: &str) -> Option<String> {
    let words: Vec<_> = code.split_whitespace().skip_while(|word| word.contains('=') || *word == "sudo").collect();
    (words.first() == Some(&"chancery")).then(|| words.join(" "))
}

#[test]
fn every_command_in_the_documents_is_one_of_ours() {
    let mut files = Vec::new();
    pages(Path::new(env!("CARGO_MANIFEST_DIR")), &mut files);
    let (mut seen, mut wrong) = (0, Vec::new());
    for file in &files {
        for command in commands_of_page(&std::fs::read_to_string(file).unwrap()) {
            seen += 1;
            wrong.extend(refused(&command).map(|why| format!("{}: {why}", file.display())));
        }
    }
    assert!(files.len() > 5 && seen > 60, "{files:?} {seen}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // a test that looks at nothing proves nothing
    let page = "Run `chancery nothing`.\n\n    sudo A=b chancery serv --x | y  # no\n    say chancery twice\n";
    assert_eq!(commands_of_page(page), ["chancery nothing", "chancery serv --x"]);
    assert!(commands_of_page(page).iter().all(|command| refused(command).is_some()));
}

#[test]
fn the_steps_of_a_remedy_are_complete_commands() {
    let remedies = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/authority/checks/remedies.rs");
    let text = std::fs::read_to_string(remedies).unwrap();
    let steps: Vec<_> = text.split('"').skip(1).step_by(2).filter(|literal| literal.starts_with("ca ")).collect();
    assert!(steps.len() > 5, "{steps:?}");
    for step in steps {
        let command = format!("chancery {}", filled(step));
        chancery::cli::command().try_get_matches_from(command.split_whitespace()).unwrap();
    }
}

/// An installation in an empty HOME, broken by a test and mended by what doctor says.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Host {
        let host = Host(tempfile::tempdir().unwrap());
        host.ok(&["init"]);
        host.ok(&["ca", "create", "lab"]);
        host
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = run(self.0.path(), arguments);
        assert_eq!(code(&output), 0, "{arguments:?}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Status and detail of a check, and the exit code of doctor.
    fn check(&self, name: &str) -> (String, String, i32) {
        let output = run(self.0.path(), &["doctor", "-o", "json"]);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let check = found["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
        let text = |member: &str| check[member].as_str().unwrap().to_owned();
        (text("status"), text("detail"), code(&output))
    }

    /// Runs what the finding of a check says, word for word, and expects that it is gone.
    fn mend(&self, name: &str, status: &str, expected: &[&str]) {
        let (found, detail, ended) = self.check(name);
        assert_eq!(found, status, "{detail}");
        assert!(ended >= 10, "{ended}");
        let commands = commands(&detail);
        assert_eq!(commands, expected, "{detail}");
        for command in &commands {
            self.ok(&command.split_whitespace().skip(1).collect::<Vec<_>>());
        }
        let (after, detail, _) = self.check(name);
        assert_eq!(after, "ok", "{detail}");
    }

    fn sql(&self, text: &'static str) {
        let path = self.0.path().join(".local/share/chancery/chancery.db");
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let db = Db::open_sqlite(&path).await.unwrap();
            q(plain(text)).execute(&db).await.unwrap();
            db.close().await;
        });
    }
}

#[test]
fn a_domain_that_cannot_issue_issues_again_after_the_commands_of_its_finding() {
    let host = Host::new();
    host.ok(&["issue", "a.lab.example", "--profile", "lab-server"]);
    host.ok(&["ca", "retire", "lab-1", "--yes"]);
    host.mend("issuers", "warning", &["chancery ca activate lab-1"]);
    host.ok(&["ca", "retire", "lab-1", "--yes"]);
    host.ok(&["ca", "remove", "lab-1", "--yes"]);
    host.ok(&["ca", "retire", "lab-root"]);
    host.ok(&["ca", "remove", "lab-root", "--yes"]);
    host.mend("bundles", "warning", &["chancery ca retire lab-root"]);
    host.mend("issuers", "warning", &["chancery ca retire lab-1", "chancery ca activate lab-1"]);
    host.ok(&["issue", "b.lab.example", "--profile", "lab-server"]);
}

#[test]
fn a_revoked_issuer_has_a_successor_after_the_command_of_its_finding() {
    let host = Host::new();
    let shown: Value = serde_json::from_str(&host.ok(&["find", "-o", "json"])).unwrap();
    assert!(shown["items"].is_array());
    std::fs::write(host.0.path().join("lab-1.pem"), host.ok(&["ca", "show", "lab-1", "-o", "pem"])).unwrap();
    let key = host.0.path().join(".local/share/chancery/root.key");
    let stick = host.0.path().join("stick.key");
    std::fs::rename(&key, &stick).unwrap();
    let revoked = run(host.0.path(), &["revoke", "lab-1.pem", "--yes", "--reason", "keyCompromise"]);
    assert_eq!(code(&revoked), 10, "{}", told(&revoked));
    let (status, detail, _) = host.check("revocations");
    assert_eq!(status, "critical", "{detail}");
    assert_eq!(commands(&detail), ["chancery ca crl sign lab-root"]);
    // without the key the command says how it is named
    let refused = run(host.0.path(), &["ca", "crl", "sign", "lab-root"]);
    assert_eq!(code(&refused), 7);
    assert!(told(&refused).contains("--root-key FILE"), "{}", told(&refused));
    host.ok(&["ca", "crl", "sign", "lab-root", "--root-key", "stick.key"]);
    assert_eq!(host.check("revocations").0, "ok");
    std::fs::rename(&stick, &key).unwrap();
    host.mend("issuers", "critical", &["chancery ca create lab --under lab-root"]);
}

#[test]
fn what_expires_or_is_missing_is_mended_by_the_command_of_its_finding() {
    let host = Host::new();
    host.sql("DELETE FROM crls_ahead WHERE issuer_id IN (SELECT id FROM issuers WHERE slug = 'lab-root')");
    host.sql("DELETE FROM crls WHERE issuer_id IN (SELECT id FROM issuers WHERE slug = 'lab-root')");
    host.mend("crls", "critical", &["chancery ca crl sign lab-root"]);
    // its renewal lasts longer for sure
    host.ok(&["ca", "create", "lab", "--under", "lab-root", "--years", "2"]);
    host.ok(&["ca", "retire", "lab-1"]);
    host.sql(
        "UPDATE issuer_certificates SET not_after = CAST(unixepoch('subsec') * 1000000 AS INTEGER) + 1000000000000 \
         WHERE issuer_id IN (SELECT id FROM issuers WHERE slug = 'lab-2')",
    );
    host.mend("issuers", "warning", &["chancery ca renew lab-2"]);
    host.ok(&["fsck"]);
}
