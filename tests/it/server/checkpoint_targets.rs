//! Audit checkpoints go outside as they are made: to a file, to syslog and to a webhook; and what lies outside convicts a
//! history that was written anew.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::process::{Process, code, run, told};
use crate::support::wait;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_reaches_file_syslog_and_webhook_and_convicts_a_database_without_it() {
    let home = tempfile::tempdir().unwrap();
    let (notes, log) = (home.path().join("notes"), home.path().join("log.sock"));
    let syslog = UnixDatagram::bind(&log).unwrap();
    syslog.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let roots = home.path().join("roots.pem");
    std::fs::write(&roots, made.cert.pem()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hook = format!("https://localhost:{}/notes?secret=1", listener.local_addr().unwrap().port());
    let posted = tokio::spawn(receive(listener, made));
    let targets = format!("file:{},syslog:{},{hook}", notes.display(), log.display());
    let settings = [("CHANCERY_CHECKPOINTS", targets.as_str()), ("SSL_CERT_FILE", roots.to_str().unwrap())];
    let server = tokio::task::block_in_place(|| Process::start(home.path(), &[], &settings));

    let request = posted.await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /notes?secret=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: text/plain; charset=utf-8"), "{head}");
    // each target has its own task
    let written = async || std::fs::read_to_string(&notes).ok().filter(|text| text.trim_end() == body.trim_end());
    wait::until("the file has the same note", written).await;
    let mut line = [0; 2048];
    let size = syslog.recv(&mut line).unwrap();
    let line = std::str::from_utf8(&line[..size]).unwrap();
    assert!(line.starts_with("<109>1 - - chancery - audit-checkpoint - \"chancery-audit/"), "{line}");

    // whoever has the key reads it with any program of signed notes; ours compares
    let key = server.run(&["audit", "key", "-o", "json"]);
    let key: serde_json::Value = serde_json::from_slice(&key.stdout).unwrap();
    let (fingerprint, file) = (key["fingerprint"].as_str().unwrap().to_owned(), notes.display().to_string());
    let good = server.run(&["audit", "verify", "--key", &fingerprint, "--checkpoint-file", &file]);
    assert_eq!(code(&good), 0, "{}", told(&good));
    let said = String::from_utf8_lossy(&good.stdout);
    assert!(said.contains("signed by the key that you named up to checkpoint number 1 of "), "{said}");
    let plain = server.run(&["audit", "verify"]);
    let said = String::from_utf8_lossy(&plain.stdout);
    assert!(said.contains("consistent, not authenticated"), "{said}");
    drop(server);

    let exported = run(home.path(), &["audit", "export", "--out", "audit.jsonl"]);
    assert_eq!(code(&exported), 0, "{}", told(&exported));
    let again = run(home.path(), &["audit", "export", "--out", "audit.jsonl"]);
    assert_ne!(code(&again), 0, "an export is not overwritten");
    // on another machine, without the database
    let away = tempfile::tempdir().unwrap();
    let export = home.path().join("audit.jsonl").display().to_string();
    let offline = run(away.path(), &["audit", "verify", &export, "--key", &fingerprint, "--checkpoint-file", &file]);
    assert_eq!(code(&offline), 0, "{}", told(&offline));
    let wrong = run(away.path(), &["audit", "verify", &export, "--key", &"00".repeat(32)]);
    assert_eq!(code(&wrong), 11, "{}", told(&wrong));

    // a database that never had the published checkpoint
    let other = run(away.path(), &["init"]);
    assert_eq!(code(&other), 0, "{}", told(&other));
    assert!(told(&other).contains("Audit key (SHA-256)"), "{}", told(&other));
    let convicted = run(away.path(), &["audit", "verify", "--checkpoint-file", &file]);
    assert_eq!(code(&convicted), 11, "{}", told(&convicted));
    assert!(told(&convicted).contains("checkpoint number 1 was published"), "{}", told(&convicted));
}

/// A path that would block whoever opens it, and a webhook that never answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_hangs_keeps_nobody_waiting() {
    let home = tempfile::tempdir().unwrap();
    let (pipe, notes) = (home.path().join("pipe"), home.path().join("notes"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = format!("https://127.0.0.1:{}/", silent.local_addr().unwrap().port());
    let targets = format!("file:{},{hook},file:{}", pipe.display(), notes.display());
    let settings = [("CHANCERY_CHECKPOINTS", targets.as_str())];
    let mut server = tokio::task::block_in_place(|| Process::start(home.path(), &[], &settings));
    wait::until("the file has the note", async || std::fs::read_to_string(&notes).ok().filter(|t| !t.is_empty()))
        .await;
    let operator = server.operator();
    let checks = wait::until("doctor names the pipe", async || {
        let url = server.ready["https"].as_str().unwrap();
        let asked = std::process::Command::new("curl")
            .args(["-sk", "-H", &format!("Authorization: {operator}"), &format!("{url}/api/v1/system/checks")])
            .output()
            .unwrap();
        let text = String::from_utf8(asked.stdout).unwrap();
        Some(text).filter(|text| text.contains("audit checkpoints do not reach file:"))
    })
    .await;
    assert!(checks.contains("it is no regular file"), "{checks}");
    server.signal(libc::SIGTERM);
    assert_eq!(tokio::task::block_in_place(|| server.ended()), Some(0));
    assert!(server.stderr().contains("no regular file"), "{}", server.stderr());
}

/// The first request that comes, answered with 204.
async fn receive(listener: TcpListener, made: rcgen::CertifiedKey<rcgen::KeyPair>) -> String {
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap();
    let mut request = Vec::new();
    while !whole(&request) {
        let mut part = [0; 4096];
        let size = stream.read(&mut part).await.unwrap();
        assert!(size > 0, "{}", String::from_utf8_lossy(&request));
        request.extend_from_slice(&part[..size]);
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
    String::from_utf8(request).unwrap()
}

fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}
