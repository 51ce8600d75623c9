//! A network namespace around this test: the test binary runs itself again under `unshare -n`.

use std::process::Command;

const INSIDE: &str = "CHANCERY_TEST_IN_NAMESPACE";

const PROXIES: [&str; 5] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"];

pub enum Entered {
    /// This is the namespace; its addresses are set.
    Inside,
    /// The same test ran in one, and this is what it said.
    Done(String),
    Skipped(String),
}

pub fn enter(test: &str) -> Entered {
    if std::env::var_os(INSIDE).is_some() {
        return match set_up() {
            Ok(()) => Entered::Inside,
            Err(why) => Entered::Skipped(why),
        };
    }
    let Some(unshare) = unshare() else {
        return Entered::Skipped("a network namespace needs root or user namespaces, and unshare".into());
    };
    if Command::new("ip").arg("-V").output().is_err() {
        return Entered::Skipped("ip of iproute2 is not installed".into());
    }
    let binary = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(unshare)
        .arg(binary)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        // a proxy of the environment would be a way around every rule; a connection to it would be counted
        .envs(PROXIES.map(|name| (name, "http://127.0.0.1:8080")))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    match said.lines().find(|line| line.contains("skip hostile: ")) {
        Some(skipped) => Entered::Skipped(format!("inside the namespace: {skipped}")),
        None => {
            assert!(said.contains("0 connections to forbidden places"), "it ran nothing: {said}");
            Entered::Done(said)
        }
    }
}

fn unshare() -> Option<&'static [&'static str]> {
    let ways: [&'static [&'static str]; 2] = [&["--net"], &["--net", "--user", "--map-root-user"]];
    ways.into_iter()
        .find(|way| Command::new("unshare").args(*way).arg("true").output().is_ok_and(|o| o.status.success()))
}

/// Every address is local (AnyIP), so that a connection to any of them comes to a listener on the unspecified one.
fn set_up() -> Result<(), String> {
    for words in [
        "link set lo up",
        "route add local 0.0.0.0/0 dev lo",
        "-6 route add local ::/0 dev lo",
        "addr add 10.0.0.1/32 dev lo",
        "-6 addr add fd01::1/128 dev lo nodad",
    ] {
        let output = Command::new("ip").args(words.split(' ')).output().map_err(|e| format!("ip: {e}"))?;
        if !output.status.success() {
            return Err(format!("ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
    }
    Ok(())
}
