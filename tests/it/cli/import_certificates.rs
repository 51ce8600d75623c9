//! `ca import-certificates` over CAs that `openssl ca` made, in its own layout and in that of EasyRSA.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::process::{Process, code, run, succeeds, told};

const CONFIG: &str = "[ca]\ndefault_ca=d\n[d]\ndir=.\ndatabase=index.txt\nnew_certs_dir=newcerts\ncertificate=ca.crt\n\
    private_key=private/ca.key\nserial=serial\ndefault_md=sha256\npolicy=p\nx509_extensions=leaf\ncopy_extensions=copy\n\
    default_days=300\ndefault_crl_days=30\nunique_subject=no\n[p]\ncommonName=supplied\n[leaf]\nbasicConstraints=CA:FALSE\n\
    extendedKeyUsage=clientAuth,serverAuth\n";

fn openssl(folder: &Path, arguments: &[&str]) {
    let out = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// A CA of `openssl ca` with serials 01 to 04; 02 is revoked for keyCompromise, 03 on hold.
fn old_ca(folder: &Path) {
    for part in ["newcerts", "private"] {
        std::fs::create_dir_all(folder.join(part)).unwrap();
    }
    for (name, content) in [("index.txt", ""), ("serial", "01\n"), ("ca.cnf", CONFIG)] {
        std::fs::write(folder.join(name), content).unwrap();
    }
    let root = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "private/ca.key",
        "-out",
        "ca.crt",
        "-days",
        "3000",
        "-subj",
        "/CN=Old CA",
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
    ];
    openssl(folder, &root);
    for n in 1..=4 {
        let (subject, san) = (format!("/CN=client{n}"), format!("subjectAltName=DNS:client{n}.vpn.example"));
        openssl(
            folder,
            &[
                "req",
                "-new",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-keyout",
                "private/leaf.key",
                "-out",
                "leaf.csr",
                "-subj",
                &subject,
                "-addext",
                &san,
            ],
        );
        openssl(folder, &["ca", "-config", "ca.cnf", "-batch", "-in", "leaf.csr", "-notext"]);
    }
    for (serial, reason) in [("02", "keyCompromise"), ("03", "certificateHold")] {
        openssl(
            folder,
            &["ca", "-config", "ca.cnf", "-revoke", &format!("newcerts/{serial}.pem"), "-crl_reason", reason],
        );
    }
    openssl(folder, &["ca", "-config", "ca.cnf", "-gencrl", "-out", "old.crl"]);
}

fn json(at: &Path, arguments: &[&str]) -> Value {
    let out = run(at, arguments);
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {}", told(&out)))
}

#[test]
fn a_ca_of_openssl_comes_with_its_certificates_its_index_and_its_crl_without_a_number() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let ca = at.join("demoCA");
    old_ca(&ca);
    succeeds(at, &["init"]);
    succeeds(
        at,
        &[
            "ca",
            "import",
            "demoCA/ca.crt",
            "--key",
            "demoCA/private/ca.key",
            "--domain",
            "vpn",
            "--crl",
            "demoCA/old.crl",
        ],
    );
    let dry = json(at, &["ca", "import-certificates", "demoCA", "--dry-run", "-o", "json"]);
    // ca.crt is that of the issuer
    let wanted =
        |dry: &Value| (dry["imported"].clone(), dry["imported_revoked"].clone(), dry["refused"][0]["rule"].clone());
    assert_eq!(wanted(&dry), (4.into(), 2.into(), "import.issuer_certificate".into()), "{dry}");
    assert_eq!(json(at, &["find", "client1.vpn.example", "-o", "json"])["items"], serde_json::json!([]));
    let done = run(at, &["ca", "import-certificates", "demoCA"]);
    assert_eq!(code(&done), 10, "{}", told(&done));
    assert!(
        told(&done).contains("imported  4 certificates, 2 of them revoked")
            && told(&done).contains("refused   1, such as"),
        "{}",
        told(&done)
    );
    // again, from the index, from a bundle and one by one
    std::fs::write(
        at.join("all.pem"),
        [1, 4].map(|n| std::fs::read_to_string(ca.join(format!("newcerts/0{n}.pem"))).unwrap()).concat(),
    )
    .unwrap();
    for paths in [&["demoCA/index.txt"][..], &["all.pem"], &["demoCA/newcerts/01.pem", "demoCA/newcerts/04.pem"]] {
        let again = json(at, &[&["ca", "import-certificates", "-o", "json"], paths].concat());
        assert_eq!((again["imported"].as_u64(), again["known"].as_u64() >= Some(2)), (Some(0), true), "{again}");
    }
    let by_name = |n: u32| json(at, &["find", &format!("client{n}.vpn.example"), "-o", "json"])["items"][0].clone();
    assert_eq!(
        (by_name(1)["status"].as_str(), by_name(2)["revocation"]["reason"].as_str()),
        (Some("valid"), Some("keyCompromise"))
    );
    // a serial is found and chosen however it is written; one that two CAs used is not chosen by chance
    for written in ["04", "0x04", "4", "serial=04"] {
        assert_eq!(
            json(at, &["find", written, "-o", "json"])["items"][0]["names"][0],
            "client4.vpn.example",
            "{written}"
        );
        let dry = run(at, &["revoke", written, "--dry-run"]);
        assert!(code(&dry) == 0, "{written}: {}", told(&dry));
    }
    old_ca(&at.join("otherCA"));
    let import = ["ca", "import", "otherCA/ca.crt", "--key", "otherCA/private/ca.key", "--domain", "other"];
    succeeds(at, &import);
    run(at, &["ca", "import-certificates", "otherCA"]);
    let twice = run(at, &["revoke", "04"]);
    assert!(
        code(&twice) == 7
            && told(&twice).contains("2 certificates have the serial 04; give the id of one of them: crt_"),
        "{}",
        told(&twice)
    );
    let lost = run(at, &["revoke", "77"]);
    assert!(code(&lost) == 4 && told(&lost).contains("`chancery ca import-certificates FILE`"), "{}", told(&lost));
    // revoked, raised and lifted as one of ours, under a root whose key is at hand
    let first = by_name(1)["id"].as_str().unwrap().to_owned();
    succeeds(at, &["revoke", &first, "--reason", "superseded"]);
    let raised = succeeds(at, &["revoke", &first, "--reason", "keyCompromise"]);
    assert!(raised.contains("raised   client1.vpn.example   keyCompromise (was superseded)"), "{raised}");
    assert_eq!(code(&run(at, &["revoke", &first, "--reason", "keyCompromise"])), 7);
    let held = by_name(3)["id"].as_str().unwrap().to_owned();
    assert!(succeeds(at, &["revoke", &held, "--lift"]).contains("good again"));
    let twice = run(at, &["revoke", &held, "--lift"]);
    assert_eq!(code(&twice), 7, "{}", told(&twice));
    assert!(told(&twice).contains("no hold to lift"), "{}", told(&twice));
    succeeds(at, &["fsck"]);
}

#[test]
fn a_certificate_that_is_not_known_here_is_said_to_be_so() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    old_ca(&at.join("demoCA"));
    succeeds(at, &["init"]);
    succeeds(at, &["ca", "import", "demoCA/ca.crt", "--key", "demoCA/private/ca.key", "--domain", "vpn"]);
    let verdict = || {
        let out = run(at, &["verify", "demoCA/newcerts/01.pem"]);
        (code(&out), String::from_utf8(out.stdout.clone()).unwrap() + &told(&out))
    };
    let (_, before) = verdict();
    let sentence = "this CA has no record of it, so its OCSP answers unknown: `chancery ca import-certificates FILE`";
    assert!(before.contains(sentence), "{before}");
    let lost = run(at, &["revoke", "demoCA/newcerts/01.pem"]);
    let command = "chancery ca import-certificates demoCA/newcerts/01.pem";
    assert!(code(&lost) == 4 && told(&lost).contains(&format!("`{command}`")), "{}", told(&lost));
    succeeds(at, &command.split(' ').skip(1).collect::<Vec<_>>());
    let (ended, after) = verdict();
    assert!(ended == 0 && after.contains("not revoked (the CA says so)") && !after.contains("no record"), "{after}");
    // nobody knows by which profile its successor is to be made
    std::fs::copy(at.join("demoCA/private/leaf.key"), at.join("client1.key")).unwrap();
    let renewed = run(at, &["renew", "demoCA/newcerts/01.pem", "--key-file", "client1.key", "--force"]);
    let way = "`chancery issue client1.vpn.example --profile PROFILE --force`";
    assert!(code(&renewed) != 0 && told(&renewed).contains(way), "{}", told(&renewed));
    // it stands under the root itself, which does not go without being asked
    for verb in ["retire", "remove"] {
        let asked = run(at, &["ca", verb, "vpn-root"]);
        assert!(
            code(&asked) != 0 && told(&asked).contains("valid       1 certificate\n"),
            "{verb}: {}",
            told(&asked)
        );
        assert!(told(&asked).contains("--yes"), "{verb}: {}", told(&asked));
        if verb == "retire" {
            succeeds(at, &["ca", verb, "vpn-root", "--yes"]);
        }
    }
    succeeds(at, &["revoke", "demoCA/newcerts/01.pem"]);
}

#[test]
fn a_token_is_told_that_what_is_not_found_may_be_hidden_from_it() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let server = Process::start(at, &[], &[]);
    std::fs::write(at.join("root.pem"), server.run(&["ca", "show", "tls-root", "-o", "pem"]).stdout).unwrap();
    let made = server.run(&["token", "create", "--name", "ci", "--allow-name", "shop.example"]);
    assert_eq!(code(&made), 0, "{}", told(&made));
    std::fs::write(at.join("token"), made.stdout).unwrap();
    let issued = server.run(&["issue", "web.lab.example"]);
    assert_eq!(code(&issued), 0, "{}", told(&issued));
    let url = server.ready["https"].as_str().unwrap();
    let hidden = ", or this token may not see it";
    for command in
        [&["renew", "web.lab.example.crt", "--force"][..], &["revoke", "web.lab.example.crt"], &["revoke", "77"]]
    {
        let refused = server.run(&[command, &["--url", url, "--root", "root.pem", "--token-file", "token"]].concat());
        assert_eq!(code(&refused), 4, "{command:?}: {}", told(&refused));
        assert!(told(&refused).contains(hidden), "{command:?}: {}", told(&refused));
    }
    let host = server.run(&["revoke", "77"]);
    assert!(code(&host) == 4 && !told(&host).contains(hidden), "{}", told(&host));
}

#[test]
fn the_layout_of_easyrsa_and_files_that_hold_no_certificate() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let pki = at.join("pki");
    old_ca(&pki);
    // issued certificates stand twice, revoked ones in a folder of their own
    for part in ["issued", "certs_by_serial", "revoked/certs_by_serial", "reqs"] {
        std::fs::create_dir_all(pki.join(part)).unwrap();
    }
    for n in 1..=4 {
        let from = pki.join(format!("newcerts/0{n}.pem"));
        if matches!(n, 2 | 3) {
            std::fs::rename(&from, pki.join(format!("revoked/certs_by_serial/0{n}.crt"))).unwrap();
        } else {
            std::fs::copy(&from, pki.join(format!("issued/client{n}.crt"))).unwrap();
            std::fs::rename(&from, pki.join(format!("certs_by_serial/0{n}.pem"))).unwrap();
        }
    }
    std::fs::write(pki.join("openssl-easyrsa.cnf"), CONFIG).unwrap();
    std::fs::write(pki.join("notes"), [0u8, 1, 2, 255]).unwrap();
    succeeds(at, &["init"]);
    let early = json(at, &["ca", "import-certificates", "pki", "-o", "json"]);
    assert_eq!(
        (early["imported"].as_u64(), early["refused"][0]["rule"].as_str(), early["refused"][0]["count"].as_u64()),
        (Some(0), Some("import.issuer"), Some(5)),
        "{early}"
    );
    succeeds(at, &["ca", "import", "pki/ca.crt", "--key", "pki/private/ca.key", "--domain", "vpn"]);
    let done = json(at, &["ca", "import-certificates", "pki", "-o", "json"]);
    assert_eq!(
        (done["imported"].as_u64(), done["imported_revoked"].as_u64(), done["revoked_without_certificate"].as_u64()),
        (Some(4), Some(2), Some(0)),
        "{done}"
    );
    // a file that somebody names must hold a certificate
    for (name, content, told_of) in [
        ("empty", "", "neither PEM nor DER"),
        ("serials.json", "[\"17:67\"]", "serials only"),
        ("words", "no certificate\n", "neither PEM nor DER"),
    ] {
        std::fs::write(at.join(name), content).unwrap();
        let refused = run(at, &["ca", "import-certificates", name]);
        assert!(code(&refused) != 0 && told(&refused).contains(told_of), "{name}: {}", told(&refused));
    }
    std::fs::create_dir(at.join("db")).unwrap();
    for file in ["MANIFEST", "000001.vlog"] {
        std::fs::write(at.join("db").join(file), "x").unwrap();
    }
    let badger = run(at, &["ca", "import-certificates", "db"]);
    assert!(code(&badger) != 0 && told(&badger).contains("x509_certs"), "{}", told(&badger));
    assert!(code(&run(at, &["ca", "import-certificates", "nowhere"])) != 0);
    // Vault's answer, and the tables of step-ca
    let pem = std::fs::read_to_string(pki.join("issued/client1.crt")).unwrap();
    let pem = pem.get(pem.find("-----BEGIN").unwrap()..).unwrap();
    let vault = serde_json::json!({"data": {"certificate": pem, "revocation_time": 1_700_000_000}});
    std::fs::write(at.join("vault.json"), vault.to_string()).unwrap();
    let known = json(at, &["ca", "import-certificates", "vault.json", "-o", "json"]);
    assert_eq!(known["revoked"].as_u64(), Some(1), "{known}");
    let der = openssl::x509::X509::from_pem(&std::fs::read(pki.join("issued/client4.crt")).unwrap())
        .unwrap()
        .to_der()
        .unwrap();
    std::fs::write(
        at.join("x509_certs.txt"),
        format!("\\x{}\n", der.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    )
    .unwrap();
    std::fs::write(
        at.join("revoked_x509_certs.json"),
        "{\"Serial\":\"4\",\"ReasonCode\":4,\"RevokedAt\":\"2024-01-02T03:04:05Z\"}",
    )
    .unwrap();
    let known = json(at, &["ca", "import-certificates", "x509_certs.txt", "revoked_x509_certs.json", "-o", "json"]);
    assert_eq!((known["known"].as_u64(), known["revoked"].as_u64()), (Some(0), Some(1)), "{known}");
    succeeds(at, &["fsck"]);
}

#[test]
fn a_key_is_blocked_by_the_file_that_holds_it() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    succeeds(at, &["issue", "a.lab.example"]);
    openssl(at, &["pkcs8", "-topk8", "-in", "a.lab.example.key", "-passout", "pass:secret", "-out", "sealed.key"]);
    openssl(at, &["pkey", "-in", "a.lab.example.key", "-pubout", "-out", "public.pem"]);
    openssl(at, &["pkey", "-in", "a.lab.example.key", "-pubout", "-outform", "DER", "-out", "public.der"]);
    std::fs::write(at.join("password"), "secret\n").unwrap();
    let locked = run(at, &["key", "block", "sealed.key"]);
    assert!(code(&locked) != 0 && told(&locked).contains("password"), "{}", told(&locked));
    let told_of = succeeds(at, &["key", "block", "sealed.key", "--password-file", "password", "--comment", "leaked"]);
    assert!(told_of.contains("blocked  ") && told_of.contains("certificates here with this key: 1"), "{told_of}");
    let listed = json(at, &["key", "list", "-o", "json"]);
    let fingerprint = listed["items"][0]["fingerprint"].as_str().unwrap().to_owned();
    assert_eq!(listed["items"][0]["comment"], "leaked");
    for form in ["a.lab.example.key", "public.pem", "public.der", "a.lab.example.crt", fingerprint.as_str()] {
        let again = run(at, &["key", "block", form]);
        assert_eq!(code(&again), 7, "{form}: {}", told(&again));
    }
    let used = run(at, &["key", "unblock", &fingerprint]);
    assert_eq!(code(&used), 7);
    let sentence = format!(
        "1 certificate here has key {fingerprint} and is revoked within seconds of its block, so it stays blocked; make a new key"
    );
    assert!(told(&used).contains(&sentence), "{}", told(&used));
    let free = "00".repeat(32);
    succeeds(at, &["key", "block", &free]);
    let unblocked = succeeds(at, &["key", "unblock", &free]);
    assert!(unblocked.contains(&format!("unblocked  {free}")), "{unblocked}");
    let again = run(at, &["key", "unblock", &free]);
    assert!(code(&again) != 0 && told(&again).contains(&format!("blocked key {free}")), "{}", told(&again));
    let none = run(at, &["key", "unblock", "nothing"]);
    assert!(code(&none) != 0 && told(&none).contains("cannot unblock the key nothing"), "{}", told(&none));
    assert!(code(&run(at, &["key", "block", "nothing"])) != 0);
}
