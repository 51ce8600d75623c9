//! The scripts of `quickstart`: they stop at another root, and their commands find the installation.

use std::path::Path;
use std::process::Command;

use super::{chancery, code, run, succeeds, told};
use crate::support::process::install;

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
        let text = at.join("stand-in");
        std::fs::write(&text, format!("#!/bin/sh\n{body}\n")).unwrap();
        install(&text, &bin.join(name));
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

#[test]
fn two_cluster_issuers_have_names_of_their_own() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(code(&run(home.path(), &["init"])), 0);
    let printed = |more: &[&str]| {
        let output = run(home.path(), &[&["quickstart", "cert-manager"], more].concat());
        (code(&output), String::from_utf8(output.stdout.clone()).unwrap(), told(&output))
    };
    let (_, usual, _) = printed(&[]);
    assert!(usual.contains("\n  name: chancery\n") && usual.contains("name: chancery-acme-account "), "{usual}");
    let (ended, said, why) = printed(&["--eab-kid", "nope"]);
    assert!(ended == 4 && said.is_empty(), "{ended} {said}");
    assert!(why.contains("no external account key has the kid \"nope\"; `chancery acme eab list`"), "{why}");
    let create = ["acme", "eab", "create", "--allow-name", "lab.example", "--name"];
    succeeds(home.path(), &[&create[..], &["fleet", "--kid", "kid-1"]].concat());
    succeeds(home.path(), &[&create[..], &["gone", "--kid", "kid-2"]].concat());
    succeeds(home.path(), &["acme", "eab", "revoke", "gone"]);
    let (ended, _, why) = printed(&["--eab-kid", "kid-2"]);
    assert!(ended == 7 && why.contains("because its status is revoked"), "{ended} {why}");
    let (ended, _, why) = printed(&["--eab-kid", "kid-1", "--directory", "other"]);
    assert!(
        ended == 7 && why.contains("is for the ACME directory default; add --directory default"),
        "{ended} {why}"
    );
    let (_, second, _) = printed(&["--name", "lab.staging", "--eab-kid", "kid-1"]);
    for part in [
        "# chancery quickstart cert-manager --name lab.staging | kubectl",
        "clusterissuer/lab.staging\n",
        "delete clusterissuer lab.staging\n",
        "\n  name: lab.staging\n",
        "name: lab.staging-acme-account ",
        "secret generic lab.staging-eab ",
        "name: lab.staging-eab,",
    ] {
        assert!(second.contains(part), "{part} in {second}");
    }
    assert!(!second.contains("name: chancery"), "{second}");
    let long = "a".repeat(231);
    for bad in ["Lab", "lab_1", "-lab", "lab-", "a..b", "", "a b", "a\nb", long.as_str()] {
        let (ended, said, why) = printed(&[&format!("--name={bad}")]);
        assert!(
            ended == 2 && said.is_empty() && why.contains("no name for a ClusterIssuer"),
            "{bad:?}: {ended} {why}"
        );
    }
}

#[test]
fn the_api_servers_right_to_ask_kubelets_is_a_manifest() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    for command in [&["init"][..], &["ca", "create", "kubernetes"]] {
        assert_eq!(code(&run(at, command)), 0);
    }
    let made = run(at, &["issue", "--profile", "kube-apiserver-kubelet-client"]);
    assert_eq!(code(&made), 0, "{}", told(&made));
    let subject = Command::new("openssl")
        .args(["x509", "-noout", "-subject", "-in", "kube-apiserver-kubelet-client.crt"])
        .current_dir(at)
        .output()
        .unwrap();
    let subject = String::from_utf8(subject.stdout).unwrap().replace(' ', "");
    assert_eq!(subject, "subject=CN=kube-apiserver-kubelet-client\n");
    let printed = String::from_utf8(run(at, &["quickstart", "kube-apiserver"]).stdout).unwrap();
    for part in [
        "kind: ClusterRoleBinding\n",
        "name: system:kubelet-api-admin\n",
        "kind: User\n    name: kube-apiserver-kubelet-client\n",
    ] {
        assert!(printed.contains(part), "{part} in {printed}");
    }

    // an installation of an earlier version has the group in its profile
    let rules = String::from_utf8(run(at, &["profile", "export", "kube-apiserver-kubelet-client"]).stdout).unwrap();
    let mut rules: serde_json::Value = serde_json::from_str(&rules).unwrap();
    assert_eq!(code(&run(at, &["doctor"])), 0);
    rules["subject"]["organization"] = serde_json::json!(["kubeadm:cluster-admins"]);
    std::fs::write(at.join("old.json"), rules.to_string()).unwrap();
    assert_eq!(code(&run(at, &["profile", "apply", "old.json"])), 0);
    let doctor = run(at, &["doctor"]);
    let found = String::from_utf8(doctor.stdout.clone()).unwrap();
    assert!(code(&doctor) == 10 && found.contains("O=kubeadm:cluster-admins"), "{found}");
    for command in ["`chancery quickstart kube-apiserver`", "`chancery profile edit kube-apiserver-kubelet-client`"] {
        assert!(found.contains(command), "{found}");
    }
    let edited = chancery(at)
        .args(["profile", "edit", "kube-apiserver-kubelet-client"])
        .env("EDITOR", "sed -i /cluster-admins/d")
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    assert_eq!(code(&edited), 0, "{}", told(&edited));
    assert_eq!(code(&run(at, &["doctor"])), 0);
}

#[test]
fn a_csr_that_asks_for_a_group_of_kubernetes_is_refused_and_not_rewritten() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    for command in [&["init"][..], &["ca", "create", "kubernetes"], &["ca", "create", "mtls"]] {
        assert_eq!(code(&run(at, command)), 0);
    }
    let asks = |profile: &str, subject: &str, san: &[&str]| {
        let made = Command::new("openssl")
            .args([
                "req",
                "-new",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-keyout",
                "a.key",
            ])
            .args(["-out", "a.csr", "-subj", subject])
            .args(san)
            .current_dir(at)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", told(&made));
        let output = run(at, &["sign", "a.csr", "--profile", profile]);
        (code(&output), told(&output))
    };
    let san = ["-addext", "subjectAltName=DNS:web.lab.example"];
    for (profile, subject, san) in [
        ("tls-server", "/O=system:masters/CN=web.lab.example", &san[..]),
        ("tls-client", "/O=system:masters/CN=alice", &[]),
        ("tls-client", "/O=Lab/O=system:masters/CN=alice", &[]),
        ("tls-client", "/O=system:nodes/CN=alice", &[]),
        ("kube-admin", "/O=system:masters/CN=kubernetes-admin", &[]),
        ("kubelet-client", "/O=system:masters/CN=system:node:n1", &[]),
    ] {
        let (ended, said) = asks(profile, subject, san);
        assert_ne!(ended, 0, "{profile} {subject}");
        let words = format!("a group that Kubernetes keeps for itself, and profile {profile} does not give it");
        assert!(said.contains(&words), "{profile} {subject}: {said}");
    }
    for (profile, subject, san) in [
        ("tls-server", "/O=Lab/CN=web.lab.example", &san[..]),
        ("kube-super-admin", "/O=system:masters/CN=kubernetes-super-admin", &[]),
        ("kubelet-client", "/O=system:nodes/CN=system:node:n1", &[]),
    ] {
        let (ended, said) = asks(profile, subject, san);
        assert_eq!(ended, 0, "{profile} {subject}: {said}");
    }
}
