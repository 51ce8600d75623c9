//! The real binary in an empty HOME: what it prints, what it writes, how it ends.

mod authorities;
mod backup;
mod contexts;
mod files;
mod first_year;
mod help;
mod hints;
mod import_certificates;
mod migrate;
mod output;
mod own_url;
mod quickstart;
mod reconcile;
mod remedies;
mod renewal;
mod roots;
mod second_ca;
mod server;
mod sweep;
mod tools;
mod verify;
mod why;
mod wrong_clock;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::support::ports::Refusing;
use crate::support::postgres;
use crate::support::process::{ANY, chancery, code, run, succeeds, told};

#[test]
fn a_certificate_is_issued_found_revoked_and_everything_agrees() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let made = run(at, &["init"]);
    assert_eq!(code(&made), 0, "{}", told(&made));
    assert!(told(&made).lines().count() <= 40);
    assert_eq!(code(&run(at, &["issue", "*.lab.example"])), 0);
    let key = at.join("_wildcard.lab.example.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(&key).unwrap();
    assert_eq!(code(&run(at, &["issue", "*.lab.example"])), 7, "a key is never overwritten");
    assert_eq!(std::fs::read(&key).unwrap(), before);
    let found = run(at, &["find", "*.lab.example", "-o", "json"]);
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    let serial = found["items"][0]["serial"].as_str().unwrap();
    assert_eq!(code(&run(at, &["revoke", serial, "--reason", "keyCompromise"])), 0);
    assert_eq!(code(&run(at, &["revoke", serial])), 7, "a second revocation is a conflict");
    let checked = run(at, &["fsck"]);
    assert_eq!(code(&checked), 0, "{}", told(&checked));
}

#[test]
fn a_search_says_when_it_finds_nothing_and_a_certificate_without_names_shows_its_subject() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    let none = run(at, &["find", "web.lab.exmaple", "--status", "revoked"]);
    assert_eq!((code(&none), none.stdout.as_slice()), (0, &b""[..]));
    assert_eq!(told(&none), "no certificates found for \"web.lab.exmaple\" with status revoked\n");
    let json = run(at, &["find", "x.example", "-o", "json"]);
    assert_eq!(
        (told(&json), serde_json::from_slice::<serde_json::Value>(&json.stdout).unwrap()["items"][0].is_null()),
        (String::new(), true)
    );

    assert_eq!(code(&run(at, &["ca", "create", "etcd"])), 0);
    let made = run(at, &["issue", "--profile", "etcd-client", "--common-name", "apiserver"]);
    assert_eq!(code(&made), 0, "{}", told(&made));
    assert!(told(&made).contains("issued  CN=apiserver"), "{}", told(&made));
    let found = run(at, &["find"]);
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.lines().nth(1).unwrap().starts_with("CN=apiserver"), "{found}");
}

#[test]
fn tokens_grants_and_keys_are_refused_for_what_does_not_exist() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    let bound = |what: &[&'static str]| [what, &["--name", "x", "--allow-name", "lab.example"]].concat();
    for command in [bound(&["token", "create"]), bound(&["grant", "create"]), bound(&["acme", "eab", "create"])] {
        for (flag, what, known) in [("--profile", "profile", "tls-server"), ("--issuer", "issuer", "tls-1, tls-root")]
        {
            let output = run(at, &[&command[..], &[flag, "NOSUCH"]].concat());
            let expected = format!("{what} \"NOSUCH\" does not exist; there are {known}");
            assert_eq!(code(&output), 3, "{command:?}: {}", told(&output));
            assert!(told(&output).contains(&expected), "{command:?}: {}", told(&output));
        }
        assert_eq!(code(&run(at, &[&command[..], &["--profile", "tls-server"]].concat())), 0);
    }
    let output = run(at, &["token", "create", "--name", "x", "--role", "NOSUCH"]);
    assert_eq!(code(&output), 3, "{}", told(&output));
    assert!(told(&output).contains("role \"NOSUCH\" does not exist; there are viewer, auditor"), "{}", told(&output));
}

#[test]
fn the_key_of_a_root_that_is_offline_or_whose_file_was_moved_away_says_so() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    let shown = || String::from_utf8(run(at, &["ca", "show", "tls-root"]).stdout).unwrap();
    assert!(!shown().contains("offline") && shown().contains("root.key opens it here"), "{}", shown());
    std::fs::rename(at.join(".local/share/chancery/root.key"), at.join("stick.key")).unwrap();
    assert!(shown().contains("take --root-key FILE"), "{}", shown());
    let without = run(at, &["ca", "create", "tls", "--under", "tls-root"]);
    assert_eq!(code(&without), 7, "{}", told(&without));
    assert!(told(&without).contains("with --root-key FILE"), "{}", told(&without));
    // what a command prints to go on with names the key that it was given itself
    let root = run(at, &["ca", "create", "tls", "--new-root", "--root-key", "stick.key"]);
    assert!(told(&root).contains("ca create tls --under tls-root-2 --root-key stick.key"), "{}", told(&root));
    let gone = run(at, &["ca", "root", "offline", "tls-root", "--out", "tls-root.pem", "--root-key", "stick.key"]);
    assert_eq!(code(&gone), 0, "{}", told(&gone));
    assert!(told(&gone).contains("ca root online tls-root.pem --root-key stick.key"), "{}", told(&gone));
    assert!(shown().contains("offline: taken out of the database"), "{}", shown());
    let without = run(at, &["ca", "create", "tls", "--under", "tls-root", "--root-key", "stick.key"]);
    assert_eq!(code(&without), 7, "{}", told(&without));
    assert!(told(&without).contains("`chancery ca root online FILE`"), "{}", told(&without));
}

#[test]
fn a_trust_domain_is_made_on_the_host_and_its_profiles_issue() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    let made = run(at, &["ca", "create", "etcd", "-o", "json"]);
    assert_eq!(code(&made), 0, "{}", told(&made));
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(made["issuers"], serde_json::json!(["etcd-1", "etcd-root"]));
    assert_eq!(made["profiles"], serde_json::json!(["etcd-client", "etcd-peer", "etcd-server"]));
    let again = run(at, &["ca", "create", "etcd"]);
    assert_eq!(code(&again), 7, "{}", told(&again));
    assert!(told(&again).contains("domain.new") && told(&again).contains("--under etcd-root"), "{}", told(&again));
    let more = run(at, &["ca", "create", "etcd", "--under", "etcd-root", "--key", "P-384", "--years", "2"]);
    assert_eq!(code(&more), 0, "{}", told(&more));
    assert!(told(&more).contains("etcd-2"), "{}", told(&more));
    assert_eq!(
        code(&run(at, &["issue", "member-1.lab.example", "--profile", "etcd-server"])),
        3,
        "a member has a CN"
    );
    std::fs::rename(at.join(".local/share/chancery/root.key"), at.join("stick.key")).unwrap();
    let without = run(at, &["ca", "create", "mtls"]);
    assert_eq!(code(&without), 7, "{}", told(&without));
    assert_eq!(code(&run(at, &["ca", "create", "mtls", "--root-key", "stick.key"])), 0);
    assert_eq!(code(&run(at, &["fsck"])), 0);
}

#[test]
fn renewal_windows_are_moved_listed_and_cancelled() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    let out = |arguments: &[&str]| {
        let output = run(at, arguments);
        assert_eq!(code(&output), 0, "{arguments:?}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let ask = ["acme", "renewals", "move", "--issuer", "tls-1", "--name", "*.lab.example", "--reason", "it moves"];
    let id = out(&ask);
    let id = id.trim();
    assert!(id.starts_with("rnw_"), "{id}");
    let listed = out(&["acme", "renewals", "list"]);
    assert!(listed.contains(id) && listed.contains("issuer=tls-1 name=*.lab.example"), "{listed}");
    assert_eq!(code(&run(at, &["acme", "renewals", "move", "--reason", "all"])), 3, "not every certificate at once");
    out(&["acme", "renewals", "cancel", id]);
    assert!(!out(&["acme", "renewals", "list"]).contains(id));
    assert_eq!(code(&run(at, &["acme", "renewals", "cancel", id])), 4);
}

#[test]
fn grants_and_external_keys_are_made_listed_and_revoked() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    let out = |arguments: &[&str]| {
        let output = run(at, arguments);
        assert_eq!(code(&output), 0, "{arguments:?}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let grant = out(&["grant", "create", "--name", "a", "--allow-name", "lab.example", "--max-count", "2"]);
    let grant = grant.trim();
    assert!(grant.starts_with("grt_"), "{grant}");
    let key = out(&["acme", "eab", "create", "--name", "k", "--grant", grant]);
    let kid = key.lines().next().unwrap().strip_prefix("kid   ").unwrap();
    assert!(kid.starts_with("eab_") && key.lines().nth(1).unwrap().starts_with("hmac  "), "{key}");
    assert!(out(&["acme", "eab", "list"]).contains(kid));
    assert!(out(&["grant", "list"]).contains("lab.example"));
    let shown = out(&["acme", "directory", "set", "default", "--eab-required", "true", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["external_account_required"], &shown["challenges"][1]), (&true.into(), &"dns-01".into()));
    let limits = ["--limit", "new-orders=20/90m", "--limit", "pause=none"];
    let shown = out(&[&["acme", "directory", "set", "default", "-o", "json"], limits.as_slice()].concat());
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let limits = &shown["limits"];
    assert_eq!(
        (&limits["new_orders"], &limits["pause"], &limits["open_orders"]),
        (&"20/90m".into(), &"none".into(), &"300".into())
    );
    assert_eq!(code(&run(at, &["acme", "directory", "set", "default", "--limit", "new_orders"])), 2);
    let nobody = "acc_00000000000000000000000000";
    assert_eq!(code(&run(at, &["acme", "limits", nobody, "--set", "new_orders=none"])), 4);
    assert_eq!(code(&run(at, &["acme", "resume", nobody])), 4);
    assert_eq!(code(&run(at, &["acme", "accounts", "grant", nobody, "--grant", grant])), 4);
    assert!(out(&["acme", "accounts", "list", "-o", "json"]).contains("items"));
    assert!(out(&["acme", "orders", "list", "-o", "json"]).contains("items"));
    out(&["acme", "directory", "create", "inside", "--challenges", "none", "--resolvers", "127.0.0.1:53"]);
    assert!(out(&["acme", "directory", "list"]).contains("inside"));
    out(&["grant", "revoke", grant]);
    assert!(out(&["acme", "eab", "list"]).contains("revoked"));
    assert_eq!(code(&run(at, &["acme", "eab", "revoke", kid])), 7, "it ended with its grant");
    assert_eq!(code(&run(at, &["acme", "directory", "set", "none"])), 4);
}

#[test]
fn tokens_grants_and_keys_are_revoked_by_a_name_that_only_one_of_them_has() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    for (noun, kind, prefix) in
        [("token", &["token"][..], "tok_"), ("grant", &["grant"], "grt_"), ("EAB key", &["acme", "eab"], "eab_")]
    {
        // tokens and keys have grants of their name
        let name = format!("printer of {noun}");
        let name = name.as_str();
        let bound = ["--name", name, "--allow-name", "lab.example"];
        let call = |words: &[&str]| run(at, &[kind, words].concat());
        let make = || assert_eq!(code(&call(&[&["create"][..], &bound].concat())), 0, "{noun}");
        let none = call(&["revoke", name]);
        let wanted = format!("no such {noun} as \"{name}\"; give its id ({prefix}…) or its name");
        assert!(code(&none) == 4 && told(&none).contains(&wanted), "{noun}: {}", told(&none));
        make();
        let first = call(&["revoke", name]);
        assert!(
            code(&first) == 0 && told(&first).contains(&format!("revoked  {prefix}")),
            "{noun}: {}",
            told(&first)
        );
        // one that is revoked is no other of the name
        make();
        assert_eq!(code(&call(&["revoke", name])), 0, "{noun}");
        make();
        make();
        let two = call(&["revoke", name]);
        let wanted = format!("2 {noun}s are named \"{name}\"; give the id of one of them: {prefix}");
        assert!(code(&two) == 7 && told(&two).contains(&wanted), "{noun}: {}", told(&two));
        let id = told(&two).split("them: ").nth(1).unwrap().split(',').next().unwrap().trim().to_owned();
        assert_eq!(code(&call(&["revoke", &id])), 0, "{noun}");
        assert_eq!(code(&call(&["revoke", name])), 0, "{noun}");
    }
}

#[test]
fn a_profile_goes_out_as_a_file_and_comes_back_changed() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    assert_eq!(code(&run(at, &["profile", "export", "--out", "rules"])), 0);
    let file = at.join("rules/tls-server.json");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(run(at, &["profile", "export", "tls-server"]).stdout, text.as_bytes());
    let same = run(at, &["profile", "apply", "rules/tls-server.json"]);
    assert_eq!((code(&same), told(&same).contains("same")), (0, true), "{}", told(&same));
    std::fs::write(&file, text.replace("\"90d\"", "\"60d\"")).unwrap();
    let changed = run(at, &["profile", "apply", "rules/tls-server.json"]);
    assert!(told(&changed).contains("changed  tls-server  revision 2"), "{}", told(&changed));
    std::fs::write(&file, text.replace("\"397d\"", "\"1d\"")).unwrap();
    let refused = run(at, &["profile", "apply", "rules/tls-server.json"]);
    assert_eq!((code(&refused), told(&refused).contains("profile.lifetime")), (3, true), "{}", told(&refused));
    let edited =
        chancery(at).args(["profile", "edit", "tls-server"]).env("EDITOR", "sed -i s/60d/50d/").output().unwrap();
    assert!(told(&edited).contains("revision 3"), "{}", told(&edited));

    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    for (name, expected) in [("a.lab.example", 0), ("localhost", 3)] {
        let csr = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().serialize_request(&key).unwrap();
        std::fs::write(at.join("a.csr"), csr.pem().unwrap()).unwrap();
        std::fs::write(at.join("a.der"), csr.der()).unwrap();
        for file in ["a.csr", "a.der"] {
            let seen = run(at, &["profile", "test", "tls-server", file]);
            assert_eq!(code(&seen), expected, "{}", told(&seen));
            let shown = String::from_utf8_lossy(&seen.stdout).into_owned();
            let fits = shown.contains("extKeyUsage") && shown.contains("a.lab.example") && shown.contains("tls-1");
            assert!(if expected == 0 { fits } else { told(&seen).contains("names.allow") }, "{shown}{}", told(&seen));
        }
    }
    let found = run(at, &["find", "lab.example", "-o", "json"]);
    assert!(!String::from_utf8(found.stdout).unwrap().contains("crt_"), "nothing was issued");
}

#[test]
fn a_ca_of_openssl_is_imported_its_root_goes_offline_and_comes_back() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let ok = |arguments: &[&str]| succeeds(at, arguments);
    let by_openssl = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl").current_dir(at).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", told(&output));
    };
    ok(&["init"]);
    std::fs::write(at.join("pw"), "secret\n").unwrap();
    let subject = "/C=DE/OU=One/OU=Two/O=Corp+CN=Corp Root";
    by_openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-multivalue-rdn",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-subj",
        subject,
        "-days",
        "3000",
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
    ]);
    by_openssl(&["pkcs12", "-export", "-inkey", "ca.key", "-in", "ca.pem", "-out", "ca.p12", "-passout", "file:pw"]);
    assert!(
        ok(&["ca", "import", "ca.p12", "--password-file", "pw", "--domain", "corp"])
            .contains("ca create corp --under corp-root")
    );
    ok(&["ca", "create", "corp", "--under", "corp-root"]);
    ok(&["issue", "web.example", "--profile", "corp-server"]);
    by_openssl(&["verify", "-CAfile", "ca.pem", "-untrusted", "web.example.crt", "web.example.crt"]);
    ok(&["ca", "root", "offline", "corp-root", "--out", "root.key", "--password-file", "pw"]);
    assert_eq!(std::fs::metadata(at.join("root.key")).unwrap().permissions().mode() & 0o777, 0o600);
    by_openssl(&["pkey", "-in", "root.key", "-passin", "file:pw", "-noout"]);
    assert_eq!(code(&run(at, &["ca", "create", "corp", "--under", "corp-root"])), 7);
    ok(&["ca", "root", "online", "root.key", "--password-file", "pw"]);
    ok(&["ca", "renew", "corp-1", "--years", "4"]);
    // a corporate root signs ours
    ok(&["ca", "csr", "lab", "--common-name", "Lab CA", "--out", "lab.csr"]);
    by_openssl(&[
        "x509",
        "-req",
        "-in",
        "lab.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-days",
        "700",
        "-copy_extensions",
        "copyall",
        "-out",
        "lab.pem",
    ]);
    assert_eq!(code(&run(at, &["ca", "install", "lab.pem"])), 3, "without its chain");
    ok(&["ca", "install", "lab.pem", "--chain", "ca.pem"]);
    ok(&["issue", "till.example", "--profile", "lab-server"]);
    by_openssl(&["verify", "-CAfile", "ca.pem", "-untrusted", "till.example.crt", "till.example.crt"]);
    // the last issuer of its domain goes only at a yes, and comes back
    assert_eq!(code(&run(at, &["ca", "retire", "lab-1"])), 2);
    ok(&["issue", "still.example", "--profile", "lab-server"]);
    ok(&["ca", "retire", "lab-1", "--yes"]);
    assert_eq!(code(&run(at, &["issue", "next.example", "--profile", "lab-server"])), 3);
    ok(&["ca", "activate", "lab-1"]);
    ok(&["issue", "next.example", "--profile", "lab-server"]);
    assert_eq!(code(&run(at, &["--url", "https://ca.example", "ca", "renew", "corp-1"])), 2);
    ok(&["fsck"]);
}

#[test]
fn what_depends_on_an_issuer_is_shown_before_it_goes() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let ok = |args: &[&str]| {
        let output = run(at, args);
        assert_eq!(code(&output), 0, "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    ok(&["init"]);
    ok(&["issue", "web.lab.example"]);
    let refused = run(at, &["ca", "retire", "tls-1"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(code(&refused), 2, "{told}");
    for line in [
        "profiles    tls-server",
        "directories default",
        "valid       1 certificate\n",
        "server      its own certificate stands under it",
        "instead     no issuer of the domain signs",
        "--yes",
    ] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    assert!(ok(&["ca", "list"]).contains("active"));
    // with another issuer nothing is lost, so nothing is asked
    assert!(ok(&["ca", "create", "tls", "--under", "tls-root"]).contains("chancery ca activate tls-2"));
    assert!(
        ok(&["ca", "retire", "tls-1"])
            .contains("instead     new requests go to tls-2, except for names it may not sign")
    );
    let list = ok(&["ca", "list"]);
    let line = |slug: &str| list.lines().find(|l| l.split_whitespace().next() == Some(slug)).unwrap().to_owned();
    assert!(line("tls-1").contains("retiring") && line("tls-2").contains("true"), "{list}");
    // a root that clients do not have yet signs for nobody
    assert!(ok(&["ca", "create", "tls", "--new-root"]).contains("chancery ca activate tls-root-2"));
    assert!(ok(&["ca", "create", "tls", "--under", "tls-root-2"]).contains("prepared"));
    assert_eq!(code(&run(at, &["ca", "create", "tls", "--new-root", "--under", "tls-root"])), 2);
    assert_ne!(code(&run(at, &["ca", "activate", "tls-3"])), 0, "its root is prepared");
    ok(&["ca", "activate", "tls-root-2"]);
    assert!(ok(&["ca", "activate", "tls-3"]).contains("default"));
    assert!(ok(&["ca", "show", "tls-3"]).contains("active"));
    // the old root leaves the bundle last, and only at a yes: what stands below it is valid still
    ok(&["ca", "retire", "tls-2"]);
    ok(&["ca", "retire", "tls-root"]);
    assert_eq!(code(&run(at, &["ca", "remove", "tls-root"])), 2);
    ok(&["ca", "remove", "tls-root", "--yes"]);
    assert!(ok(&["ca", "list"]).contains("removed"));
    ok(&["ca", "retire", "tls-root"]);
    ok(&["fsck"]);
}

#[test]
fn a_token_is_the_only_thing_on_stdout() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(code(&run(home.path(), &["init"])), 0);
    let made = run(home.path(), &["token", "create", "--role", "operator", "--name", "ci"]);
    let text = String::from_utf8(made.stdout).unwrap();
    assert!(text.starts_with("chy_") && text.lines().count() == 1, "{text}");
}

#[test]
fn a_token_that_may_ask_for_no_names_says_so() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    let create = |more: &[&str]| told(&run(at, &[&["token", "create", "--name", "ci"], more].concat()));
    let bare = create(&[]);
    assert!(bare.contains("role      requester, for no names") && bare.contains("--allow-name"), "{bare}");
    let bounded = create(&["--allow-name", "lab.example"]);
    assert!(bounded.contains("requester, for names lab.example and profiles *"), "{bounded}");
    assert!(!bounded.contains("WARNING"), "{bounded}");
    assert_eq!(create(&["--role", "operator"]), "role      operator, for every name\n");
    assert_eq!(create(&["--role", "viewer"]), "role      viewer, which asks for no certificates\n");
    let help = run(at, &["token", "create", "--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("[default: requester]"));
}

#[test]
fn what_cannot_start_says_why_and_ends_with_the_code_of_the_table() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let serve = |more: &[&str]| run(at, &[&["serve"], &ANY[..], more].concat());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let in_use = run(at, &["serve", "--listen", &address, "--listen-http", "127.0.0.1:0"]);
    assert_eq!(code(&in_use), 6);
    assert!(told(&in_use).contains("the port is in use"), "{}", told(&in_use));
    let unwritable = serve(&["--data", "/proc/nowhere"]);
    assert_eq!(code(&unwritable), 2);
    assert!(told(&unwritable).contains("choose another with --data DIR"), "{}", told(&unwritable));
    let nobody = Refusing::on_loopback();
    let gone = nobody.address;
    let down = serve(&["--database-url", &format!("postgres://u@{gone}/x")]);
    assert_eq!(code(&down), 6, "{}", told(&down));
    assert!(told(&down).contains(&format!("postgres://u@{gone}/x cannot be reached")), "{}", told(&down));
    assert_eq!(code(&serve(&["--database-url", "postgres://u:secret@127.0.0.1/x"])), 2);
    std::fs::write(at.join("c.toml"), "listn = \"x\"\n").unwrap();
    let unknown = serve(&["--config", "c.toml"]);
    assert_eq!(code(&unknown), 2);
    assert!(told(&unknown).contains("did you mean listen?"));
    assert_eq!(code(&serve(&["--locked"])), 7, "an empty database cannot be founded while locked");
    assert_eq!(code(&run(at, &["init"])), 0);
    std::fs::remove_file(at.join(".local/share/chancery/unlock.key")).unwrap();
    let keyless = serve(&[]);
    assert_eq!(code(&keyless), 7, "an initialised database without its unlock key");
    assert!(told(&keyless).contains("unlock.key") && told(&keyless).contains("--unlock-key"), "{}", told(&keyless));
    for output in [in_use, unwritable, down, unknown, keyless] {
        assert!(output.stdout.is_empty() && told(&output).lines().count() <= 3, "{}", told(&output));
    }
    assert_eq!(code(&run(at, &["find"])), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_that_start_at_once_make_one_hierarchy() {
    let url = postgres::create_database().await;
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    // both are given the same unlock key, as replicas are
    let other = at.join("other");
    assert_eq!(code(&run(at, &["init", "--data", other.to_str().unwrap()])), 0);
    // a copy of it: beside the first stands of which installation it is
    let key = at.join("unlock.key");
    std::fs::copy(other.join("unlock.key"), &key).unwrap();
    let start = |data: &str| {
        let mut command = chancery(at);
        command.env("CHANCERY_DATABASE_URL", &url).env("CHANCERY_ALLOW_UNSAFE_DATABASE", "true");
        command.args(["init", "--data", data, "--unlock-key"]).arg(&key);
        command.stderr(Stdio::null()).spawn().unwrap()
    };
    let (one, two) = (start("one"), start("two"));
    for replica in [one, two] {
        assert!(replica.wait_with_output().unwrap().status.success());
    }
    let listed = chancery(at)
        .env("CHANCERY_DATABASE_URL", &url)
        .args(["ca", "list", "-o", "json", "--data", "one", "--unlock-key"])
        .arg(&key)
        .output()
        .unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let roots = ["one", "two"].iter().filter(|d| at.join(d).join("root.key").exists()).count();
    assert_eq!(roots, 1, "the replica that lost keeps no root key");
    postgres::drop_database(&url).await;
}
