//! An account whose key is that of a certificate which is revoked for keyCompromise.

use chancery::authority::guard::Guard;
use chancery::authority::issue::Issuance;
use chancery::keys::software::{self, KeyPairDer};
use chancery::model::actor::Actor;
use chancery::model::id::CertificateId;
use chancery::model::identifier::Identifier;
use chancery::model::key::KeyAlgorithm;
use chancery::model::reason::RevocationReason;
use chancery::model::validity::RequestedValidity;
use chancery::pki::key_policy::KeyPolicy;
use chancery::pki::request::CertificateRequest;
use serde_json::json;

use super::client::{Client, Key, url};
use super::world::{World, worlds};

#[tokio::test]
async fn a_compromised_key_ends_its_account_and_registers_none() {
    for world in worlds().await {
        let pair = software::generate(KeyAlgorithm::P256).unwrap();
        let mut client = Client { world: &world, key: Key::from_pkcs8(&pair.pkcs8), kid: String::new() };
        let made = client.post_jwk(&url("new-account"), "{}").await.expect(201);
        client.kid = made.header("location").to_owned();
        compromise(&world, &pair).await;
        client.post(&client.kid, "{}").await.refused(401, "unauthorized");
        client
            .post(&url("new-order"), r#"{"identifiers":[{"type":"dns","value":"a.example.org"}]}"#)
            .await
            .refused(401, "unauthorized");
        let other = software::generate(KeyAlgorithm::P256).unwrap();
        compromise(&world, &other).await;
        let newcomer = Client { world: &world, key: Key::from_pkcs8(&other.pkcs8), kid: String::new() };
        newcomer.post_jwk(&url("new-account"), "{}").await.refused(400, "badPublicKey");
        // nor does an account move to it
        let good = Client::register(&world).await;
        let key = Key::from_pkcs8(&other.pkcs8);
        let header = json!({"alg": "ES256", "jwk": key.jwk(), "url": url("key-change")}).to_string();
        let inner = key.jws(&header, &json!({"account": good.kid, "oldKey": good.key.jwk()}).to_string());
        good.post(&url("key-change"), &inner.to_string()).await.refused(400, "badPublicKey");
        good.post(&good.kid, "{}").await.expect(200);
    }
}

/// By its fingerprint alone, which no certificate here has.
#[tokio::test]
async fn a_key_that_is_blocked_without_a_certificate_ends_its_account_and_registers_none() {
    for world in worlds().await {
        let pair = software::generate(KeyAlgorithm::P256).unwrap();
        let mut client = Client { world: &world, key: Key::from_pkcs8(&pair.pkcs8), kid: String::new() };
        let made = client.post_jwk(&url("new-account"), "{}").await.expect(201);
        client.kid = made.header("location").to_owned();
        let other = Client::register(&world).await;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(&openssl::sha::sha256(&pair.public_key));
        let key = chancery::model::blocked_key::KeyFingerprint(sha256);
        let actor = Actor::host(0, "test");
        world.authority.block_key(&actor, key, RevocationReason::KeyCompromise, "").await.unwrap();
        client.post(&client.kid, "{}").await.refused(401, "unauthorized");
        client.post_jwk(&url("new-account"), "{}").await.refused(401, "unauthorized");
        let free = software::generate(KeyAlgorithm::P256).unwrap();
        sha256.copy_from_slice(&openssl::sha::sha256(&free.public_key));
        let key = chancery::model::blocked_key::KeyFingerprint(sha256);
        world.authority.block_key(&actor, key, RevocationReason::KeyCompromise, "").await.unwrap();
        let newcomer = Client { world: &world, key: Key::from_pkcs8(&free.pkcs8), kid: String::new() };
        newcomer.post_jwk(&url("new-account"), "{}").await.refused(400, "badPublicKey");
        other.post(&other.kid, "{}").await.expect(200);
    }
}

/// A certificate of this key, revoked for keyCompromise.
async fn compromise(world: &World, pair: &KeyPairDer) {
    let id = certified(world, pair).await;
    world.authority.revoke(&Actor::host(0, "test"), id, RevocationReason::KeyCompromise).await.unwrap();
}

/// A certificate of this key.
pub async fn certified(world: &World, pair: &KeyPairDer) -> CertificateId {
    let key = KeyPolicy::default().check(&pair.public_key).unwrap();
    let issuance = Issuance {
        profile: "tls-server".into(),
        issuer: None,
        request: CertificateRequest::for_key(key, vec![Identifier::dns("k.example.org").unwrap()]),
        names: None,
        common_name: None,
        subject: Default::default(),
        validity: RequestedValidity::default(),
        guard: Guard::default(),
    };
    world.authority.issue(&Actor::host(0, "test"), issuance).await.unwrap().certificate.id
}
