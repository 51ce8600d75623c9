//! The scripts of `quickstart`: they stop at another root, and their commands find the installation.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::{chancery, code, run, told};

const PROGRAMS: [&str; 6] = ["certbot", "caddy", "git", "docker", "kubectl", "nginx"];
/// What the scripts call beside the shell's own tools.
const CALLED: [&str; 8] = ["sudo", "certbot", "caddy", "git", "kubectl", "nginx", "chancery", "curl"];

/// Runs a script with stand-ins that note their names; `curl` brings the root in `served`.
fn called(at: &Path, script: &str, served: &Path) -> (bool, Vec<String>) {
    let (bin, work) = (at.join("bin"), tempfile::tempdir().unwrap());
    std::fs::create_dir_all(&bin).unwrap();
    for name in CALLED {
        let body = match name {
            "curl" => format!("cp {} chancery-root.pem", served.display()),
            _ => format!("echo {name} >>{}", work.path().join("called").display()),
        };
        let path = bin.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = Command::new("sh")
        .args(["-c", script])
        .env_clear()
        .env("HOME", work.path())
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .current_dir(work.path())
        .output()
        .unwrap();
    let noted = std::fs::read_to_string(work.path().join("called")).unwrap_or_default();
    (output.status.success(), noted.lines().map(str::to_owned).collect())
}

#[test]
fn every_script_stops_at_a_root_with_another_fingerprint() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for at in [home.path(), other.path()] {
        assert_eq!(code(&run(at, &["init"])), 0);
        std::fs::write(at.join("root.pem"), run(at, &["ca", "show", "tls-root", "-o", "pem"]).stdout).unwrap();
    }
    for program in PROGRAMS {
        let printed = run(home.path(), &["quickstart", program]);
        assert_eq!(code(&printed), 0, "{}", told(&printed));
        let script = String::from_utf8(printed.stdout).unwrap();
        let (ended, calls) = called(home.path(), &script, &home.path().join("root.pem"));
        assert!(ended && calls.iter().any(|name| name == "sudo"), "{program}: {calls:?}");
        let (ended, calls) = called(home.path(), &script, &other.path().join("root.pem"));
        assert!(!ended && calls.is_empty(), "{program}: {calls:?}");
    }
}

#[test]
fn the_commands_in_a_script_find_the_installation() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let with = |arguments: &[&str]| chancery(at).env("CHANCERY_DATA", "D").args(arguments).output().unwrap();
    assert_eq!(code(&with(&["init"])), 0);
    for (program, commands) in [
        (
            "nginx",
            &[
                "\nchancery --data D issue web.lab.example --force\n",
                ": chancery --data D renew web.lab.example.crt && ",
            ][..],
        ),
        ("kubectl", &["\nchancery --data D issue --profile kube-admin --force\n"]),
    ] {
        let text = String::from_utf8(with(&["quickstart", program, "--name", "web.lab.example"]).stdout).unwrap();
        for command in commands {
            assert!(text.contains(command), "{command} in {text}");
        }
    }
    assert_eq!(code(&with(&["ca", "root", "offline", "tls-root", "--out", "tls-root.pem"])), 0);
    let text = String::from_utf8(with(&["ca", "show", "tls-root"]).stdout).unwrap();
    assert!(text.contains("`chancery --data D ca root online FILE`"), "{text}");
}
