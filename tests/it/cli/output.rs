//! What commands print: on a terminal, into a pipe, and in each format. The terminal is a real one, and YAML is read by
//! PyYAML.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use clap::ArgAction;
use serde_json::{Value, json};

use super::server::Server;
use super::{code, run, succeeds, told};

const TERMINAL: &str = include_str!("terminal.py");
const GRANTS: &str = include_str!("grants.py");

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn ok(at: &Path, arguments: &[&str]) -> String {
    let output = run(at, arguments);
    assert_eq!(code(&output), 0, "{arguments:?}: {}", told(&output));
    printed(&output)
}

fn python(at: &Path, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new("python3");
    command.env_clear().env("HOME", at).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(environment.iter().copied()).current_dir(at);
    command
}

/// What a command shows on a terminal of so many columns.
fn on_terminal(at: &Path, columns: usize, environment: &[(&str, &str)], arguments: &[&str]) -> String {
    let mut command = python(at, environment);
    command.args(["-c", TERMINAL, &columns.to_string(), env!("CARGO_BIN_EXE_chancery")]).args(arguments);
    let output = command.output().unwrap();
    assert_eq!(code(&output), 0, "{arguments:?}: {}", told(&output));
    printed(&output)
}

/// Without what colours it.
fn bare(text: &str) -> String {
    let mut pieces = text.split('\u{1b}');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once('m').map_or("", |(_, rest)| rest))
}

fn yaml(at: &Path, text: &str) -> Value {
    let read = "import json, sys, yaml; json.dump(yaml.safe_load(sys.argv[1]), sys.stdout)";
    let output = python(at, &[]).args(["-c", read, text]).output().unwrap();
    assert_eq!(code(&output), 0, "{text}: {}", told(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A home with one certificate that is good and one that is revoked.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    succeeds(at, &["issue", "a-rather-long-name-of-a-host.department.lab.example", "second.lab.example"]);
    succeeds(at, &["issue", "web.lab.example"]);
    succeeds(at, &["revoke", "web.lab.example.crt", "--reason", "superseded"]);
    home
}

#[test]
fn a_terminal_gets_colours_and_lines_that_fit_and_a_pipe_gets_neither() {
    let home = home();
    let at = home.path();
    let piped = ok(at, &["find"]);
    assert!(!piped.contains('\u{1b}') && !piped.contains('…') && !piped.contains(" ago"), "{piped}");
    assert!(piped.lines().all(|line| line.matches('\t').count() == 6 && line.trim_end() == line), "{piped}");
    let serial = piped.lines().nth(1).unwrap().rsplit('\t').next().unwrap();
    assert!(serial.len() >= 30 && serial.bytes().all(|b| b.is_ascii_hexdigit()), "{piped}");

    let wide = on_terminal(at, 240, &[], &["find"]);
    assert!(wide.contains("\u{1b}[31mrevoked\u{1b}[0m") && wide.contains("\u{1b}[32mvalid\u{1b}[0m"), "{wide}");
    assert!(wide.contains("Z (in 89 days)") || wide.contains("Z (in 90 days)"), "{wide}");
    let commands: [&[&str]; 9] = [
        &["find"],
        &["ca", "list"],
        &["ca", "show", "tls-1"],
        &["profile", "list"],
        &["audit", "list"],
        &["inspect", "web.lab.example.crt"],
        &["inspect", "web.lab.example.crt", "--long"],
        &["acme", "directory", "show", "default"],
        &["config", "show", "--origin"],
    ];
    for columns in [80, 40] {
        for arguments in commands {
            let shown = bare(&on_terminal(at, columns, &[], arguments));
            for line in shown.lines() {
                assert!(line.chars().count() <= columns, "{arguments:?} at {columns}: {line}");
                assert_eq!(line.trim_end(), line, "{arguments:?} at {columns}");
            }
        }
    }
    // at 80 columns the serial is shortened and the status is not
    let table = bare(&on_terminal(at, 80, &[], &["find"]));
    assert!(table.lines().next().unwrap().starts_with("NAMES ") && table.contains('…'), "{table}");
    assert!(table.contains("revoked"), "{table}");
}

#[test]
fn colours_can_be_had_and_refused() {
    let home = home();
    let at = home.path();
    let colored = |environment: &[(&str, &str)], more: &[&str]| {
        on_terminal(at, 100, environment, &[&["find"], more].concat()).contains('\u{1b}')
    };
    assert!(colored(&[], &[]) && colored(&[("NO_COLOR", "")], &[]));
    assert!(!colored(&[("NO_COLOR", "1")], &[]) && !colored(&[("TERM", "dumb")], &[]));
    assert!(!colored(&[], &["--color", "never"]) && colored(&[("NO_COLOR", "1")], &["--color", "always"]));
    assert!(ok(at, &["find", "--color", "always"]).contains("\u{1b}[31mrevoked"));
    assert_eq!(code(&run(at, &["find", "--color", "sometimes"])), 2);
}

#[test]
fn yaml_is_the_document_of_json_and_names_are_arguments() {
    let home = home();
    let at = home.path();
    let grant = ok(at, &["grant", "create", "--name", "no", "--allow-name", "lab.example"]);
    ok(at, &["token", "create", "--name", "ci: \u{1f511} #1", "--allow-name", "lab.example"]);
    let commands: [&[&str]; 13] = [
        &["find"],
        &["ca", "list"],
        &["ca", "show", "tls-1"],
        &["profile", "show", "tls-server"],
        &["token", "list"],
        &["grant", "list"],
        &["audit", "list", "--limit", "3"],
        &["inspect", "web.lab.example.crt"],
        &["acme", "directory", "list"],
        &["acme", "directory", "show", "default"],
        &["user", "list"],
        &["config", "show"],
        &["acme", "eab", "list"],
    ];
    for arguments in commands {
        let format = |format: &'static str| printed(&run(at, &[arguments, &["-o", format]].concat()));
        let document: Value = serde_json::from_str(&format("json")).unwrap();
        let text = format("yaml");
        assert_eq!(yaml(at, &text), document, "{arguments:?}: {text}");
        let objects = document.as_array().or_else(|| document["items"].as_array());
        let lines: Vec<Value> = format("jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(&lines, objects.unwrap_or(&vec![document.clone()]), "{arguments:?}");
    }
    for (list, show) in [
        (&["find"][..], &["inspect"][..]),
        (&["ca", "list"], &["ca", "show"]),
        (&["profile", "list"], &["profile", "show"]),
        (&["acme", "directory", "list"], &["acme", "directory", "show"]),
    ] {
        let names = ok(at, &[list, &["-o", "name"]].concat());
        assert!(names.lines().count() > 0, "{list:?}");
        names.lines().for_each(|name| drop(ok(at, &[show, &[name]].concat())));
    }
    let names = ok(at, &["grant", "list", "-o", "name"]);
    // that of the token is listed too
    assert!(names.lines().any(|name| name == grant.trim()), "{grant} in {names}");
    ok(at, &["grant", "revoke", grant.trim()]);
    let token = ok(at, &["token", "list", "-o", "name"]);
    let revoked: Value = serde_json::from_str(&ok(at, &["token", "revoke", token.trim(), "-o", "json"])).unwrap();
    assert_eq!((&revoked["id"], &revoked["status"]), (&json!(token.trim()), &json!("revoked")));
    assert_eq!(ok(at, &["context", "list", "-o", "name"]), "local\n");
}

#[test]
fn a_format_that_a_command_does_not_print_is_refused_before_it_does_anything() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    for (arguments, sentence) in [
        (
            &["token", "create", "--name", "x", "--role", "auditor", "-o", "name"][..],
            "`chancery token create` prints no name; give -o table, json, yaml or jsonl, or leave -o out",
        ),
        (&["grant", "list", "-o", "pem"], "`chancery grant list` prints no pem"),
        (&["ca", "csr", "corp", "-o", "yaml"], "prints no yaml; give -o table, or leave -o out"),
    ] {
        let output = run(at, arguments);
        assert_eq!((code(&output), output.stdout.as_slice()), (2, &b""[..]), "{arguments:?}");
        assert!(told(&output).contains(sentence), "{arguments:?}: {}", told(&output));
    }
    assert_eq!(ok(at, &["token", "list", "-o", "name"]), "", "none was made");
    assert_eq!(code(&run(at, &["token", "list", "-o", "xml"])), 2);
    let page = printed(&run(at, &["grant", "list", "--help"]));
    assert!(page.contains("Formats for -o: table, json, yaml, jsonl, name"), "{page}");
    let page = printed(&run(at, &["--help"]));
    assert!(page.contains("11     a check found a fault"), "{page}");
}

#[test]
fn a_list_that_is_cut_says_so_and_how_to_go_on() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let server = Server::start(at);
    let token = ok(at, &["token", "create", "--name", "ci", "--role", "admin"]);
    let made = python(at, &[]).args(["-c", GRANTS, &server.https, token.trim(), "600"]).output().unwrap();
    assert_eq!(code(&made), 0, "{}", told(&made));
    let whole = run(at, &["grant", "list", "-o", "name"]);
    assert_eq!((printed(&whole).lines().count(), told(&whole)), (600, String::new()), "it is whole");

    let mut arguments =
        vec!["grant".to_owned(), "list".into(), "-o".into(), "name".into(), "--limit".into(), "250".into()];
    let mut pages = String::new();
    for shown in [250, 250, 100] {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let page = run(at, &words);
        assert_eq!((code(&page), printed(&page).lines().count()), (0, shown), "{}", told(&page));
        pages.push_str(&printed(&page));
        let Some(rest) =
            told(&page).strip_prefix("showed 250, and there are more: add --all, or ").map(str::to_owned)
        else {
            assert_eq!((told(&page), shown), (String::new(), 100));
            break;
        };
        let cursor = rest.split_whitespace().nth(1).unwrap();
        arguments.truncate(6);
        arguments.extend(["--after".to_owned(), cursor.to_owned()]);
    }
    assert_eq!(pages, printed(&whole));
    let all = run(at, &["grant", "list", "-o", "name", "--all"]);
    assert_eq!((printed(&all), told(&all)), (printed(&whole), String::new()));
    // every grant is an event, and the newest hundred are shown
    let events = run(at, &["audit", "list"]);
    assert!(told(&events).starts_with("showed 100, and there are more: add --all"), "{}", told(&events));
    assert_eq!(printed(&events).lines().count(), 101);
    assert!(ok(at, &["audit", "list", "--all", "-o", "jsonl"]).lines().count() > 600);
    assert_eq!(code(&run(at, &["grant", "list", "--all", "--limit", "5"])), 2);
    assert_ne!(code(&run(at, &["grant", "list", "--after", "nonsense"])), 0);

    // a reader that went away is no failure
    let line = format!(
        "for what in 'list --all -o jsonl' export; do '{}' audit $what | head -n 1 >first; test ${{PIPESTATUS[0]}} = 0 || exit 1; done",
        env!("CARGO_BIN_EXE_chancery")
    );
    let ended =
        Command::new("bash").args(["-c", &line]).env_clear().env("HOME", at).current_dir(at).output().unwrap();
    assert_eq!((code(&ended), told(&ended)), (0, String::new()));
}

#[test]
fn every_list_takes_the_same_flags_and_is_cut_by_them() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    for name in ["a", "b"] {
        succeeds(at, &["issue", &format!("{name}.lab.example")]);
        succeeds(at, &["token", "create", "--name", name, "--allow-name", "lab.example"]);
        succeeds(at, &["grant", "create", "--name", name, "--allow-name", "lab.example"]);
        succeeds(at, &["acme", "eab", "create", "--name", name, "--allow-name", "lab.example"]);
        succeeds(
            at,
            &[
                "acme",
                "renewals",
                "move",
                "--issuer",
                "tls-1",
                "--name",
                &format!("{name}.lab.example"),
                "--reason",
                "test",
            ],
        );
        succeeds(at, &["key", "block", &name.repeat(64)]);
        std::fs::write(at.join("password"), "a long enough password of a user").unwrap();
        succeeds(at, &["user", "create", name, "--role", "viewer", "--password-file", "password"]);
    }
    let lists: [&[&str]; 8] = [
        &["find"],
        &["token", "list"],
        &["grant", "list"],
        &["acme", "eab", "list"],
        &["acme", "renewals", "list"],
        &["key", "list"],
        &["user", "list"],
        &["audit", "list"],
    ];
    for list in lists {
        let first = run(at, &[list, &["--limit", "1", "-o", "jsonl"]].concat());
        assert_eq!(printed(&first).lines().count(), 1, "{list:?}: {}", told(&first));
        let cursor = told(&first);
        let cursor = cursor.strip_prefix("showed 1, and there are more: add --all, or --after ");
        let cursor = cursor.unwrap_or_else(|| panic!("{list:?}: {}", told(&first))).split(' ').next().unwrap();
        let next = run(at, &[list, &["--limit", "1", "--after", cursor, "-o", "jsonl"]].concat());
        assert_eq!(printed(&next).lines().count(), 1, "{list:?}: {}", told(&next));
        assert_ne!(printed(&next), printed(&first), "{list:?}");
        let all = run(at, &[list, &["--all"]].concat());
        assert!(code(&all) == 0 && !told(&all).contains("showed"), "{list:?}: {}", told(&all));
        assert_eq!(code(&run(at, &[list, &["--limit", "0"]].concat())), 2, "{list:?}");
    }
}

#[test]
fn every_kind_of_object_is_read_as_people_read_it() {
    let home = home();
    let at = home.path();
    let short = |thing: &str| ok(at, &["inspect", thing, "--short"]);
    // with one blank between words
    let words = |thing: &str| {
        let lines = short(thing);
        lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect::<String>()
    };
    let chain = words("web.lab.example.crt");
    for part in [
        "certificate 1 of 2: web.lab.example\n",
        "\nCA certificate 2 of 2: ",
        "\nNames web.lab.example\n",
        "\nKey P-256\n",
        "\nUsage serverAuth\n",
        " ago)\nExpires ",
        " days)\n",
    ] {
        assert!(chain.contains(part), "{part} in\n{chain}");
    }
    let leaf = ok(at, &["find", "web.lab.example", "-o", "name"]);
    let known = words(leaf.trim());
    for part in ["\nStatus revoked\n", "\nReason superseded\n", "\nProfile tls-server\n", "\nRequested by "] {
        assert!(known.contains(part), "{part} in\n{known}");
    }
    std::fs::write(at.join("a.csr"), crate::api::csr(&["a.lab.example"])).unwrap();
    let request = short("a.csr");
    assert!(
        request.starts_with("certificate request: a.lab.example\n") && request.contains("Signature  good"),
        "{request}"
    );

    // a private key is told by its kind and its public half, which openssl finds in it too
    let key = std::fs::read_to_string(at.join("web.lab.example.key")).unwrap();
    let told_key = short("web.lab.example.key");
    let public = openssl::pkey::PKey::private_key_from_pem(key.as_bytes()).unwrap().public_key_to_der().unwrap();
    let sha256 = openssl::hash::hash(openssl::hash::MessageDigest::sha256(), &public).unwrap();
    let print: String = sha256.iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(told_key, format!("private key\n  Key          P-256\n  Fingerprint  {print}\n"));
    assert!(key.lines().filter(|line| line.len() > 40).all(|line| !told_key.contains(line)));
    assert_eq!(code(&run(at, &["inspect", "web.lab.example.key", "-o", "pem"])), 2, "it is never shown");
    std::fs::write(at.join("public.der"), &public).unwrap();
    assert_eq!(short("public.der"), told_key.replace("private", "public"));

    // elsewhere everything is told, as scripts have it
    let piped = ok(at, &["inspect", "web.lab.example.crt"]);
    assert!(piped.contains("MEMBER\tVALUE\n") && piped.contains("extensions\t"), "{piped}");
    let shown = on_terminal(at, 100, &[], &["inspect", "web.lab.example.crt"]);
    assert!(bare(&shown).starts_with("certificate 1 of 2: web.lab.example\n"), "{shown}");
    assert_eq!(code(&run(at, &["inspect", "web.lab.example.crt", "--short", "--long"])), 2);
}

/// Every flag that a help page shows, with the pages that have it.
fn flags(command: &clap::Command, page: &str, into: &mut BTreeMap<String, Vec<String>>) {
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        if let Some(long) = argument.get_long() {
            into.entry(long.to_owned()).or_default().push(page.to_owned());
        }
    }
    for sub in command.get_subcommands() {
        flags(sub, &format!("{page} {}", sub.get_name()), into);
    }
}

/// One thing, and spellings of it that no page may show.
const SPELLINGS: &[(&str, &[&str])] = &[
    ("limit", &["max", "max-results", "count", "number", "first", "page-size", "limits"]),
    ("all", &["everything", "no-limit"]),
    ("after", &["cursor", "page", "next", "continue", "from"]),
    ("since", &["newer-than", "from-time"]),
    ("yes", &["assume-yes", "confirm-all", "no-prompt", "really"]),
    ("force", &["overwrite", "replace"]),
    ("dry-run", &["dryrun", "simulate", "preview", "noop", "plan"]),
    ("out", &["out-file", "out-dir", "output-file", "output-dir", "dir", "destination", "to"]),
    ("output", &["format", "print"]),
    ("color", &["colour", "colors", "no-color"]),
    ("ttl", &["lifetime", "validity", "duration", "days", "valid-for"]),
    ("expires", &["expiry", "expires-in", "expire", "until", "valid-until"]),
    ("domain", &["trust-domain", "domains"]),
    ("profile", &["template"]),
    ("issuer", &["ca", "issued-by", "signer"]),
    ("common-name", &["cn"]),
    ("requested-by", &["requester", "owner", "by"]),
    ("reason", &["why", "because", "reasons"]),
    ("fingerprint", &["sha256", "thumb"]),
    ("token-file", &["token", "api-token"]),
    ("password-file", &["password", "passphrase-file", "pass"]),
    ("root-key", &["root-key-file", "ca-key"]),
];

#[test]
fn one_thing_has_one_flag() {
    let mut found = BTreeMap::new();
    flags(&chancery::cli::command(), "chancery", &mut found);
    for (flag, others) in SPELLINGS {
        assert!(found.contains_key(*flag), "no command takes --{flag}");
        for other in *others {
            assert!(!found.contains_key(*other), "--{other} in {:?}; write --{flag}", found[*other]);
        }
    }
    // a list may be given as one flag or word by word: either spelling is taken wherever one is
    let command = chancery::cli::command();
    for (flag, pages) in &found {
        let plural =
            if flag.ends_with('y') { format!("{}ies", flag.trim_end_matches('y')) } else { format!("{flag}s") };
        let Some(other) = found.get(&plural) else { continue };
        for (page, spelled) in pages.iter().map(|page| (page, &plural)).chain(other.iter().map(|page| (page, flag))) {
            let of_page = page.split(' ').skip(1).fold(&command, |at, name| at.find_subcommand(name).unwrap());
            let takes =
                |argument: &clap::Arg| argument.get_all_aliases().is_some_and(|all| all.contains(&spelled.as_str()));
            let own = of_page.get_arguments().filter(|a| a.get_long().is_some_and(|l| l == flag || *l == plural));
            // one that takes a single value, or none, is another thing
            let mut own = own.filter(|a| matches!(a.get_action(), ArgAction::Append));
            assert!(own.all(takes), "{page} has --{flag} and another page --{plural}: give it the alias {spelled}");
        }
    }
}
