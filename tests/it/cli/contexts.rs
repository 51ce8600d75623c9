//! Contexts: what a host that bootstrapped keeps of a server.

use std::process::Output;

use serde_json::Value;

use crate::support::process::{Process, code, run, told};
use crate::support::wait;

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
