//! Profiles in ACME (draft-ietf-acme-profiles; PR1–PR5).

use std::time::Duration;

use chancery::clock::{Timestamp, days, hours};
use chancery::pki::profile::{CommonNameRule, ProfileConfig};
use serde_json::{Value, json};

use super::client::{Client, Reply, b64, csr, leaf_der, url};
use super::eab::admin;
use super::world::{World, worlds};

/// A profile like tls-server, changed.
async fn profile(world: &World, name: &str, change: fn(&mut ProfileConfig)) {
    let mut config = world.authority.snapshot().profile("tls-server").unwrap().config.clone();
    config.name = name.into();
    config.description = format!("About {name}");
    change(&mut config);
    world.authority.create_profile(&admin(), &config).await.unwrap();
}

async fn offer(world: &World, profiles: &[&str]) {
    let mut config = world.registration.directory("default").unwrap().config;
    config.profiles = profiles.iter().map(|p| (*p).to_owned()).collect();
    world.registration.change_directory(&admin(), "default", config).await.unwrap();
}

async fn order(client: &Client<'_>, names: &[&str], profile: Option<&str>) -> Reply {
    let identifiers: Vec<_> = names.iter().map(|n| json!({"type": "dns", "value": n})).collect();
    let mut ask = json!({"identifiers": identifiers});
    if let Some(profile) = profile {
        ask["profile"] = profile.into();
    }
    client.post(&url("new-order"), &ask.to_string()).await
}

async fn finalize(client: &Client<'_>, order: &Value, csr: &[u8]) -> Reply {
    client.post(order["finalize"].as_str().unwrap(), &json!({"csr": b64(csr)}).to_string()).await
}

#[tokio::test]
async fn pr1_pr3_profiles_are_told_with_words_and_an_order_has_one() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let told = client.get(&url("directory")).await.json()["meta"]["profiles"].clone();
        assert_eq!(told.as_object().unwrap().len(), 1);
        assert!(told["tls-server"].as_str().unwrap().len() > 5);
        assert_eq!(order(&client, &["a.example.org"], None).await.expect(201).json()["profile"], "tls-server");

        profile(&world, "short", |c| c.lifetime.default = "6d".into()).await;
        offer(&world, &["short", "tls-server"]).await;
        let told = client.get(&url("directory")).await.json()["meta"]["profiles"].clone();
        assert_eq!(told["short"], "About short");
        // the longest lifetime of either profile leaves room for the backdate
        let backdated = |life: Duration| life + Duration::from_secs(60);
        for (asked, expected, life) in [
            (None, "short", backdated(days(6))),
            (Some("tls-server"), "tls-server", backdated(days(90))),
            (Some("short"), "short", backdated(days(6))),
        ] {
            let made = order(&client, &["a.example.org"], asked).await.expect(201);
            assert_eq!(made.json()["profile"], expected);
            client.prove(made.json()["authorizations"][0].as_str().unwrap()).await;
            let done = finalize(&client, &made.json(), &csr(&["a.example.org"]).0).await.expect(200).json();
            assert_eq!(done["profile"], expected);
            assert_eq!(client.get(made.header("location")).await.json()["profile"], expected);
            let pem = client.get(done["certificate"].as_str().unwrap()).await.text;
            let leaf = openssl::x509::X509::from_der(&leaf_der(&pem)).unwrap();
            let seconds = leaf.not_before().diff(leaf.not_after()).unwrap();
            let seconds = i64::from(seconds.days) * 86_400 + i64::from(seconds.secs);
            assert_eq!(u64::try_from(seconds).unwrap() + 1, life.as_secs(), "{expected}");
        }
        // a directory that offers none has none to tell
        offer(&world, &[]).await;
        assert!(client.get(&url("directory")).await.json().get("meta").is_none());
        order(&client, &["a.example.org"], None).await.refused(400, "invalidProfile");
    }
}

#[tokio::test]
async fn pr2_a_profile_that_does_not_go_with_the_order_is_refused() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        profile(&world, "plain", |c| c.names.wildcards = false).await;
        profile(&world, "one", |c| c.names.max = 1).await;
        profile(&world, "addresses", |c| {
            (c.names.kinds, c.names.wildcards) = (vec!["ip".into()], false);
            c.subject.common_name = CommonNameRule::None;
        })
        .await;
        profile(&world, "member", |c| c.subject.common_name = CommonNameRule::Member).await;
        offer(&world, &["tls-server", "plain", "one", "addresses", "member"]).await;
        for (names, asked, word) in [
            (&["a.example.org"][..], "other", "tls-server"),
            (&["a.example.org"], "TLS-server", "tls-server"),
            // there, and not offered here
            (&["a.example.org"], "ocsp", "tls-server"),
            (&["*.example.org"], "plain", "names.wildcards"),
            (&["a.example.org", "b.example.org"], "one", "names.count"),
            (&["a.example.org"], "addresses", "names.kinds"),
            (&["a.example.org"], "member", "subject.common_name"),
        ] {
            let refused = order(&client, names, Some(asked)).await.refused(400, "invalidProfile").json();
            let told = refused["rule"] == word || refused["detail"].as_str().unwrap().contains(word);
            assert!(told, "{asked}: {refused}");
        }
        // names that no profile takes are the names' fault
        order(&client, &["localhost"], Some("plain")).await.refused(400, "rejectedIdentifier");
        let wrong = json!({"identifiers": [{"type": "dns", "value": "a.example.org"}], "profile": 7}).to_string();
        client.post(&url("new-order"), &wrong).await.refused(400, "malformed");
        let orders = client.get(&format!("{}/orders", client.kid)).await.expect(200).json();
        assert_eq!(orders, json!({"orders": []}));
        order(&client, &["a.example.org"], Some("plain")).await.expect(201);
    }
}

#[tokio::test]
async fn pr4_a_profile_that_was_withdrawn_finalizes_nothing() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        profile(&world, "old", |_| ()).await;
        offer(&world, &["old"]).await;
        let made = order(&client, &["a.example.org"], Some("old")).await.expect(201);
        client.prove(made.json()["authorizations"][0].as_str().unwrap()).await;
        offer(&world, &["tls-server"]).await;
        // told first, also to a CSR that is no good
        finalize(&client, &made.json(), &csr(&["b.example.org"]).0).await.refused(400, "invalidProfile");
        finalize(&client, &made.json(), &csr(&["a.example.org"]).0).await.refused(400, "invalidProfile");
        let shown = client.get(made.header("location")).await.json();
        assert_eq!((&shown["status"], &shown["profile"]), (&json!("ready"), &json!("old")));
        offer(&world, &["tls-server", "old"]).await;
        finalize(&client, &made.json(), &csr(&["a.example.org"]).0).await.expect(200);
    }
}

#[tokio::test]
async fn pr5_the_profile_and_not_the_csr_says_what_a_certificate_is_for() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, order) = client.ready_order(&["a.example.org"]).await;
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example.org".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Somebody Else");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::CodeSigning];
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let request = params.serialize_request(&key).unwrap().der().to_vec();
        let done = finalize(&client, &order, &request).await.expect(200).json();
        let pem = client.get(done["certificate"].as_str().unwrap()).await.text;
        let leaf = openssl::x509::X509::from_der(&leaf_der(&pem)).unwrap();
        let text = String::from_utf8(leaf.to_text().unwrap()).unwrap();
        assert!(text.contains("TLS Web Server Authentication"), "{text}");
        for never in ["Code Signing", "Certificate Sign", "CA:TRUE", "Somebody Else"] {
            assert!(!text.contains(never), "{never} in {text}");
        }
    }
}

#[tokio::test]
async fn a_profile_says_how_long_its_orders_may_be_open() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        profile(&world, "brief", |c| c.lifetime.acme_order = Some("1h".into())).await;
        offer(&world, &["tls-server", "brief"]).await;
        let expires = |order: &Value| Timestamp::parse_rfc3339(order["expires"].as_str().unwrap()).unwrap();
        let usual = order(&client, &["a.example.org"], None).await.expect(201);
        let brief = order(&client, &["a.example.org"], Some("brief")).await.expect(201);
        let now = world.now().truncated();
        assert_eq!((expires(&usual.json()), expires(&brief.json())), (now + days(7), now + hours(1)));
        world.clock.advance(hours(2));
        assert_eq!(client.get(brief.header("location")).await.json()["status"], "invalid");
        assert_eq!(client.get(usual.header("location")).await.json()["status"], "pending");

        let config = world.authority.snapshot().profile("brief").unwrap().config.clone();
        for wrong in ["30s", "31d"] {
            let mut config = config.clone();
            (config.name, config.lifetime.acme_order) = ("wrong".into(), Some(wrong.into()));
            let error = world.authority.create_profile(&admin(), &config).await.unwrap_err();
            assert_eq!(error.rule.unwrap().name, "profile.lifetime.acme_order");
        }
    }
}
