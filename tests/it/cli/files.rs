//! Key and chain for Windows and Java, which OpenSSL, Java and GnuTLS judge; how long CRLs and OCSP answers last.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use openssl::x509::X509;
use serde_json::Value;

use super::{code, run, succeeds, told};

/// What a program of others says, and whether it succeeded.
fn judged(at: &Path, program: &str, arguments: &[&str]) -> (bool, String) {
    let out = Command::new(program).args(arguments).current_dir(at).output().unwrap();
    (
        out.status.success(),
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)),
    )
}

fn serial(at: &Path, file: &str) -> String {
    let leaf = X509::from_pem(&fs::read(at.join(file)).unwrap()).unwrap();
    leaf.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_lowercase()
}

/// All three open the file with its password, find the key, and a chain that begins with the certificate in `leaf`.
fn opens(at: &Path, file: &str, password: &str, leaf: &str, legacy: bool) {
    let pass = format!("pass:{password}");
    let mut arguments = vec!["pkcs12", "-in", file, "-passin", &pass, "-nodes", "-info"];
    if legacy {
        arguments.push("-legacy");
    }
    let (good, text) = judged(at, "openssl", &arguments);
    assert!(good, "{text}");
    assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 2, "{text}");
    assert!(text.contains("BEGIN PRIVATE KEY") && text.contains("friendlyName: "), "{text}");
    let scheme =
        if legacy { "pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 2048" } else { "AES-256-CBC, Iteration 100000" };
    assert_eq!(text.matches(scheme).count(), 2, "{text}");
    let opened = X509::from_pem(&text.as_bytes()[text.find("-----BEGIN CERTIFICATE").unwrap()..]).unwrap();
    assert_eq!(
        opened.to_der().unwrap(),
        X509::from_pem(&fs::read(at.join(leaf)).unwrap()).unwrap().to_der().unwrap(),
        "the certificate of the key comes first"
    );
    let (good, text) =
        judged(at, "keytool", &["-list", "-v", "-keystore", file, "-storetype", "PKCS12", "-storepass", password]);
    assert!(good, "{text}");
    assert!(text.contains("PrivateKeyEntry") && text.contains("Certificate chain length: 2"), "{text}");
    assert!(text.to_lowercase().contains(serial(at, leaf).trim_start_matches('0')), "{text}");
    let (good, text) = judged(at, "certtool", &["--p12-info", "--inder", "--infile", file, "--password", password]);
    assert!(good && text.matches("BEGIN CERTIFICATE").count() == 2 && text.contains("PRIVATE KEY"), "{text}");
    let (good, _) = judged(at, "openssl", &["pkcs12", "-in", file, "-passin", "pass:wrong", "-nodes"]);
    assert!(!good);
}

#[test]
fn key_and_chain_go_to_windows_and_java() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    // a password that is made is alone on stdout
    let made = run(at, &["issue", "web.lab.example", "--pkcs12"]);
    assert_eq!(code(&made), 0, "{}", told(&made));
    let password = String::from_utf8(made.stdout.clone()).unwrap();
    assert!(
        told(&made).contains("p12    ./web.lab.example.p12 (0600, its password is printed this once)"),
        "{}",
        told(&made)
    );
    assert!(!told(&made).contains(password.trim()));
    assert_eq!(password.trim().len(), 32, "{password}");
    let file = at.join("web.lab.example.p12");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    opens(at, "web.lab.example.p12", password.trim(), "web.lab.example.crt", false);
    let first = fs::read(&file).unwrap();

    // one that is there stays, and then nothing is issued
    fs::remove_file(at.join("web.lab.example.crt")).unwrap();
    fs::remove_file(at.join("web.lab.example.key")).unwrap();
    let again = run(at, &["issue", "web.lab.example", "--pkcs12"]);
    assert_eq!(code(&again), 7, "{}", told(&again));
    assert!(told(&again).contains("web.lab.example.p12 exists already"), "{}", told(&again));
    assert_eq!(fs::read(&file).unwrap(), first);
    assert!(!at.join("web.lab.example.crt").exists());
    let found: Value = serde_json::from_slice(&run(at, &["find", "web.lab.example", "-o", "json"]).stdout).unwrap();
    assert_eq!(found["items"].as_array().unwrap().len(), 1);

    fs::write(at.join("p12.password"), "for Server 2016\r\n").unwrap();
    let legacy = ["iis.lab.example", "--pkcs12", "--legacy", "--password-file", "p12.password"];
    succeeds(at, &[&["issue"][..], &legacy].concat());
    opens(at, "iis.lab.example.p12", "for Server 2016", "iis.lab.example.crt", true);

    // a renewal writes it anew, or says that it is old
    let renewed = run(at, &["renew", "iis.lab.example.crt", "--force"]);
    assert_eq!(code(&renewed), 0, "{}", told(&renewed));
    assert!(told(&renewed).contains("iis.lab.example.p12 still holds the old certificate"), "{}", told(&renewed));
    let renewed = run(at, &["renew", "iis.lab.example.crt", "--force", "--pkcs12", "-o", "json"]);
    let answer: Value = serde_json::from_slice(&renewed.stdout).unwrap();
    assert_eq!(answer["pkcs12_file"], "iis.lab.example.p12", "{answer}");
    opens(at, "iis.lab.example.p12", answer["pkcs12_password"].as_str().unwrap(), "iis.lab.example.crt", false);
    succeeds(at, &["fsck"]);
}

#[test]
fn lifetimes_of_crls_and_ocsp_answers_are_set_shown_and_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    let shown = |name: &str| -> Value {
        serde_json::from_slice(&run(at, &["ca", "show", name, "-o", "json"]).stdout).unwrap()
    };
    assert_eq!((&shown("tls-1")["crl_lifetime"], &shown("tls-1")["ocsp_lifetime"]), (&"1d".into(), &"12h".into()));
    assert!(shown("tls-root").get("crl_lifetime").is_none());
    let told_set = succeeds(at, &["ca", "set", "tls-1", "--crl-lifetime", "7d", "--ocsp-lifetime", "2d"]);
    assert!(told_set.contains("CRLs of tls-1 are valid for 7d, OCSP answers for 2d"), "{told_set}");
    let table = String::from_utf8(run(at, &["ca", "show", "tls-1"]).stdout).unwrap();
    assert!(table.contains("crl_lifetime\t7d") && table.contains("ocsp_lifetime\t2d"), "{table}");
    assert!(!told_set.contains("from before"), "{told_set}");
    let told_set = succeeds(at, &["ca", "set", "tls-1", "--crl-lifetime", "default"]);
    assert!(told_set.contains("CRLs that clients hold from before (7d) are good until 20"), "{told_set}");
    assert!(!told_set.contains("OCSP answers that clients"), "{told_set}");
    let help = String::from_utf8(run(at, &["ca", "set", "--help"]).stdout).unwrap();
    assert!(help.contains("--crl-lifetime <LENGTH>") && help.contains("--ocsp-lifetime <LENGTH>"), "{help}");
    assert_eq!((&shown("tls-1")["crl_lifetime"], &shown("tls-1")["ocsp_lifetime"]), (&"1d".into(), &"2d".into()));
    succeeds(at, &["ca", "set", "tls-root", "--ocsp-lifetime", "3d"]);
    succeeds(at, &["ca", "create", "tls", "--under", "tls-root", "--crl-lifetime", "30d"]);
    assert_eq!(shown("tls-2")["crl_lifetime"], "30d");
    for (arguments, words) in [
        (&["tls-1", "--crl-lifetime", "30m"][..], "crl_lifetime 30m is not 1h to 365d in whole seconds"),
        (&["tls-1", "--ocsp-lifetime", "90d"], "ocsp_lifetime 90d is not 15m to 30d in whole seconds"),
        (&["tls-1", "--crl-lifetime", "soon"], "is not a duration"),
        (&["tls-1", "--crl-lifetime", "2027-01-05"], "is a moment, and what recurs has a length"),
        (&["tls-root", "--crl-lifetime", "7d"], "its CRLs are signed for all of its life by `chancery ca crl sign`"),
        (&["tls-9", "--crl-lifetime", "7d"], "tls-9"),
        (&["tls-1"], "--crl-lifetime"),
    ] {
        let refused = run(at, &[&["ca", "set"][..], arguments].concat());
        assert!(code(&refused) != 0 && told(&refused).contains(words), "{arguments:?}: {}", told(&refused));
    }
    succeeds(at, &["fsck"]);
}

#[test]
fn a_password_that_programs_read_differently_is_refused_before_anything_is_issued() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    for (password, words) in
        [("", "an empty password"), ("pässwort\n", "other characters"), (&"x".repeat(201), "201 characters")]
    {
        fs::write(at.join("p12.password"), password).unwrap();
        let refused = run(at, &["issue", "web.lab.example", "--pkcs12", "--password-file", "p12.password"]);
        assert_ne!(code(&refused), 0);
        assert!(
            told(&refused).contains("1 to 200 printable ASCII characters") && told(&refused).contains(words),
            "{}",
            told(&refused)
        );
        assert!(!at.join("web.lab.example.crt").exists() && !at.join(".web.lab.example.key.next").exists());
    }
    let missing = run(at, &["issue", "web.lab.example", "--pkcs12", "--password-file", "none"]);
    assert!(told(&missing).contains("cannot read the password of the PKCS#12 file from none"), "{}", told(&missing));
    for half in [&["--legacy"][..], &["--password-file", "p12.password"]] {
        assert_eq!(code(&run(at, &[&["issue", "web.lab.example"], half].concat())), 2, "{half:?}");
    }
    succeeds(at, &["issue", "web.lab.example", "--pkcs12"]);
    let wrong = run(at, &["renew", "web.lab.example.p12", "--force"]);
    assert!(told(&wrong).contains("web.lab.example.p12 is PKCS#12; name the certificate file"), "{}", told(&wrong));
}
