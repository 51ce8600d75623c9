//! External account binding (X1–X6): who may register, the attack table on the inner JWS, the limits of a key.

use std::time::Duration;

use aws_lc_rs::hmac;
use chancery::access::grants::NewGrant;
use chancery::clock::days;
use chancery::model::actor::Actor;
use chancery::model::id::EabKeyId;
use chancery::registration::DirectoryConfig;
use chancery::registration::external_accounts::{Bounds, GivenKey, NewEabKey};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::client::{Client, Key, Reply, b64, csr, url};
use super::world::{World, worlds};

/// What an operator hands out.
pub struct External {
    pub id: EabKeyId,
    pub secret: Vec<u8>,
}

pub fn admin() -> Actor {
    Actor::system("test")
}

pub fn new_key(names: &[&str]) -> NewEabKey {
    let names = names.iter().map(|n| (*n).to_owned()).collect();
    let own = NewGrant { name: "test".into(), allow_names: Some(names), ..NewGrant::default() };
    let (name, directory) = ("test".to_owned(), "default".to_owned());
    NewEabKey { name, directory, bounds: Bounds::Own(own), expires_in: None, max_accounts: None }
}

pub async fn external(world: &World, new: &NewEabKey) -> External {
    use base64::Engine;
    let (key, text) = world.registration.create_eab_key(&admin(), new, None, |_| Ok(String::new())).await.unwrap();
    let secret = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text.as_bytes()).unwrap();
    assert_eq!(secret.len(), 32);
    External { id: key.id, secret }
}

impl External {
    pub fn jws(&self, header: &Value, payload: &str) -> Value {
        let (protected, payload) = (b64(header.to_string()), b64(payload));
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.secret);
        let mac = b64(hmac::sign(&key, format!("{protected}.{payload}").as_bytes()));
        json!({"protected": protected, "payload": payload, "signature": mac})
    }

    pub fn header(&self) -> Value {
        json!({"alg": "HS256", "kid": self.id.to_string(), "url": url("new-account")})
    }

    pub fn binding(&self, key: &Key) -> Value {
        self.jws(&self.header(), &key.jwk().to_string())
    }

    /// A new account with a new key, bound to this one.
    pub async fn register<'w>(&self, world: &'w World) -> Client<'w> {
        let mut client = stranger(world);
        let made = bind(&client, &self.binding(&client.key)).await.expect(201);
        client.kid = made.header("location").to_owned();
        client
    }
}

pub fn stranger(world: &World) -> Client<'_> {
    Client { world, key: Key::new(), kid: String::new() }
}

pub async fn bind(client: &Client<'_>, binding: &Value) -> Reply {
    client.post_jwk(&url("new-account"), &json!({"externalAccountBinding": binding}).to_string()).await
}

pub async fn require(world: &World, config: DirectoryConfig) {
    let config = DirectoryConfig { external_account_required: true, ..config };
    world.registration.change_directory(&admin(), "default", config).await.unwrap();
}

#[tokio::test]
async fn x1_x2_a_directory_may_require_a_binding_and_shows_it() {
    for world in worlds().await {
        let known = Client::register(&world).await;
        require(&world, DirectoryConfig::default()).await;
        let shown = known.get(&url("directory")).await.expect(200).json();
        assert_eq!(shown["meta"]["externalAccountRequired"], true);

        let client = stranger(&world);
        client.post_jwk(&url("new-account"), "{}").await.refused(403, "externalAccountRequired");
        let only = r#"{"onlyReturnExisting":true}"#;
        client.post_jwk(&url("new-account"), only).await.refused(400, "accountDoesNotExist");
        let external = external(&world, &new_key(&["lab.example"])).await;
        let binding = external.binding(&client.key);
        let made = bind(&client, &binding).await.expect(201);
        assert_eq!(made.json()["externalAccountBinding"], binding);
        // the account is found by its key alone, also by those who were there before
        let again = client.post_jwk(&url("new-account"), "{}").await.expect(200);
        assert_eq!(again.json(), made.json());
        assert_eq!(client.post_jwk(&url("new-account"), only).await.expect(200).json(), made.json());
        let old = known.post_jwk(&url("new-account"), only).await.expect(200).json();
        assert_eq!(old["externalAccountBinding"], Value::Null);
    }
}

#[tokio::test]
async fn x3_x4_no_binding_that_breaks_a_rule_makes_an_account() {
    for world in worlds().await {
        let external = external(&world, &NewEabKey { max_accounts: Some(1), ..new_key(&["lab.example"]) }).await;
        let client = stranger(&world);
        let jwk = client.key.jwk().to_string();
        let with = |changes: Value| {
            let mut header = external.header();
            for (name, value) in changes.as_object().unwrap() {
                match value {
                    Value::Null => header.as_object_mut().unwrap().remove(name),
                    value => header.as_object_mut().unwrap().insert(name.clone(), value.clone()),
                };
            }
            external.jws(&header, &jwk)
        };
        let good = external.binding(&client.key);
        let part = |name: &str, value: Value| {
            let mut changed = good.clone();
            changed[name] = value;
            changed
        };
        let by = |secret: &[u8]| External { id: external.id, secret: secret.to_vec() }.binding(&client.key);
        let mac = good["signature"].as_str().unwrap();
        let public = client.key.point();
        // an asymmetric inner JWS by the account's own key
        let own = |alg: &str| {
            let header = json!({"alg": alg, "kid": external.id.to_string(), "url": url("new-account")});
            client.key.jws(&header.to_string(), &jwk)
        };
        for (what, binding) in [
            ("alg none", with(json!({"alg": "none"}))),
            ("alg nOnE", with(json!({"alg": "nOnE"}))),
            ("alg missing", with(json!({"alg": null}))),
            ("HS384 by name, HS256 in truth", with(json!({"alg": "HS384"}))),
            ("HS512 by name, HS256 in truth", with(json!({"alg": "HS512"}))),
            ("HS1", with(json!({"alg": "HS1"}))),
            ("alg a number", with(json!({"alg": 7}))),
            ("ES256 by the account", own("ES256")),
            ("RS256 by the account", own("RS256")),
            ("HS256 by name, ES256 in truth", own("HS256")),
            ("nonce", with(json!({"nonce": "x"}))),
            ("jwk beside kid", with(json!({"jwk": client.key.jwk()}))),
            ("jwk in place of kid", with(json!({"jwk": client.key.jwk(), "kid": null}))),
            ("kid missing", with(json!({"kid": null}))),
            ("kid empty", with(json!({"kid": ""}))),
            ("kid unknown", with(json!({"kid": "eab_00000000000000000000000000"}))),
            ("kid of another kind", with(json!({"kid": "acc_00000000000000000000000000"}))),
            ("kid in lower case", with(json!({"kid": external.id.to_string().to_lowercase()}))),
            ("kid with SQL", with(json!({"kid": "' OR 1=1 --"}))),
            ("url missing", with(json!({"url": null}))),
            ("url of another resource", with(json!({"url": url("new-order")}))),
            ("url of another directory", with(json!({"url": url("new-account").replace("default", "other")}))),
            ("url of another host", with(json!({"url": url("new-account").replace("acme.test", "evil.test")}))),
            ("crit", with(json!({"crit": ["exp"], "exp": 1}))),
            ("crit empty", with(json!({"crit": []}))),
            ("b64 false", with(json!({"b64": false}))),
            ("another's key", external.jws(&external.header(), &Key::new().jwk().to_string())),
            ("a private key", external.jws(&external.header(), &private(&client.key))),
            ("no key", external.jws(&external.header(), "{}")),
            ("empty payload", external.jws(&external.header(), "")),
            ("a list", external.jws(&external.header(), &format!("[{jwk}]"))),
            ("members twice", external.jws(&external.header(), &jwk.replacen('{', r#"{"kty":"EC","#, 1))),
            ("wrong secret", by(&[1; 32])),
            ("empty secret", by(&[])),
            ("public key as secret", by(public)),
            ("secret in base64", by(b64(&external.secret).as_bytes())),
            ("half a MAC", part("signature", mac[..mac.len() / 2].into())),
            ("longer MAC", part("signature", format!("{mac}AAAA").into())),
            ("padded MAC", part("signature", format!("{mac}=").into())),
            ("empty MAC", part("signature", "".into())),
            ("MAC a number", part("signature", json!(1))),
            ("padded payload", part("payload", format!("{}=", good["payload"].as_str().unwrap()).into())),
            ("unprotected header", part("header", json!({}))),
            ("general", json!({"payload": good["payload"], "signatures": [good.clone()]})),
            ("a text", good.to_string().into()),
            ("nothing", json!({})),
        ] {
            let reply = bind(&client, &binding).await;
            assert!((400..500).contains(&reply.status), "{what}: {} {}", reply.status, reply.text);
            let problem = reply.problem();
            let fits = ["malformed", "badSignatureAlgorithm", "unauthorized", "badPublicKey"];
            assert!(fits.contains(&problem.as_str()), "{what}: {problem}");
            if problem == "badSignatureAlgorithm" {
                assert_eq!(reply.json()["algorithms"], json!(["HS256", "HS384", "HS512"]), "{what}");
            }
        }
        let only = r#"{"onlyReturnExisting":true}"#;
        client.post_jwk(&url("new-account"), only).await.refused(400, "accountDoesNotExist");
        assert_eq!(world.registration.eab_key(external.id).await.unwrap().used_accounts, 0);
        // none of them spent the one account
        bind(&client, &good).await.expect(201);
    }
}

fn private(key: &Key) -> String {
    let mut jwk = key.jwk();
    jwk["d"] = jwk["x"].clone();
    jwk.to_string()
}

#[tokio::test]
async fn x4_an_unknown_key_and_a_wrong_mac_are_told_alike() {
    for world in worlds().await {
        let external = external(&world, &new_key(&["lab.example"])).await;
        let client = stranger(&world);
        let wrong = External { id: external.id, secret: vec![1; 32] }.binding(&client.key);
        let unknown = External { id: EabKeyId::from_bytes([3; 16]), secret: vec![1; 32] }.binding(&client.key);
        let detail = |reply: Reply| reply.refused(403, "unauthorized").json()["detail"].clone();
        assert_eq!(detail(bind(&client, &wrong).await), detail(bind(&client, &unknown).await));
        // nor does a wrong MAC tell that a key was revoked
        world.registration.revoke_eab_key(&admin(), external.id, false).await.unwrap();
        assert_eq!(detail(bind(&client, &wrong).await), detail(bind(&client, &unknown).await));
        let revoked = bind(&client, &external.binding(&client.key)).await;
        assert!(detail(revoked).as_str().unwrap().contains(" was revoked at "));
    }
}

#[tokio::test]
async fn x4_a_key_registers_accounts_within_its_limits() {
    for world in worlds().await {
        let two = external(&world, &NewEabKey { max_accounts: Some(2), ..new_key(&["lab.example"]) }).await;
        let (a, b) = (two.register(&world).await, two.register(&world).await);
        assert_ne!(a.kid, b.kid);
        let third = stranger(&world);
        let reply = bind(&third, &two.binding(&third.key)).await.refused(403, "unauthorized");
        assert_eq!(reply.json()["rule"], "eab.accounts");
        assert!(reply.json()["detail"].as_str().unwrap().contains("may register 2 accounts and has"));

        let short = NewEabKey { expires_in: Some(Duration::from_secs(60)), ..new_key(&["lab.example"]) };
        let short = external(&world, &short).await;
        world.clock.advance(Duration::from_secs(59));
        let last = short.register(&world).await;
        world.clock.advance(Duration::from_secs(1));
        let late = stranger(&world);
        let reply = bind(&late, &short.binding(&late.key)).await.refused(403, "unauthorized");
        assert!(reply.json()["detail"].as_str().unwrap().contains(" expired at "));
        // who registered in time goes on
        last.order(&["a.lab.example"]).await.expect(201);
    }
}

#[tokio::test]
async fn x4_twenty_registrations_at_once_take_no_more_than_there_are() {
    for world in worlds().await {
        let three = external(&world, &NewEabKey { max_accounts: Some(3), ..new_key(&["lab.example"]) }).await;
        let clients: Vec<_> = (0..20).map(|_| stranger(&world)).collect();
        let asked = clients.iter().map(|client| async {
            let binding = three.binding(&client.key);
            bind(client, &binding).await.status
        });
        let statuses = futures_util::future::join_all(asked).await;
        assert_eq!(statuses.iter().filter(|s| **s == 201).count(), 3, "{statuses:?}");
        assert!(statuses.iter().all(|s| [201, 403].contains(s)), "{statuses:?}");
    }
}

#[tokio::test]
async fn x4_a_key_of_another_directory_is_refused() {
    for world in worlds().await {
        world.registration.create_directory(&admin(), "other", DirectoryConfig::default()).await.unwrap();
        let other = NewEabKey { directory: "other".into(), ..new_key(&["lab.example"]) };
        let other = external(&world, &other).await;
        let client = stranger(&world);
        let reply = bind(&client, &other.binding(&client.key)).await.refused(403, "unauthorized");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!(reply.json()["rule"], "eab.directory");
        assert!(detail.contains("is for ACME directory other, not for default"), "{detail}");
        let missing = NewEabKey { directory: "none".into(), ..new_key(&[]) };
        let error = world.registration.create_eab_key(&admin(), &missing, None, |_| Ok(String::new())).await;
        assert_eq!(error.unwrap_err().rule.unwrap().name, "eab.directory");
    }
}

#[tokio::test]
async fn a_key_is_sealed_at_rest_and_bound_to_its_row() {
    for world in worlds().await {
        let (one, two) = (external(&world, &new_key(&["a"])).await, external(&world, &new_key(&["b"])).await);
        let sealed = chancery::store::eab_keys::secret(&world.store, one.id).await.unwrap().unwrap();
        assert!(!sealed.windows(32).any(|w| w == one.secret));
        world.swap_eab_keys(one.id, two.id).await;
        let client = stranger(&world);
        let reply = bind(&client, &one.binding(&client.key)).await;
        assert_eq!(reply.status, 500, "a row that was moved does not open: {}", reply.text);
    }
}

#[tokio::test]
async fn x5_revoking_a_key_with_its_accounts_ends_them_and_their_orders() {
    for world in worlds().await {
        let external = external(&world, &new_key(&["lab.example"])).await;
        let client = external.register(&world).await;
        let order = client.order(&["a.lab.example"]).await.expect(201).json();
        assert_eq!(order["status"], "ready");
        world.registration.revoke_eab_key(&admin(), external.id, false).await.unwrap();
        client.order(&["b.lab.example"]).await.expect(201);
        world.registration.revoke_eab_key(&admin(), external.id, true).await.unwrap();
        client.order(&["c.lab.example"]).await.refused(401, "unauthorized");
        let (request, _) = csr(&["a.lab.example"]);
        let finalize = order["finalize"].as_str().unwrap();
        client.post(finalize, &json!({"csr": b64(request)}).to_string()).await.refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn x5_a_key_change_keeps_the_binding() {
    for world in worlds().await {
        let external = external(&world, &new_key(&["lab.example"])).await;
        let mut client = external.register(&world).await;
        let fresh = Key::new();
        let header = json!({"alg": "ES256", "jwk": fresh.jwk(), "url": url("key-change")}).to_string();
        let payload = json!({"account": client.kid, "oldKey": client.key.jwk()}).to_string();
        client.post(&url("key-change"), &fresh.jws(&header, &payload).to_string()).await.expect(200);
        client.key = fresh;
        let shown = client.get(&client.kid).await.expect(200).json();
        assert!(shown["externalAccountBinding"]["signature"].is_string());
        assert_eq!(client.order(&["a.lab.example"]).await.expect(201).json()["status"], "ready");
        world.clock.advance(days(1));
    }
}

/// RFC 8555 §7.3.4 wants HS256 and leaves the others open.
#[tokio::test]
async fn x3_hs256_hs384_and_hs512_bind() {
    for world in worlds().await {
        let external = external(&world, &new_key(&["lab.example"])).await;
        for (alg, algorithm) in
            [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
        {
            let client = stranger(&world);
            let header = json!({"alg": alg, "kid": external.id.to_string(), "url": url("new-account")}).to_string();
            let (protected, payload) = (b64(header), b64(client.key.jwk().to_string()));
            let input = format!("{protected}.{payload}");
            let mac = hmac::sign(&hmac::Key::new(algorithm, &external.secret), input.as_bytes());
            let cut = &mac.as_ref()[..mac.as_ref().len() / 2];
            let with = |mac: &[u8]| json!({"protected": protected, "payload": payload, "signature": b64(mac)});
            bind(&client, &with(cut)).await.refused(403, "unauthorized");
            let made = bind(&client, &with(mac.as_ref())).await.expect(201);
            assert_eq!(made.json()["externalAccountBinding"], with(mac.as_ref()), "{alg}");
        }
    }
}

/// What is not verified must not be shown.
#[tokio::test]
async fn x2_an_account_without_a_binding_shows_none() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let external = external(&world, &new_key(&["lab.example"])).await;
        // found by its key: the binding beside is not looked at
        let again = bind(&client, &external.binding(&client.key)).await.expect(200).json();
        assert_eq!(again.get("externalAccountBinding"), None);
        assert_eq!(client.get(&client.kid).await.expect(200).json().get("externalAccountBinding"), None);
        assert_eq!(world.registration.eab_key(external.id).await.unwrap().used_accounts, 0);
    }
}

/// Clients that want padding make it themselves; all take base64url without.
#[tokio::test]
async fn x6_the_key_is_told_in_base64url_without_padding() {
    for world in worlds().await {
        let new = new_key(&["lab.example"]);
        let (_, text) = world.registration.create_eab_key(&admin(), &new, None, |_| Ok(String::new())).await.unwrap();
        assert_eq!(text.len(), 43);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "the alphabet");
    }
}

#[tokio::test]
async fn x5_an_operator_grants_an_account_that_is_there() {
    for world in worlds().await {
        let access = chancery::access::Access::new(world.store.clone());
        let grant = async |names: &[&str]| {
            let names = names.iter().map(|n| (*n).to_owned()).collect();
            let new = NewGrant { name: "later".into(), allow_names: Some(names), ..NewGrant::default() };
            access.create_grant(&admin(), &new, None, |_| Ok(String::new())).await.unwrap().id
        };
        let client = Client::register(&world).await;
        let account = client.kid.rsplit('/').next().unwrap().parse().unwrap();
        assert_eq!(client.order(&["a.lab.example"]).await.expect(201).json()["status"], "pending");
        let lab = grant(&["lab.example"]).await;
        let registration = &world.registration;
        assert_eq!(registration.grant_account(&admin(), account, lab).await.unwrap().grant, Some(lab));
        let made = client.order(&["a.lab.example"]).await.expect(201);
        assert_eq!(made.json()["status"], "ready");
        // it was not registered by a key, and shows none
        assert_eq!(client.get(&client.kid).await.expect(200).json().get("externalAccountBinding"), None);
        // a name outside is proved as before, and what rests on the grant is asked again at finalize
        client.ready_order(&["a.example.org"]).await;
        registration.grant_account(&admin(), account, grant(&["other.example"]).await).await.unwrap();
        let payload = json!({"csr": b64(csr(&["a.lab.example"]).0)}).to_string();
        let finalize = made.json()["finalize"].as_str().unwrap().to_owned();
        client.post(&finalize, &payload).await.refused(400, "rejectedIdentifier");
        registration.grant_account(&admin(), account, lab).await.unwrap();
        let made = client.order(&["b.lab.example"]).await.expect(201).json();
        let payload = json!({"csr": b64(csr(&["b.lab.example"]).0)}).to_string();
        client.post(made["finalize"].as_str().unwrap(), &payload).await.expect(200);
        // a binding that is there stays and is shown
        let bound = external(&world, &new_key(&["key.example"])).await.register(&world).await;
        let id = bound.kid.rsplit('/').next().unwrap().parse().unwrap();
        let shown = bound.get(&bound.kid).await.expect(200).json();
        registration.grant_account(&admin(), id, lab).await.unwrap();
        assert_eq!(bound.get(&bound.kid).await.expect(200).json(), shown);
        assert_eq!(bound.order(&["c.lab.example"]).await.expect(201).json()["status"], "ready");
        // nobody is put under what has ended, and what has ended is put under nothing
        access.revoke_grant(&admin(), lab).await.unwrap();
        client.order(&["d.lab.example"]).await.refused(401, "unauthorized");
        let error = registration.grant_account(&admin(), account, grant(&["x.example"]).await).await.unwrap_err();
        assert_eq!(error.kind, chancery::error::ErrorKind::Conflict);
        let alive = Client::register(&world).await.kid.rsplit('/').next().unwrap().parse().unwrap();
        assert!(registration.grant_account(&admin(), alive, lab).await.is_err());
    }
}

#[tokio::test]
async fn x7_clients_keep_the_key_id_and_the_hmac_key_that_they_have() {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    for world in worlds().await {
        require(&world, DirectoryConfig::default()).await;
        let secret = vec![0xfb; 40];
        let take = async |kid: &str, hmac_key: &str| {
            let given = GivenKey { kid: Some(kid.into()), hmac_key: Some(Zeroizing::new(hmac_key.into())) };
            world
                .registration
                .take_eab_key(&admin(), &new_key(&["lab.example"]), &given, None, |_| Ok(String::new()))
                .await
        };
        let kid = "old-ca:Kid/1";
        let (key, told) = take(kid, &STANDARD.encode(&secret)).await.unwrap();
        assert_eq!((key.kid(), told.as_str()), (kid.to_owned(), URL_SAFE_NO_PAD.encode(&secret).as_str()));
        let external = External { id: key.id, secret: secret.clone() };
        let with = |kid: &str| json!({"alg": "HS256", "kid": kid, "url": url("new-account")});
        let client = stranger(&world);
        for wrong in [key.id.to_string().as_str(), "old-ca:kid/1", "old-ca:Kid/1 ", "other"] {
            let binding = external.jws(&with(wrong), &client.key.jwk().to_string());
            let reply = bind(&client, &binding).await;
            assert!((400..500).contains(&reply.status), "{wrong}: {}", reply.text);
        }
        bind(&client, &external.jws(&with(kid), &client.key.jwk().to_string())).await.expect(201);

        let rule = |error: chancery::error::Error| error.rule.map(|rule| rule.name).unwrap_or_default();
        let good = URL_SAFE_NO_PAD.encode(&secret);
        assert_eq!(rule(take(kid, &good).await.unwrap_err()), "eab.kid", "twice");
        let long = "x".repeat(201);
        for wrong in ["", "a b", "eab_1", "EAB_1", "k\u{e9}y", "a\nb", long.as_str()] {
            assert_eq!(rule(take(wrong, &good).await.unwrap_err()), "eab.kid", "{wrong:?}");
        }
        let (short, huge) = (URL_SAFE_NO_PAD.encode([1; 31]), URL_SAFE_NO_PAD.encode([1; 257]));
        for wrong in ["", "!!!", short.as_str(), huge.as_str(), "a=b"] {
            assert_eq!(rule(take("another", wrong).await.unwrap_err()), "eab.hmac_key", "{wrong}");
        }
        // two at once: one of them has it
        let (one, two) = tokio::join!(take("raced", &good), take("raced", &good));
        assert_eq!([one.is_ok(), two.is_ok()].iter().filter(|ok| **ok).count(), 1);
        // the keys that are there keep their ids
        let own = world
            .registration
            .create_eab_key(&admin(), &new_key(&["lab.example"]), None, |_| Ok(String::new()))
            .await;
        let (own, _) = own.unwrap();
        assert_eq!(own.kid(), own.id.to_string());
    }
}
