//! Authorizations and challenges (RFC 8555 §7.1.4, §7.5, §8): Z1–Z9 of reference/acme.md; Z7 and Z8 in `ahead`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery::clock::Timestamp;
use chancery::registration::DirectoryConfig;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::client::Client;
use super::eab::admin;
use super::world::{Zone, worlds};

async fn authorization(client: &Client<'_>, name: &str) -> (String, String) {
    let made = client.order(&[name]).await.expect(201);
    let authorization = made.json()["authorizations"][0].as_str().unwrap().to_owned();
    (made.header("location").to_owned(), authorization)
}

fn kinds(shown: &Value) -> Vec<&str> {
    shown["challenges"].as_array().unwrap().iter().map(|c| c["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn z1_an_authorization_has_its_members_and_in_the_end_the_challenge_that_decided() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, at) = authorization(&client, "a.lab.example").await;
        let shown = client.get(&at).await.expect(200).json();
        let members: Vec<_> = shown.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["challenges", "expires", "identifier", "status"], "no null and no false: {shown}");
        assert_eq!(shown["identifier"], json!({"type": "dns", "value": "a.lab.example"}));
        assert!(Timestamp::parse_rfc3339(shown["expires"].as_str().unwrap()).unwrap() > world.now());
        assert!(kinds(&shown).len() > 1, "{shown}");
        let valid = client.prove(&at).await;
        assert_eq!((&valid["status"], kinds(&valid)), (&json!("valid"), vec!["http-01"]));
        assert!(valid["expires"].is_string(), "required when valid");

        let (_, at) = authorization(&client, "b.lab.example").await;
        let challenge = client.challenge(&at, "http-01").await;
        let invalid = client.respond(&challenge, &at).await;
        assert_eq!((&invalid["status"], kinds(&invalid)), (&json!("invalid"), vec!["http-01"]));
    }
}

#[tokio::test]
async fn z2_a_challenge_has_a_token_of_its_own_and_says_when_or_why() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, at) = authorization(&client, "a.lab.example").await;
        let shown = client.get(&at).await.json();
        let mut tokens = Vec::new();
        for challenge in shown["challenges"].as_array().unwrap() {
            let token = challenge["token"].as_str().unwrap();
            assert!(URL_SAFE_NO_PAD.decode(token).unwrap().len() >= 16, "128 bits without padding: {token}");
            assert_eq!(challenge["status"], "pending");
            assert!(challenge.get("validated").is_none() && challenge.get("error").is_none(), "{challenge}");
            tokens.push(token.to_owned());
        }
        tokens.sort();
        tokens.dedup();
        assert_eq!(tokens.len(), shown["challenges"].as_array().unwrap().len());
        let valid = client.prove(&at).await["challenges"][0].clone();
        assert_eq!(valid["status"], "valid");
        assert!(Timestamp::parse_rfc3339(valid["validated"].as_str().unwrap()).is_some());
        assert!(valid.get("error").is_none());

        let (_, at) = authorization(&client, "b.lab.example").await;
        let challenge = client.challenge(&at, "http-01").await;
        let failed = client.respond(&challenge, &at).await["challenges"][0].clone();
        assert_eq!(failed["status"], "invalid");
        assert!(failed.get("validated").is_none());
        assert!(failed["error"]["type"].as_str().unwrap().starts_with("urn:ietf:params:acme:error:"), "{failed}");
    }
}

#[tokio::test]
async fn z3_a_challenge_is_answered_with_an_object_and_again_without_effect() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, at) = authorization(&client, "a.lab.example").await;
        let challenge = client.challenge(&at, "http-01").await;
        let to = challenge["url"].as_str().unwrap();
        for bad in ["[]", "\"x\"", "7", "{"] {
            client.post(to, bad).await.refused(400, "malformed");
        }
        assert_eq!(client.get(to).await.expect(200).json()["status"], "pending", "reading begins nothing");

        let token = challenge["token"].as_str().unwrap();
        let key = format!("{token}.{}", client.key.thumbprint());
        world.tokens.lock().unwrap().insert(token.to_owned(), key.clone());
        // old clients send the key authorization: ignored like any other member
        let body = json!({"keyAuthorization": key, "resource": "challenge"}).to_string();
        let reply = client.post(to, &body).await.expect(200);
        assert!(reply.header("link").contains("rel=") && links(&reply, "up") == Some(at.clone()), "Link up");
        let done = client.respond(&challenge, &at).await;
        assert_eq!(done["status"], "valid");
        let again = client.post(to, "{}").await.expect(200).json();
        assert_eq!((&again["status"], &again["validated"]), (&json!("valid"), &done["challenges"][0]["validated"]));
    }
}

fn links(reply: &super::client::Reply, relation: &str) -> Option<String> {
    let all = reply.headers.get_all("link").iter().map(|v| v.to_str().unwrap().to_owned());
    let end = format!(">;rel=\"{relation}\"");
    all.into_iter().find_map(|link| Some(link.strip_prefix('<')?.strip_suffix(&end)?.to_owned()))
}

#[tokio::test]
async fn z4_polling_has_a_retry_after_while_it_is_worth_it() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, at) = authorization(&client, "a.lab.example").await;
        assert_eq!(client.get(&at).await.expect(200).header("retry-after"), "", "nothing happens by itself");
        let challenge = client.challenge(&at, "http-01").await;
        let ended = client.respond(&challenge, &at).await;
        assert_eq!(ended["status"], "invalid");
        assert_eq!(client.get(&at).await.expect(200).header("retry-after"), "");

        // one that is tried, for as long as no server answers
        world.zone.lock().unwrap().insert("slow.lab.example".into(), Zone::Silent);
        let (_, at) = authorization(&client, "slow.lab.example").await;
        let challenge = client.challenge(&at, "http-01").await;
        let to = challenge["url"].as_str().unwrap();
        let begun = client.post(to, "{}").await.expect(200);
        assert_eq!((&begun.json()["status"], begun.header("retry-after")), (&json!("processing"), "1"));
        let polled = client.get(to).await.expect(200);
        assert_eq!((&polled.json()["status"], polled.header("retry-after")), (&json!("processing"), "1"));
        let polled = client.get(&at).await.expect(200);
        assert_eq!((&polled.json()["status"], polled.header("retry-after")), (&json!("pending"), "1"));
    }
}

#[tokio::test]
async fn z5_after_a_failure_no_other_challenge_of_the_authorization_succeeds() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (order, at) = authorization(&client, "a.lab.example").await;
        let (http, dns) = (client.challenge(&at, "http-01").await, client.challenge(&at, "dns-01").await);
        assert_eq!(client.respond(&http, &at).await["status"], "invalid");
        client.post(dns["url"].as_str().unwrap(), "{}").await.refused(400, "malformed");
        assert_eq!(client.get(dns["url"].as_str().unwrap()).await.expect(200).json()["status"], "pending");
        let order = client.get(&order).await.json();
        assert_eq!(order["status"], "invalid");
        assert!(order["error"]["detail"].as_str().unwrap().contains("a.lab.example"), "{order}");
    }
}

#[tokio::test]
async fn z6_an_authorization_is_given_up_by_its_owner_and_for_ever() {
    for world in worlds().await {
        let (client, other) = (Client::register(&world).await, Client::register(&world).await);
        let (order, at) = authorization(&client, "a.lab.example").await;
        client.prove(&at).await;
        other.post(&at, r#"{"status":"deactivated"}"#).await.refused(404, "malformed");
        for bad in [r#"{"status":"valid"}"#, r#"{"status":"revoked"}"#, r#"{"status":7}"#, "{}"] {
            client.post(&at, bad).await.refused(400, "malformed");
        }
        let shown = client.post(&at, r#"{"status":"deactivated"}"#).await.expect(200).json();
        assert_eq!(shown["status"], "deactivated");
        assert_eq!(client.get(&order).await.json()["status"], "invalid");
        client.post(&at, r#"{"status":"deactivated"}"#).await.refused(400, "malformed");
        let reuse = DirectoryConfig { reuse_authorizations: Some("7d".into()), ..DirectoryConfig::default() };
        world.registration.change_directory(&admin(), "default", reuse).await.unwrap();
        assert_eq!(client.order(&["a.lab.example"]).await.json()["status"], "pending", "it is not reused");
        // a pending one can be given up too; its challenges prove nothing any more
        let (_, at) = authorization(&client, "b.lab.example").await;
        let challenge = client.challenge(&at, "http-01").await;
        client.post(&at, r#"{"status":"deactivated"}"#).await.expect(200);
        client.post(challenge["url"].as_str().unwrap(), "{}").await.refused(400, "malformed");
    }
}

#[tokio::test]
async fn z9_challenges_of_one_authorization_answered_at_once_have_one_outcome() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, at) = authorization(&client, "a.lab.example").await;
        let all = client.get(&at).await.json()["challenges"].as_array().unwrap().clone();
        let token = client.challenge(&at, "http-01").await["token"].as_str().unwrap().to_owned();
        let key = format!("{token}.{}", client.key.thumbprint());
        world.tokens.lock().unwrap().insert(token, key);
        let posts = (0..12).map(|n| client.post(all[n % all.len()]["url"].as_str().unwrap(), "{}"));
        for reply in join_all(posts).await {
            assert!(matches!(reply.status, 200 | 400), "{} {}", reply.status, reply.text);
        }
        let ended = async {
            loop {
                let shown = client.get(&at).await.expect(200).json();
                if shown["status"] != "pending" {
                    return shown;
                }
                tokio::task::yield_now().await;
            }
        };
        let shown = tokio::time::timeout(std::time::Duration::from_secs(60), ended).await.expect("it ends");
        assert_eq!(shown["challenges"].as_array().unwrap().len(), 1, "one decided: {shown}");
        assert_eq!(shown["challenges"][0]["status"], shown["status"]);
    }
}
