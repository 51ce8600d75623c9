//! The anchor in a ConfigMap of Kubernetes, against a server that answers GET and PATCH as an API server does: versions, conflicts,
//! refusals, silence. (tests/clients has a real one.)

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use chancery::authority::ROLLED_BACK;
use chancery::authority::checks::{Check, Severity};
use chancery::model::actor::Actor;
use chancery::model::anchor::{Anchor, ChainEnd};
use chancery::model::audit::AuditEvent;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::on_both_servers;
use crate::support::server::TestServer;
use crate::support::wait;

const PATH: &str = "/api/v1/namespaces/ca/configmaps/ca-anchor";
const SETTING: &str = "configmap:ca/ca-anchor";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Works,
    /// Takes the request and never answers.
    Hangs,
    Answers(u16),
    /// Another replica is faster with the next patch.
    Overtaken,
}

/// One ConfigMap and the server that has it.
#[derive(Debug)]
struct ApiServer {
    mood: Mutex<Mood>,
    version: Mutex<u64>,
    text: Mutex<Option<String>>,
    requests: Mutex<Vec<String>>,
    port: u16,
    home: tempfile::TempDir,
}

impl ApiServer {
    async fn start() -> Arc<ApiServer> {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("ca.crt"), made.cert.pem()).unwrap();
        std::fs::write(home.path().join("token"), "the-token\n").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let (mood, version, text, requests) = (Mood::Works.into(), 7.into(), None.into(), Vec::new().into());
        let server = Arc::new(ApiServer { mood, version, text, requests, port, home });
        let (acceptor, shared) = (TlsAcceptor::from(Arc::new(config)), Arc::clone(&server));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(Arc::clone(&shared), acceptor.clone(), stream));
            }
        });
        server
    }

    fn settings(&self) -> [(&'static str, String); 4] {
        [
            ("CHANCERY_ANCHOR", SETTING.to_owned()),
            ("CHANCERY_ANCHOR_CREDENTIALS", self.home.path().display().to_string()),
            ("KUBERNETES_SERVICE_HOST", "127.0.0.1".to_owned()),
            ("KUBERNETES_SERVICE_PORT", self.port.to_string()),
        ]
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn text(&self) -> Option<String> {
        self.text.lock().unwrap().clone()
    }

    fn anchor(&self) -> Anchor {
        serde_json::from_str(&self.text().expect("it was written")).unwrap()
    }

    /// Status and body, as an API server answers.
    fn answer(&self, request: &str) -> (u16, Value) {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        self.requests.lock().unwrap().push(head.to_owned());
        let head = head.to_lowercase();
        if !head.contains("authorization: bearer the-token") {
            return status(401, "Unauthorized");
        }
        if let Mood::Answers(code) = *self.mood.lock().unwrap() {
            return status(code, "refused");
        }
        let (mut version, mut text) = (self.version.lock().unwrap(), self.text.lock().unwrap());
        let object = |version: u64, text: &Option<String>| {
            let data = text.as_ref().map(|text| json!({"anchor.json": text}));
            json!({"kind": "ConfigMap", "metadata": {"name": "ca-anchor", "resourceVersion": version.to_string()}, "data": data})
        };
        if head.starts_with(&format!("get {PATH} ")) {
            return (200, object(*version, &text));
        }
        assert!(head.starts_with(&format!("patch {PATH} ")), "{head}");
        assert!(head.contains("content-type: application/merge-patch+json"), "{head}");
        let mut mood = self.mood.lock().unwrap();
        if *mood == Mood::Overtaken {
            *mood = Mood::Works;
            let mut other: Value = serde_json::from_str(text.as_ref().unwrap()).unwrap();
            other["versions"]["of another replica"] = json!(5);
            other["versions"]["access"] = json!(0);
            *text = Some(other.to_string());
            *version += 1;
        }
        let patch: Value = serde_json::from_str(body).unwrap();
        if patch["metadata"]["resourceVersion"] != json!(version.to_string()) {
            return status(409, "the object has been modified");
        }
        *version += 1;
        *text = Some(patch["data"]["anchor.json"].as_str().unwrap().to_owned());
        (200, object(*version, &text))
    }
}

fn status(code: u16, reason: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "status": "Failure", "message": reason, "code": code}))
}

async fn serve(server: Arc<ApiServer>, acceptor: TlsAcceptor, stream: TcpStream) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut request = Vec::new();
    while !whole(&request) {
        let mut part = [0; 16_384];
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return,
            Ok(size) => request.extend_from_slice(&part[..size]),
        }
    }
    if *server.mood.lock().unwrap() == Mood::Hangs {
        return std::future::pending().await;
    }
    let (code, body) = server.answer(&String::from_utf8(request).unwrap());
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all((head + &body).as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0_usize)
}

async fn restart(server: &mut TestServer, api: &ApiServer) {
    let settings = api.settings();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    server.restart_with(&settings).await;
}

async fn happen(server: &TestServer) {
    let event = AuditEvent::done("test.made", "", json!({}));
    server.app().store.record(&Actor::system("test"), event).await.unwrap();
}

async fn check(server: &TestServer) -> Check {
    server.app().authority.checks().await.into_iter().find(|check| check.name == "history").unwrap()
}

/// Looks again until the check says this.
async fn told(server: &TestServer, words: &str) -> Check {
    wait::until(words, async || {
        server.app().remember().await.unwrap();
        let check = check(server).await;
        check.detail.contains(words).then_some(check)
    })
    .await
}

/// What is left on the disk of a pod: nothing.
fn forget_disk(data: &Path) {
    for name in ["anchor.json", "anchor.crls"] {
        let path: PathBuf = data.join(name);
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_dir_all(&path);
    }
}

on_both_servers! {
    async fn a_restored_database_is_noticed_by_the_config_map_alone(server) {
        let api = ApiServer::start().await;
        restart(server, &api).await;
        let first = api.anchor();
        let backup = server.backup().await;
        happen(server).await;
        server.app().remember().await.unwrap();
        assert!(api.anchor().figures.events != first.figures.events, "it follows");
        server.stop().await;
        forget_disk(&server.data());
        server.put_back(&backup).await;
        server.start_again().await;
        assert!(server.app().store.rollback().is_some());
        assert!(check(server).await.detail.starts_with(ROLLED_BACK));
        assert!(!server.data().join("anchor.json").exists());
        backup.remove().await;
    }

    async fn an_api_server_that_was_away_at_the_start_is_compared_when_it_comes_back(server) {
        let api = ApiServer::start().await;
        restart(server, &api).await;
        let backup = server.backup().await;
        happen(server).await;
        server.app().remember().await.unwrap();
        server.stop().await;
        let remembered = api.anchor();
        forget_disk(&server.data());
        server.put_back(&backup).await;
        api.set(Mood::Hangs);
        server.start_again().await;
        let found = check(server).await;
        assert!(found.severity == Severity::Critical || found.detail.contains("cannot be read"), "{}", found.detail);
        assert_eq!(server.http("/root.pem").await.status, 200);
        api.set(Mood::Works);
        told(server, ROLLED_BACK).await;
        let kept = api.anchor();
        assert!(remembered.figures.events.iter().all(|end| kept.figures.events.contains(end)), "nothing is lowered");
        backup.remove().await;
    }

    async fn of_two_replicas_neither_lowers_what_the_other_wrote(server) {
        let api = ApiServer::start().await;
        restart(server, &api).await;
        let access = api.anchor().figures.versions["access"];
        api.set(Mood::Overtaken);
        happen(server).await;
        // what background work adds later is remembered a second later
        let known = server.app().store.own_ends();
        server.app().remember().await.unwrap();
        let merged = api.anchor().figures;
        assert_eq!(merged.versions["of another replica"], 5);
        assert_eq!(merged.versions["access"], access);
        let is_there = |own: &ChainEnd| {
            merged.events.iter().any(|end| (end.writer, end.lane) == (own.writer, own.lane) && end.seq >= own.seq)
        };
        assert!(known.iter().all(is_there), "{merged:?}");
        assert!(server.app().store.rollback().is_none());
    }

    async fn a_refusal_is_told_and_holds_up_nothing(server) {
        let api = ApiServer::start().await;
        restart(server, &api).await;
        for (mood, words) in [
            (Mood::Answers(403), "the service account may not get and patch it"),
            (Mood::Answers(404), "it does not exist; make it with `kubectl -n ca create configmap ca-anchor`"),
            (Mood::Answers(401), "does not take the token"),
            (Mood::Answers(429), "the API server is busy"),
            (Mood::Answers(500), "the API server"),
            (Mood::Hangs, "no answer within"),
        ] {
            api.set(mood);
            happen(server).await;
            let found = told(server, words).await;
            assert_eq!(found.severity, Severity::Critical, "{}", found.detail);
            assert!(found.detail.contains(&format!("the anchor {SETTING} cannot be written")), "{}", found.detail);
            happen(server).await;
            assert!(server.app().authority.publish_due().await.is_ok());
            api.set(Mood::Works);
            wait::until("it is written", async || {
                server.app().remember().await.unwrap();
                (check(server).await.severity != Severity::Critical).then_some(())
            })
            .await;
        }
        let text = api.text().unwrap();
        let of_another = text.replace(&api.anchor().installation, &"00".repeat(16));
        *api.text.lock().unwrap() = Some(of_another);
        *api.version.lock().unwrap() += 1;
        happen(server).await;
        told(server, "it is the anchor of another installation").await;
        *api.text.lock().unwrap() = Some(text);
    }

    async fn a_process_outside_of_a_cluster_says_so(server) {
        server.restart_with(&[("CHANCERY_ANCHOR", SETTING)]).await;
        let found = told(server, "cannot be written").await;
        assert!(found.detail.contains("so this process does not run in a pod"), "{}", found.detail);
    }
}
