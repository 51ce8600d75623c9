//! One call or more of every operation against a real router over a real database: the examples of the OpenAPI
//! document. They are compared with the committed ones after what differs from run to run is made equal.

use std::time::Duration;

use axum::http::Request;
use chancery::model::actor::{Actor, Role};
use chancery::model::id::AccountId;
use chancery::model::limits::Limit;
use chancery::store::challenges::Verdict;
use chancery::store::limits;
use chancery::store::{accounts, attempts, authorizations, challenges, orders};
use chancery::validation::{Step, StepKind};
use serde_json::{Value, json};

use super::document::operations;
use super::room::{CERTIFICATES, Room, csr};
use crate::support::acme_rows::{account, refused, stored_account, stored_order};
use crate::support::stores::At;

/// Every operation is called here; the answer of a call may be used by the next.
async fn calls(book: &mut Book) {
    let made = book
        .post(
            "issueCertificate",
            CERTIFICATES,
            json!({"names": ["db.lab.example", "10.0.0.7"], "profile": "tls-server", "ttl": "90d"}),
        )
        .await;
    let id = made["id"].as_str().unwrap().to_owned();
    book.post("issueCertificate", CERTIFICATES, json!({"csr": csr(&["www.lab.example"]), "profile": "tls-server"}))
        .await;
    let dry = format!("{CERTIFICATES}?dry_run=true");
    book.post("issueCertificate", &dry, json!({"names": ["db.lab.example"], "profile": "tls-server"})).await;
    book.get("listCertificates", &format!("{CERTIFICATES}?q=db&status=valid&limit=1")).await;
    book.get("getCertificate", &format!("{CERTIFICATES}/{id}")).await;
    book.get("getCertificate", &format!("{CERTIFICATES}/{id}.pem")).await;
    let windows = "/api/v1/renewal-windows";
    let asked = json!({"issuer": "tls-1", "name": "*.lab.example", "reason": "tls-1 is retired in December",
        "explanation_url": "https://wiki.lab.example/tls-1"});
    let rule = book.post("createRenewalWindow", windows, asked).await["id"].as_str().unwrap().to_owned();
    book.get("listRenewalWindows", windows).await;
    book.get("getRenewalWindow", &format!("{windows}/{rule}")).await;
    book.get("getRenewals", &format!("{CERTIFICATES}/{id}/renewals")).await;
    book.send("deleteRenewalWindow", "DELETE", &format!("{windows}/{rule}"), None, json!({})).await;
    let revocation = format!("{CERTIFICATES}/{id}/revocation");
    book.room.post(&book.admin, &revocation, &json!({"reason": "certificateHold"})).await;
    book.send("liftHold", "DELETE", &revocation, None, json!({})).await;
    let own = book.get("getCertificate", &format!("{CERTIFICATES}/{id}")).await;
    let presented = json!({"certificates": [{"certificate": own["certificate"], "revocation": {"revoked_at": "2026-01-02T03:04:05Z", "reason": "superseded"}}], "dry_run": true});
    book.post("importCertificates", "/api/v1/certificates/imports", presented).await;
    book.post("revokeCertificate", &format!("{revocation}?dry_run=true"), json!({"reason": "superseded"})).await;
    book.post("revokeCertificate", &revocation, json!({"reason": "superseded"})).await;
    book.get("getRevocation", &revocation).await;
    book.get("listCertificateEvents", &format!("{CERTIFICATES}/{id}/events")).await;
    book.get("listIssuers", "/api/v1/issuers").await;
    book.get("getIssuer", "/api/v1/issuers/tls-1").await;
    book.send(
        "changeIssuer",
        "PATCH",
        "/api/v1/issuers/tls-1",
        None,
        json!({"ocsp_signer": "delegate", "crl_lifetime": "48h", "ocsp_lifetime": null}),
    )
    .await;
    book.get("listProfiles", "/api/v1/profiles").await;
    book.get("getProfile", "/api/v1/profiles/tls-server").await;
    let rules = json!({"name": "lab-server", "description": "Servers of the lab", "domain": "tls",
        "subject": {"common_name": "first-dns"},
        "names": {"kinds": ["dns"], "min": 1, "max": 20, "allow": ["lab.example"]},
        "keys": ["P-256", "P-384"], "lifetime": {"default": "30d", "max": "90d", "backdate": "60s"},
        "key_usage": ["digitalSignature"], "extended_key_usage": ["serverAuth"]});
    book.post("createProfile", "/api/v1/profiles", rules.clone()).await;
    book.send("putProfile", "PUT", "/api/v1/profiles/lab-server", Some("\"1\""), rules).await;
    let patch = json!({"lifetime": {"default": "10d"}});
    book.send("patchProfile", "PATCH", "/api/v1/profiles/lab-server", Some("\"1\""), patch).await;
    book.get("listProfileRevisions", "/api/v1/profiles/lab-server/revisions").await;
    book.get("listDomains", "/api/v1/domains").await;
    book.get("getDomain", "/api/v1/domains/tls").await;
    book.post("createDomain", "/api/v1/domains", json!({"domain": "etcd"})).await;
    book.post("createIssuer", "/api/v1/issuers", json!({"domain": "etcd", "permit": ["lab.example"], "years": 2}))
        .await;
    book.get("getIssuerDependents", "/api/v1/issuers/etcd-1/dependents").await;
    let state = json!({"state": "active", "default": true, "confirm": false});
    book.send("changeIssuerState", "PUT", "/api/v1/issuers/etcd-2/state", None, state).await;
    let token = json!({"name": "ci", "allow_names": ["lab.example", "10.0.0.0/8"], "profiles": ["tls-server"], "expires": "30d"});
    let made = book.post("createToken", "/api/v1/tokens", token).await;
    let token = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    book.get("listTokens", "/api/v1/tokens?limit=1").await;
    book.get("getToken", &token).await;
    book.post("revokeToken", &format!("{token}/revocation"), json!({})).await;
    let grant =
        json!({"name": "team-a", "allow_names": ["a.lab.example"], "profiles": ["tls-server"], "max_count": 100});
    let grant = book.post("createGrant", "/api/v1/grants", grant).await["id"].as_str().unwrap().to_owned();
    let key = json!({"name": "cluster-a", "grant": grant, "max_accounts": 3});
    let key = book.post("createEabKey", "/api/v1/acme/eab-keys", key).await;
    let key = format!("/api/v1/acme/eab-keys/{}", key["id"].as_str().unwrap());
    book.get("listEabKeys", "/api/v1/acme/eab-keys").await;
    book.get("getEabKey", &key).await;
    book.post("revokeEabKey", &format!("{key}/revocation"), json!({"accounts": false})).await;
    let account = stored_account(book.room.authority.store()).await;
    let account = format!("/api/v1/acme/accounts/{}/grant", account.id);
    book.put("putAccountGrant", &account, json!({"grant": grant})).await;
    let grant = format!("/api/v1/grants/{grant}");
    book.get("listGrants", "/api/v1/grants?limit=1").await;
    book.get("getGrant", &grant).await;
    book.post("revokeGrant", &format!("{grant}/revocation"), json!({})).await;
    let directories = "/api/v1/acme/directories";
    let asked = json!({"slug": "cluster-a", "external_account_required": true, "challenges": ["dns-01"]});
    let mut rules = book.post("createDirectory", directories, asked).await;
    rules.as_object_mut().unwrap().remove("slug");
    rules["resolvers"] = json!(["10.0.0.53:53"]);
    book.put("putDirectory", &format!("{directories}/cluster-a"), rules).await;
    book.get("listDirectories", directories).await;
    book.get("getDirectory", &format!("{directories}/default")).await;
    let account = format!("/api/v1/acme/accounts/{}", book.account);
    let own = json!({"new_orders": "20000/3h", "open_orders": "none"});
    book.send("putAccountLimits", "PUT", &format!("{account}/limits"), None, own).await;
    book.get("getAccountLimits", &format!("{account}/limits")).await;
    book.post("resumeAccount", &format!("{account}/resume"), json!({"name": "www.lab.example"})).await;
    acme_calls(book).await;
    let leaked = json!({"fingerprint": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "comment": "found in a public repository"});
    let blocked = "/api/v1/keys/blocked";
    let made = book.post("blockKey", blocked, leaked).await;
    book.get("listBlockedKeys", blocked).await;
    let one = format!("{blocked}/{}", made["fingerprint"].as_str().unwrap());
    book.send("unblockKey", "DELETE", &one, None, json!({})).await;
    book.get("listAuditEvents", "/api/v1/audit-events?limit=2").await;
    book.get("getSystemChecks", "/api/v1/system/checks").await;
}

/// What clients did over ACME, as rows.
async fn acme_calls(book: &mut Book) {
    let store = book.room.authority.store().clone();
    let mut account = account(&store, "default");
    account.key.thumbprint = [0x5a; 32];
    account.key.jwk = r#"{"crv":"P-256","kty":"EC","x":"a","y":"b"}"#.into();
    assert!(accounts::insert(&store, &account).await.unwrap());
    let (order, proofs, tries) = stored_order(&store, &account, &["web.lab.example"]).await;
    let refused = refused(&store, &account);
    let mut tx = store.begin(&Actor::system("test")).await.unwrap();
    attempts::insert(&mut tx, &refused).await.unwrap();
    authorizations::lock(&mut tx, proofs[0].id).await.unwrap();
    challenges::to_processing(&mut tx, &[tries[0].id]).await.unwrap();
    let told = "192.0.2.7 port 80 (web.lab.example) refused the connection from the CA server; open the port to it";
    let problem = json!({"type": "urn:ietf:params:acme:error:connection", "detail": told, "status": 400});
    let step = |what, detail: &str| Step { at: store.now(), what, detail: detail.into() };
    let steps = [
        step(StepKind::Resolve, "web.lab.example is 192.0.2.7 (DNS 192.0.2.53)"),
        step(StepKind::Dial, "192.0.2.7 port 80: refused the connection"),
        step(StepKind::Result, told),
    ];
    let verdict = Verdict {
        challenge: tries[0].id,
        error: Some(problem.clone()),
        timeline: serde_json::to_string(&steps).unwrap(),
    };
    challenges::settle(&mut tx, [&verdict].into_iter()).await.unwrap();
    tx.commit().await.unwrap();
    orders::fail(&store, proofs[0].id, &problem).await.unwrap();
    let orders = "/api/v1/acme/orders";
    book.get("listAcmeOrders", &format!("{orders}?name=web.lab.example&limit=1")).await;
    book.get("getAcmeOrder", &format!("{orders}/{}", order.id)).await;
    book.get("getAcmeOrderTimeline", &format!("{orders}/{}/timeline", order.id)).await;
    book.get("listAcmeAttempts", "/api/v1/acme/attempts?name=localhost").await;
    let ask = json!({"name": "169.254.169.254", "type": "http-01"});
    book.post("testAcmeChallenge", "/api/v1/acme/challenge-tests", ask).await;
    let accounts = "/api/v1/acme/accounts";
    book.get("listAcmeAccounts", &format!("{accounts}?q=example.org")).await;
    book.get("getAcmeAccount", &format!("{accounts}/{}", account.id)).await;
    let reason = json!({"reason": "the host was taken out of service"});
    book.post("revokeAcmeAccount", &format!("{accounts}/{}/revocation", account.id), reason).await;
}

/// Puts the examples into `document` and names the operations that have none.
pub async fn execute(document: &mut Value) -> Vec<String> {
    let at = At::sqlite().await;
    let room = Room::over(&at).await;
    room.authority.publish_due().await.unwrap();
    let admin = room.token(Role::Admin, None, None).await;
    let account = paused_account(&at).await;
    let mut book = Book { room, admin, account, document: document.clone(), calls: Vec::new() };
    calls(&mut book).await;
    let mut missing = Vec::new();
    for (method, path, operation) in operations(&book.document) {
        let id = operation["operationId"].as_str().unwrap();
        let calls: Vec<&Call> = book.calls.iter().filter(|call| call.operation == id).collect();
        if calls.is_empty() {
            missing.push(format!("{id}: {method} {path}"));
        }
        let into = &mut document["paths"][&path][method.to_lowercase()];
        calls.iter().enumerate().for_each(|(n, call)| call.tell(into, &format!("call{}", n + 1)));
    }
    at.end().await;
    missing
}

/// An account that cannot order www.lab.example.
async fn paused_account(at: &At) -> AccountId {
    let account = stored_account(&at.store).await;
    let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
    for _ in 0..2 {
        limits::fail(&mut tx, account.id, "www.lab.example", Limit(None), "1/1s".parse().unwrap()).await.unwrap();
        at.clock.advance(Duration::from_secs(1));
    }
    tx.commit().await.unwrap();
    account.id
}

/// Committed examples stay where a run says the same but for what is random. Events of one instant have no order.
pub fn keep(made: &mut Value, committed: &Value) {
    if normal(made) == normal(committed) {
        made.clone_from(committed);
        return;
    }
    match (made, committed) {
        (Value::Object(made), Value::Object(old)) => {
            made.iter_mut().for_each(|(key, value)| keep(value, old.get(key).unwrap_or(&Value::Null)));
        }
        (Value::Array(made), Value::Array(old)) if made.len() == old.len() => {
            made.iter_mut().zip(old).for_each(|(made, old)| keep(made, old));
        }
        _ => {}
    }
}

fn normal(value: &Value) -> Value {
    match value {
        Value::String(text) => plain(text).into(),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(normal).collect();
            if items.iter().any(|item| item["hash"].is_string()) {
                items.sort_by_key(Value::to_string);
            }
            items.into()
        }
        Value::Object(map) => {
            // nothing in a secret is the same in two runs, nor in a key's identifier
            let chance = |key: &str| matches!(key, "hmac_key" | "renewal_id");
            let told = |key: &str, value: &Value| if chance(key) { Value::Null } else { normal(value) };
            map.iter().map(|(key, value)| (key.clone(), told(key, value))).collect()
        }
        other => other.clone(),
    }
}

/// Without what chance puts into it: ids, long hexadecimal numbers, PEM, and the four digits in the name of a root.
fn plain(text: &str) -> String {
    if text.contains("-----BEGIN ") {
        return text.lines().filter(|line| line.starts_with("-----")).collect();
    }
    let mut told = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let (body, end) = match word.char_indices().next_back() {
            Some((at, last)) if !last.is_ascii_alphanumeric() => word.split_at(at),
            _ => (word, ""),
        };
        let hex = |from: usize| body.len() >= from && body.bytes().all(|b| b.is_ascii_hexdigit());
        let ulid = body.len() == 26 && body.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
        let digits = body.len() == 4 && hex(4) && told.ends_with("Root ");
        told.push_str(if ulid || hex(16) || digits { "…" } else { body });
        told.push_str(end);
    }
    told
}

struct Book {
    room: Room,
    admin: String,
    account: AccountId,
    document: Value,
    calls: Vec<Call>,
}

struct Call {
    operation: String,
    line: String,
    request: Option<Value>,
    status: u16,
    media: String,
    answer: Value,
}

impl Book {
    async fn get(&mut self, operation: &str, path: &str) -> Value {
        self.room.clock.advance(Duration::from_secs(1));
        let answer = self.room.get(&self.admin, path).await;
        self.note(operation, "GET", path, None, &answer)
    }

    async fn put(&mut self, operation: &str, path: &str, body: Value) -> Value {
        self.send(operation, "PUT", path, None, body).await
    }

    async fn send(&mut self, operation: &str, method: &str, path: &str, tag: Option<&str>, body: Value) -> Value {
        self.room.clock.advance(Duration::from_secs(1));
        let mut head = Request::builder().method(method).uri(path);
        head = head.header("authorization", format!("Bearer {}", self.admin));
        if let Some(tag) = tag {
            head = head.header("if-match", tag);
        }
        let request = head.header("content-type", "application/json").body(body.to_string().into()).unwrap();
        let answer = self.room.send(request).await;
        self.note(operation, method, path, Some(body), &answer)
    }

    async fn post(&mut self, operation: &str, path: &str, body: Value) -> Value {
        self.room.clock.advance(Duration::from_secs(1));
        let answer = self.room.post(&self.admin, path, &body).await;
        self.note(operation, "POST", path, Some(body), &answer)
    }

    fn note(
        &mut self,
        operation: &str,
        method: &str,
        path: &str,
        request: Option<Value>,
        answer: &super::room::Answer,
    ) -> Value {
        let (status, media) = (answer.status.as_u16(), answer.headers["content-type"].to_str().unwrap().to_owned());
        let value = match media.as_str() {
            "application/json" => answer.json(),
            _ => String::from_utf8(answer.bytes.clone()).unwrap().into(),
        };
        assert!((200..300).contains(&status), "{method} {path}: {status} {value}");
        let known = operations(&self.document).into_iter().find(|(_, _, o)| o["operationId"] == operation);
        let (verb, template, _) = known.unwrap_or_else(|| panic!("no operation is called {operation}"));
        assert!(verb == method && fits(path, &template), "{method} {path} is not {operation}, {verb} {template}");
        let line = format!("{method} {path}");
        self.calls.push(Call { operation: operation.into(), line, request, status, media, answer: value.clone() });
        value
    }
}

fn fits(path: &str, template: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let (path, template): (Vec<_>, Vec<_>) = (path.split('/').collect(), template.split('/').collect());
    path.len() == template.len() && path.iter().zip(template).all(|(p, t)| t.starts_with('{') || *p == t)
}

impl Call {
    /// As one of the `examples` of the body and of the answer, under the same key.
    fn tell(&self, operation: &mut Value, key: &str) {
        // an operation without a body takes no notice of the one that is sent
        if let Some(request) = self.request.as_ref().filter(|_| !operation["requestBody"].is_null()) {
            let content = &mut operation["requestBody"]["content"]["application/json"];
            content["examples"][key] = json!({"summary": self.line, "value": request});
        }
        let response = &mut operation["responses"][self.status.to_string()];
        assert!(!response.is_null(), "{}: answer {} is not in the document", self.line, self.status);
        let content = &mut response["content"][&self.media];
        assert!(!content.is_null(), "{}: {} is not in the document", self.line, self.media);
        content["examples"][key] = json!({"summary": self.line, "value": self.answer});
    }
}
