//! An installation of an earlier version is opened by this one: it migrates, starts, and what was true stays true.
//! `tests/data/installations/README.md` says how each was made.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use chancery::authority::checks::Severity;
use chancery::clock::{Clock, Timestamp, days, minutes};
use chancery::store::engine::{Db, q};
use serde_json::{Value, json};

use crate::support::server::TestServer;
use crate::support::stores::plain;
use crate::support::wait;
use crate::support::wire::Reply;

pub const SCHEMA_11: &str = "schema-11";

pub fn stored(schema: &str, engine: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/installations").join(schema).join(engine)
}

fn facts(stored: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(stored.join("facts.json")).unwrap()).unwrap()
}

fn made_at(stored: &Path) -> Timestamp {
    Timestamp::parse_rfc3339(facts(stored)["made_at"].as_str().unwrap()).unwrap()
}

/// A month after it was made, whatever the date of the machine is: its first CRLs are old, and its tokens still good.
pub fn a_month_later(stored: &Path) -> Timestamp {
    made_at(stored) + days(30)
}

pub struct Upgraded {
    pub server: TestServer,
    facts: Value,
}

impl Upgraded {
    pub async fn start(schema: &str, engine: &str) -> Upgraded {
        let stored = stored(schema, engine);
        let server = TestServer::stored(&stored, engine == "postgres", a_month_later(&stored)).await;
        Upgraded { server, facts: facts(&stored) }
    }

    fn fact<'a>(&'a self, group: &str, name: &str) -> &'a str {
        self.facts[group][name].as_str().unwrap()
    }

    /// Ten minutes after it was made: its CRLs are fresh, and its certificates valid.
    pub async fn start_soon_after(schema: &str, engine: &str) -> Upgraded {
        let stored = stored(schema, engine);
        let server = TestServer::stored(&stored, engine == "postgres", made_at(&stored) + minutes(10)).await;
        Upgraded { server, facts: facts(&stored) }
    }

    pub async fn ask(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Reply {
        let bearer = format!("Bearer {}", self.fact("tokens", token));
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.server.https(method, &format!("/api/v1/{path}"), &headers, body.as_bytes()).await
    }

    pub async fn issue(&self, token: &str, profile: &str, name: &str) -> Reply {
        self.ask(token, "POST", "certificates", Some(json!({"profile": profile, "names": [name]}))).await
    }

    pub async fn certificate(&self, serial: &str) -> Value {
        let path = format!("certificates?serial={}", self.fact("serials", serial));
        let found = self.ask("admin", "GET", &path, None).await.json();
        found["items"][0].clone()
    }

    async fn issuer(&self, slug: &str) -> Value {
        self.ask("admin", "GET", &format!("issuers/{slug}"), None).await.json()
    }

    async fn all_that_was_true(&self) {
        self.who_may_what().await;
        self.certificates().await;
        self.hierarchy().await;
        self.health().await;
    }

    /// Tokens and users keep what they could do, and revoked ones stay revoked.
    async fn who_may_what(&self) {
        assert_eq!(self.issue("admin", "tls-server", "new.lab.example").await.status, 201);
        assert_eq!(self.issue("bounded", "tls-server", "bounded.lab.example").await.status, 201);
        assert_eq!(self.issue("bounded", "tls-server", "bounded.other.example").await.status, 403);
        assert_eq!(self.issue("revoked", "tls-server", "revoked.lab.example").await.status, 401);
    }

    /// Revoked stays revoked: in the row, and on the CRL while the certificate has not expired.
    async fn certificates(&self) {
        for (name, status) in [
            ("web", "valid"),
            ("key_compromise", "revoked"),
            ("superseded", "revoked"),
            ("etcd_revoked", "revoked"),
            ("etcd_good", "valid"),
        ] {
            let certificate = self.certificate(name).await;
            let end = Timestamp::parse_rfc3339(certificate["not_after"].as_str().unwrap()).unwrap();
            let alive = self.server.clock.now() < end;
            let status = if status == "valid" && !alive { "expired" } else { status };
            assert_eq!(certificate["status"], status, "{name}: {certificate}");
            if status == "revoked" && alive {
                let issuer = certificate["issuer"].as_str().unwrap();
                let serial = openssl::bn::BigNum::from_hex_str(self.fact("serials", name)).unwrap();
                assert!(self.crl(issuer).await.contains(&serial), "{name} on the CRL of {issuer}");
            }
        }
    }

    async fn crl(&self, issuer: &str) -> Vec<openssl::bn::BigNum> {
        let reply = wait::until("the CRL is served", async || {
            let reply = self.server.http(&format!("/crl/{issuer}.crl")).await;
            (reply.status == 200).then_some(reply)
        })
        .await;
        let crl = openssl::x509::X509Crl::from_der(&reply.body).unwrap();
        let revoked = crl.get_revoked().into_iter().flatten();
        revoked.map(|one| one.serial_number().to_bn().unwrap()).collect()
    }

    /// The root is the one that clients have; retired issuers sign nothing; constraints hold.
    async fn hierarchy(&self) {
        let root = self.server.root_pem().await;
        let der = openssl::x509::X509::from_pem(&root).unwrap().to_der().unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, self.facts["root_sha256"]);
        let client = json!({"profile": "etcd-client", "common_name": "a-client", "names": []});
        let issued = self.ask("admin", "POST", "certificates", Some(client)).await.json();
        assert_eq!(issued["issuer"], "etcd-2", "{issued}");
        assert_eq!(self.issue("admin", "dev-server", "www.dev.example").await.status, 201);
        assert_eq!(self.issue("admin", "dev-server", "www.evil.example").await.status, 403);
        for slug in ["tls-1", "etcd-1", "etcd-2", "corp-1", "dev-1", "code-signing-1", "timestamping-1", "mtls-1"] {
            assert_eq!(self.issuer(slug).await["slug"], slug);
        }
    }

    /// It may issue and answer, and its own checker finds nothing.
    async fn health(&self) {
        wait::until("/readyz answers 200", async || (self.server.ops("/readyz").await.status == 200).then_some(()))
            .await;
        assert!(self.server.app().store.row_macs().is_required(), "what stood in the rows is sealed");
        is_sound(&self.server).await;
    }
}

/// Its own checker finds nothing, once the CRLs that ran out before the start are published anew.
async fn is_sound(server: &TestServer) {
    let findings = async || server.app().authority.fsck().await.unwrap().findings;
    wait::until("no CRL has run out", async || {
        (!findings().await.iter().any(|finding| finding.contains("it ran out at "))).then_some(())
    })
    .await;
    assert_eq!(findings().await, Vec::<String>::new());
}

/// Copies a stored installation, so that a test can change it before it is opened.
fn copied(stored: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(stored).unwrap() {
        let file = entry.unwrap();
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    folder
}

/// What stands in a database file and its log, as far as there is one.
fn octets_of(data: &Path) -> Vec<u8> {
    let read = |name: &str| std::fs::read(data.join(name)).unwrap_or_default();
    [read("chancery.db"), read("chancery.db-wal")].concat()
}

/// Which of these stand in the octets. One pass: the file is large.
fn found(octets: &[u8], ends: &[Vec<u8>]) -> HashSet<Vec<u8>> {
    let by_start: HashMap<&[u8], &Vec<u8>> = ends.iter().map(|end| (&end[..8], end)).collect();
    let hits = octets.windows(40).filter_map(|window| Some((window, by_start.get(&window[..8])?)));
    hits.filter(|(window, end)| *window == end.as_slice()).map(|(_, end)| (*end).clone()).collect()
}

/// The last octets of each CRL that this file holds in clear before its time: of its signature. The time of the first
/// ones has come since the file was made.
async fn ends_of_future_crls(db: &Db, now: Timestamp) -> Vec<Vec<u8>> {
    let query = q(plain("SELECT der FROM crls WHERE this_update > created_at AND this_update > $1"));
    let rows = query.bind(now).fetch_all(db).await.unwrap();
    rows.iter().map(|row| row.get::<Vec<u8>>("der").unwrap()).map(|der| der[der.len() - 40..].to_vec()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crls_of_later_are_nowhere_in_an_upgraded_file() {
    let folder = copied(&stored(SCHEMA_11, "sqlite"));
    let db = Db::open_sqlite(&folder.path().join("chancery.db")).await.unwrap();
    let now = a_month_later(folder.path());
    let all = ends_of_future_crls(&db, now).await;
    // what that version did when it signed a root's CRLs anew
    q(plain("PRAGMA secure_delete = OFF")).execute(&db).await.unwrap();
    q(plain(
        "DELETE FROM crls WHERE this_update > created_at AND issuer_id IN \
         (SELECT id FROM issuers WHERE role = 'root' AND slug <> 'tls-root')",
    ))
    .execute(&db)
    .await
    .unwrap();
    let kept = ends_of_future_crls(&db, now).await;
    db.close().await;
    let before = found(&octets_of(folder.path()), &all);
    let deleted = before.iter().filter(|end| !kept.contains(end)).count();
    assert!(deleted > 20 && kept.len() > 20, "{deleted} deleted ones can be read, {} are there", kept.len());
    let server = TestServer::stored(folder.path(), false, now).await;
    let database = async || {
        let checks = server.app().authority.checks().await;
        checks.into_iter().find(|check| check.name == "database").unwrap()
    };
    wait::until("the file is written anew", async || (database().await.severity == Severity::Ok).then_some(())).await;
    assert_eq!(found(&octets_of(&server.data()), &all).len(), 0, "of {}", all.len());
    is_sound(&server).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_file_is_not_written_anew() {
    let server = TestServer::sqlite().await;
    assert!(!server.app().store.db.may_hold_deleted().await.unwrap());
    server.end().await;
}

async fn upgrades(engine: &str) {
    let mut upgraded = Upgraded::start(SCHEMA_11, engine).await;
    upgraded.all_that_was_true().await;
    upgraded.server.restart().await;
    upgraded.health().await;
    upgraded.server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schema_11_on_sqlite() {
    upgrades("sqlite").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schema_11_on_postgres() {
    upgrades("postgres").await;
}
