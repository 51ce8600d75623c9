//! `issue` and `renew` on a host: how long, in place of what, and certificate and key on the disk together.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use openssl::pkey::PKey;
use openssl::x509::X509;
use serde_json::Value;

use super::{code, run, succeeds, told};

fn fits(chain: &[u8], key: &[u8]) -> bool {
    let (leaf, key) = (X509::from_pem(chain).unwrap(), PKey::private_key_from_pem(key).unwrap());
    leaf.public_key().unwrap().public_eq(&key)
}

fn seconds(chain: &[u8]) -> i32 {
    let leaf = X509::from_pem(chain).unwrap();
    let span = leaf.not_before().diff(leaf.not_after()).unwrap();
    span.days * 86_400 + span.secs + 1
}

fn read(at: &Path, name: &str) -> Vec<u8> {
    fs::read(at.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Names that begin with a dot, apart from the data of the CA.
fn leftovers(at: &Path) -> Vec<String> {
    let names = fs::read_dir(at).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".web")).collect()
}

#[test]
fn openssl_reads_every_kind_of_key_that_is_made_or_kept() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    let file = "web.lab.example.crt";
    for kind in ["P-256", "P-384", "P-521", "Ed25519"] {
        succeeds(at, &["issue", "web.lab.example", "--key", kind, "--force"]);
        for renewal in [&["renew", file, "--force"][..], &["renew", file, "--force", "--reuse-key"]] {
            let key = read(at, "web.lab.example.key");
            assert!(fits(&read(at, file), &key), "{kind}");
            succeeds(at, renewal);
            assert_eq!(key == read(at, "web.lab.example.key"), renewal.contains(&"--reuse-key"), "{kind}");
        }
        assert!(fits(&read(at, file), &read(at, "web.lab.example.key")), "{kind}");
    }
}

#[test]
fn a_renewal_is_as_long_as_the_certificate_before_and_says_what_it_replaces() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    // the profile's backdate of a minute comes on top
    for (ttl, length) in [("5m", 360), ("30s", 90), ("1h30m", 5_460), ("1h", 3_660)] {
        succeeds(at, &["issue", "web.lab.example", "--ttl", ttl, "--force"]);
        assert_eq!(seconds(&read(at, "web.lab.example.crt")), length, "--ttl {ttl}");
    }
    fs::copy(at.join("web.lab.example.crt"), at.join("old.crt")).unwrap();
    succeeds(at, &["renew", "web.lab.example.crt", "--force"]);
    assert_eq!(seconds(&read(at, "web.lab.example.crt")), 3_660);
    succeeds(at, &["renew", "web.lab.example.crt", "--force", "--ttl", "2h"]);
    assert_eq!(seconds(&read(at, "web.lab.example.crt")), 7_260);
    let facts = |file: &str| -> Value {
        let output = run(at, &["inspect", file, "-o", "json"]);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()[0].clone()
    };
    let events = run(at, &["audit", "list", "-o", "json"]);
    let events: Value = serde_json::from_slice(&events.stdout).unwrap();
    let replaced =
        |event: &&Value| event["action"] == "certificate.intended" && event["detail"]["replaces"].is_string();
    assert_eq!(events["items"].as_array().unwrap().iter().filter(replaced).count(), 2, "{events}");
    assert_ne!(facts("old.crt")["serial"], facts("web.lab.example.crt")["serial"]);
    for wrong in ["soon", "0s", "2020-01-01", "-1h", "5 minutes"] {
        let refused = run(at, &["issue", "other.lab.example", &format!("--ttl={wrong}")]);
        assert_ne!(code(&refused), 0, "{wrong}");
        assert!(!at.join("other.lab.example.key").exists() && !at.join(".other.lab.example.key.next").exists());
    }
}

#[test]
fn a_renewal_that_was_killed_half_way_is_finished_or_taken_back() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    succeeds(at, &["issue", "web.lab.example"]);
    let old = ["crt", "key"].map(|end| read(at, &format!("web.lab.example.{end}")));
    succeeds(at, &["renew", "web.lab.example.crt", "--force"]);
    let new = ["crt", "key"].map(|end| read(at, &format!("web.lab.example.{end}")));
    let (certificate, key) = (at.join("web.lab.example.crt"), at.join("web.lab.example.key"));
    let (next_certificate, next_key) = (at.join(".web.lab.example.crt.next"), at.join(".web.lab.example.key.next"));
    let state = || [fs::read(&certificate).unwrap(), fs::read(&key).unwrap()];

    // killed before the first rename
    fs::write(&certificate, &old[0]).unwrap();
    fs::write(&key, &old[1]).unwrap();
    fs::write(&next_certificate, &new[0]).unwrap();
    fs::write(&next_key, &new[1]).unwrap();
    let text = succeeds(at, &["renew", "web.lab.example.crt"]);
    assert!(text.contains("recovered  web.lab.example.crt") && text.contains("not due"), "{text}");
    assert_eq!(state(), new);

    // between the two
    fs::write(&certificate, &old[0]).unwrap();
    fs::write(&next_certificate, &new[0]).unwrap();
    let text = succeeds(at, &["renew", "web.lab.example.crt"]);
    assert!(text.contains("recovered  "), "{text}");
    assert_eq!(state(), new);

    // while the certificate was written, and before it was issued
    for half in [&new[0][..100], b""] {
        fs::write(&next_key, &old[1]).unwrap();
        fs::write(&next_certificate, half).unwrap();
        let text = succeeds(at, &["renew", "web.lab.example.crt"]);
        assert!(!text.contains("recovered"), "{text}");
        assert_eq!(state(), new);
    }
    // a certificate of another key is nothing to go on with
    fs::write(&next_certificate, &old[0]).unwrap();
    succeeds(at, &["renew", "web.lab.example.crt"]);
    assert_eq!(state(), new);
    assert_eq!(leftovers(at), Vec::<String>::new());

    // a refused renewal leaves both as they were, and so does a refused issue over them
    for command in [
        &["renew", "web.lab.example.crt", "--force", "--ttl", "9000d"][..],
        &["issue", "web.lab.example", "--force", "--ttl", "9000d"],
    ] {
        assert_eq!(code(&run(at, command)), 3, "{command:?}");
        assert_eq!(state(), new);
        assert_eq!(leftovers(at), Vec::<String>::new());
    }
}

#[test]
fn mode_and_links_of_the_files_stay() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    fs::create_dir(at.join("real")).unwrap();
    succeeds(at, &["issue", "web.lab.example", "--out", "real"]);
    for end in ["crt", "key"] {
        let name = format!("web.lab.example.{end}");
        std::os::unix::fs::symlink(format!("real/{name}"), at.join(&name)).unwrap();
    }
    fs::set_permissions(at.join("real/web.lab.example.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let before = read(at, "web.lab.example.crt");
    succeeds(at, &["renew", "web.lab.example.crt", "--force"]);
    assert_ne!(read(at, "real/web.lab.example.crt"), before);
    assert!(fits(&read(at, "web.lab.example.crt"), &read(at, "web.lab.example.key")));
    assert!(at.join("web.lab.example.key").is_symlink());
    let mode = fs::metadata(at.join("real/web.lab.example.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

/// What a reader opens in one step is one pair, however often it is replaced meanwhile.
#[test]
fn a_tight_reader_of_a_linked_or_combined_pair_meets_no_mixture() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    succeeds(at, &["issue", "web.lab.example", "--layout", "link"]);
    succeeds(at, &["issue", "web.lab.example", "--layout", "combined"]);
    let mode = fs::metadata(at.join("web.lab.example.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (stop, reads) = (std::sync::atomic::AtomicBool::new(false), std::sync::atomic::AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                let both = read(at, "web.lab.example.pem");
                assert!(fits(&both, &both));
                // the directory is opened once: its two files are one pair
                let pair = fs::canonicalize(at.join(".web.lab.example.pairs/current")).unwrap();
                let files = ["crt", "key"].map(|end| fs::read(pair.join(format!("web.lab.example.{end}"))));
                match files {
                    [Ok(certificate), Ok(key)] => assert!(fits(&certificate, &key)),
                    // two renewals later it is gone: a busy machine held this reader up
                    _ => assert!(!pair.exists(), "{}", pair.display()),
                }
                reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        });
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..3 {
            succeeds(at, &["renew", "web.lab.example.crt", "--force"]);
            succeeds(at, &["renew", "web.lab.example.pem", "--force"]);
            for name in ["crt", "key", "pem"] {
                assert!(seen.insert(read(at, &format!("web.lab.example.{name}"))), "{name} was not replaced");
            }
            assert!(fits(&read(at, "web.lab.example.crt"), &read(at, "web.lab.example.key")));
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    assert!(reads.load(std::sync::atomic::Ordering::SeqCst) > 0);
    // the pair in use and the one before it, which a program may be reading
    let kept = fs::read_dir(at.join(".web.lab.example.pairs")).unwrap().count();
    assert_eq!(kept, 3, "current and two directories");
    // the same key again
    let key = read(at, "web.lab.example.key");
    succeeds(at, &["renew", "web.lab.example.crt", "--force", "--reuse-key"]);
    assert_eq!(read(at, "web.lab.example.key"), key);
    assert!(fits(&read(at, "web.lab.example.crt"), &key));
    let refused = run(at, &["renew", "web.lab.example.crt", "--force", "--ttl", "9000d"]);
    assert_eq!(code(&refused), 3, "{}", told(&refused));
    assert!(fits(&read(at, "web.lab.example.crt"), &read(at, "web.lab.example.key")));
}
