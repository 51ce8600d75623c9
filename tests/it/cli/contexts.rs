//! Contexts: what a host that bootstrapped keeps of a server.

use std::process::Output;

use serde_json::Value;

use crate::support::process::{Process, code, run, told};
use crate::support::wait;

/// A token goes to the installation that it is for, whatever names its context would have.
#[test]
fn a_context_keeps_its_token_for_its_installation() {
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let servers = homes.each_ref().map(|home| Process::start(home.path(), &[], &[]));
    let [one, other] = servers.each_ref().map(|server| {
        let text = |member: &str| server.ready[member].as_str().unwrap().to_owned();
        (text("https"), text("root_sha256"))
    });
    let away = tempfile::tempdir().unwrap();
    std::fs::write(away.path().join("token"), "chy_1").unwrap();
    let bootstrap = |(url, print): &(String, String), more: &[&str]| {
        run(away.path(), &[&["bootstrap", "-o", "json", url, "--fingerprint", print], more].concat())
    };
    let made = |output: &Output| -> Value {
        assert_eq!(code(output), 0, "{}", told(output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let first = made(&bootstrap(&one, &["--token", "token"]));
    let name = first["context"].as_str().unwrap().to_owned();
    let saved = || std::fs::read(away.path().join(".config/chancery/contexts.toml")).unwrap();
    let (before, roots) = (saved(), std::fs::read(first["root"].as_str().unwrap()).unwrap());
    let refused = bootstrap(&other, &["--name", &name]);
    assert!(code(&refused) != 0 && told(&refused).contains(&format!("context remove {name}")), "{}", told(&refused));
    assert_eq!((saved(), std::fs::read(first["root"].as_str().unwrap()).unwrap()), (before, roots));

    // another port has another name, and no token
    let second = made(&bootstrap(&other, &[]));
    assert_ne!(second["context"], first["context"]);
    assert_eq!(second["token_file"], Value::Null);
    // the same installation again keeps it
    let again = made(&bootstrap(&one, &[]));
    assert_eq!((&again["context"], &again["token_file"]), (&first["context"], &first["token_file"]));
    assert!(again["token_file"].is_string());

    let port = one.0.rsplit_once(':').unwrap().1;
    for wrong in [
        "https://user:pw@127.0.0.1:1",
        "https://127.0.0.1:1/x/y?z",
        "https://127.0.0.1:1/#a",
        "http://127.0.0.1:1",
        "",
    ] {
        let refused = bootstrap(&(wrong.replace(":1", &format!(":{port}")), one.1.clone()), &[]);
        assert!(code(&refused) != 0 && told(&refused).contains("write https://HOST"), "{wrong}: {}", told(&refused));
    }
}

/// While a root is replaced a host that bootstrapped keeps trusting the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_context_moves_with_the_root() {
    let (home, away) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Process::start(home.path(), &[], &[]);
    let url = server.ready["https"].as_str().unwrap().to_owned();
    let bootstrap = |more: &[&str]| run(away.path(), &[&["bootstrap", "-o", "json", &url], more].concat());
    let roots = |output: &Output| -> Vec<String> {
        assert_eq!(code(output), 0, "{}", told(output));
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        made["roots_sha256"].as_array().unwrap().iter().map(|print| print.as_str().unwrap().to_owned()).collect()
    };
    let stranger = bootstrap(&[]);
    assert_eq!(code(&stranger), 2, "nothing proves the root yet: {}", told(&stranger));
    let first = server.ready["root_sha256"].as_str().unwrap().to_owned();
    assert_eq!(roots(&bootstrap(&["--fingerprint", &first])), std::slice::from_ref(&first));
    for command in [&["ca", "create", "tls", "--new-root"][..], &["ca", "create", "tls", "--under", "tls-root-2"]] {
        let made = server.run(command);
        assert_eq!(code(&made), 0, "{}", told(&made));
    }
    let known = wait::until("the bundle has two roots", async || {
        Some(roots(&bootstrap(&[]))).filter(|known| known.len() == 2)
    })
    .await;
    assert_eq!(known[0], first, "the one that the server stands under comes first");
    for issuer in ["tls-root-2", "tls-2"] {
        let moved = server.run(&["ca", "activate", issuer]);
        assert_eq!(code(&moved), 0, "{}", told(&moved));
    }
    let after =
        wait::until("the server has moved", async || Some(roots(&bootstrap(&[]))).filter(|after| after[0] != first))
            .await;
    assert_eq!(after[0], known[1], "the server moved, and the context knew its next root");
}
