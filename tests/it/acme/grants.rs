//! Orders of accounts that act under a grant: names within it need no proof, all of it is asked again at finalize,
//! and it entitles to nobody else's certificates.

use std::time::Duration;

use chancery::access::Access;
use chancery::access::grants::NewGrant;
use chancery::model::id::GrantId;
use chancery::registration::DirectoryConfig;
use chancery::registration::external_accounts::{Bounds, NewEabKey};
use serde_json::{Value, json};

use super::client::{Client, Reply, b64, csr, leaf_der, url};
use super::eab::{External, admin, external, new_key, require};
use super::world::{World, worlds};

async fn finalize(client: &Client<'_>, order: &Value, names: &[&str]) -> Reply {
    let (request, _) = csr(names);
    client.post(order["finalize"].as_str().unwrap(), &json!({"csr": b64(request)}).to_string()).await
}

fn bounded(names: &[&str]) -> NewGrant {
    let names = names.iter().map(|n| (*n).to_owned()).collect();
    NewGrant { name: "test".into(), allow_names: Some(names), ..NewGrant::default() }
}

async fn key_under(world: &World, grant: NewGrant) -> (External, GrantId) {
    let key = external(world, &NewEabKey { bounds: Bounds::Own(grant), ..new_key(&[]) }).await;
    let grant = world.registration.eab_key(key.id).await.unwrap().grant_id;
    (key, grant)
}

fn access(world: &World) -> std::sync::Arc<Access> {
    Access::new(world.store.clone())
}

#[tokio::test]
async fn names_within_the_grant_come_proved() {
    for world in worlds().await {
        let client = external(&world, &new_key(&["lab.example", "10.0.0.0/8"])).await.register(&world).await;
        let names = ["a.lab.example", "*.b.lab.example"];
        let mut identifiers: Vec<_> = names.iter().map(|n| json!({"type": "dns", "value": n})).collect();
        identifiers.push(json!({"type": "ip", "value": "10.1.2.3"}));
        let made = client.post(&url("new-order"), &json!({"identifiers": identifiers}).to_string()).await.expect(201);
        let order = made.json();
        assert_eq!(order["status"], "ready", "{order}");
        for (n, authorization) in order["authorizations"].as_array().unwrap().iter().enumerate() {
            let shown = client.get(authorization.as_str().unwrap()).await.expect(200).json();
            assert_eq!(shown["status"], "valid");
            let challenges = shown["challenges"].as_array().unwrap();
            assert_eq!(challenges.len(), 1, "{shown}");
            assert_eq!(
                (&challenges[0]["type"], &challenges[0]["status"]),
                (&json!("chancery-grant-01"), &json!("valid"))
            );
            assert!(challenges[0]["validated"].is_string() && challenges[0]["token"].is_string());
            let value = ["a.lab.example", "b.lab.example", "10.1.2.3"][n];
            assert_eq!(shown["identifier"]["value"], value);
            assert_eq!(shown.get("wildcard"), (n == 1).then_some(&json!(true)));
            // a client that answers all the same changes nothing
            client.post(challenges[0]["url"].as_str().unwrap(), "{}").await.expect(200);
        }
        let done =
            finalize(&client, &order, &["a.lab.example", "*.b.lab.example", "10.1.2.3"]).await.expect(200).json();
        assert_eq!(done["status"], "valid", "{done}");
    }
}

#[tokio::test]
async fn names_outside_are_proved_as_by_anybody() {
    for world in worlds().await {
        let client = external(&world, &new_key(&["lab.example"])).await.register(&world).await;
        let made = client.order(&["a.lab.example", "a.example.org"]).await.expect(201);
        let order = made.json();
        assert_eq!(order["status"], "pending");
        client.prove(order["authorizations"][1].as_str().unwrap()).await;
        let order = client.get(made.header("location")).await.expect(200).json();
        assert_eq!(order["status"], "ready");
        let done = finalize(&client, &order, &["a.lab.example", "a.example.org"]).await.expect(200).json();
        assert_eq!(done["status"], "valid");
        // an empty list allows nothing without a proof
        let nothing = external(&world, &new_key(&[])).await.register(&world).await;
        assert_eq!(nothing.order(&["a.lab.example"]).await.expect(201).json()["status"], "pending");
    }
}

#[tokio::test]
async fn a_directory_without_challenges_certifies_granted_names_only() {
    for world in worlds().await {
        require(&world, DirectoryConfig { challenges: Vec::new(), ..DirectoryConfig::default() }).await;
        let client = external(&world, &new_key(&["lab.example", "=*.exact.test"])).await.register(&world).await;
        assert_eq!(client.order(&["lab.example"]).await.expect(201).json()["status"], "ready");
        assert_eq!(client.order(&["*.exact.test"]).await.expect(201).json()["status"], "ready");
        for name in ["notlab.example", "example", "exact.test", "a.exact.test", "*.example"] {
            let reply = client.order(&[name]).await.refused(400, "rejectedIdentifier");
            let detail = reply.json()["detail"].as_str().unwrap().to_owned();
            let expected = format!("the grant does not allow name \"{name}\"; it allows lab.example, =*.exact.test");
            assert!(reply.json()["rule"] == "grant.names" && detail.starts_with(&expected), "{detail}");
        }
    }
}

#[tokio::test]
async fn reserved_names_need_a_rule_of_their_own() {
    for world in worlds().await {
        let wide = external(&world, &new_key(&["*", "acme.test"])).await.register(&world).await;
        for name in ["localhost", "db.default.svc", "kubernetes", "x.cluster.local"] {
            wide.order(&[name]).await.refused(400, "rejectedIdentifier");
        }
        let mention =
            external(&world, &new_key(&["=localhost", "svc", "=ca.acme.test"])).await.register(&world).await;
        for name in ["localhost", "db.default.svc"] {
            let order = mention.order(&[name]).await.expect(201).json();
            assert_eq!(order["status"], "ready");
            assert_eq!(finalize(&mention, &order, &[name]).await.expect(200).json()["status"], "valid");
        }
        mention.order(&["a.cluster.local"]).await.refused(400, "rejectedIdentifier");
        Client::register(&world).await.order(&["db.default.svc"]).await.refused(400, "rejectedIdentifier");
    }
}

#[tokio::test]
async fn one_second_past_its_end_a_grant_gives_nothing() {
    for world in worlds().await {
        let grant = NewGrant { expires_in: Some(Duration::from_secs(3600)), ..bounded(&["lab.example"]) };
        let (key, _) = key_under(&world, grant).await;
        let client = key.register(&world).await;
        world.clock.advance(Duration::from_secs(3599));
        let (first, second) = (
            client.order(&["a.lab.example"]).await.expect(201).json(),
            client.order(&["b.lab.example"]).await.json(),
        );
        assert_eq!(finalize(&client, &first, &["a.lab.example"]).await.expect(200).json()["status"], "valid");
        world.clock.advance(Duration::from_secs(1));
        let refused = client.order(&["c.lab.example"]).await.refused(403, "unauthorized").json();
        let detail = refused["detail"].as_str().unwrap();
        assert!(refused["rule"] == "grant.expires" && detail.contains(" expired at "), "{refused}");
        assert_eq!(finalize(&client, &second, &["b.lab.example"]).await.status, 403);
        // what was issued stays good
        assert_eq!(client.get(&client.kid).await.status, 200);
    }
}

#[tokio::test]
async fn two_at_once_with_one_left_make_one_certificate() {
    for world in worlds().await {
        for _ in 0..4 {
            let (key, id) = key_under(&world, NewGrant { max_count: Some(1), ..bounded(&["lab.example"]) }).await;
            let clients = [key.register(&world).await, key.register(&world).await];
            let orders = [
                clients[0].order(&["a.lab.example"]).await.expect(201).json(),
                clients[1].order(&["b.lab.example"]).await.expect(201).json(),
            ];
            let (a, b) = tokio::join!(
                finalize(&clients[0], &orders[0], &["a.lab.example"]),
                finalize(&clients[1], &orders[1], &["b.lab.example"])
            );
            let mut statuses = [a.status, b.status];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 403], "{} {}", a.text, b.text);
            let loser = if a.status == 403 { &a } else { &b };
            let detail = loser.json()["detail"].as_str().unwrap().to_owned();
            assert_eq!(loser.json()["rule"], "grant.count");
            assert!(detail.contains("allows 1 certificate, and it was issued"), "{detail}");
            assert_eq!(access(&world).grant(id).await.unwrap().used_count, 1);
            // the loser's order is still ready, and new ones are not even begun
            let place = usize::from(b.status == 403);
            clients[place].order(&["c.lab.example"]).await.refused(403, "unauthorized");
        }
    }
}

#[tokio::test]
async fn revoking_a_grant_ends_keys_accounts_and_ready_orders() {
    for world in worlds().await {
        let (key, id) = key_under(&world, bounded(&["lab.example"])).await;
        let client = key.register(&world).await;
        let order = client.order(&["a.lab.example"]).await.expect(201).json();
        let (_, ended) = access(&world).revoke_grant(&admin(), id).await.unwrap();
        assert_eq!((ended.eab_keys, ended.accounts, ended.orders, ended.tokens), (1, 1, 1, 0));
        finalize(&client, &order, &["a.lab.example"]).await.refused(401, "unauthorized");
        client.order(&["b.lab.example"]).await.refused(401, "unauthorized");
        let fresh = super::eab::stranger(&world);
        super::eab::bind(&fresh, &key.binding(&fresh.key)).await.refused(403, "unauthorized");
    }
}

#[tokio::test]
async fn a_grant_bounds_profiles_and_issuers_too() {
    for world in worlds().await {
        let mut config = world.authority.snapshot().profile("tls-server").unwrap().config.clone();
        config.name = "other".into();
        world.authority.create_profile(&admin(), &config).await.unwrap();
        let other = || Some(vec!["other".to_owned()]);
        let (key, _) = key_under(&world, NewGrant { profiles: other(), ..bounded(&["lab.example"]) }).await;
        let refused = key.register(&world).await.order(&["a.lab.example"]).await.refused(403, "unauthorized").json();
        assert_eq!(refused["rule"], "grant.profiles");
        let root = Some(vec!["tls-root".to_owned()]);
        let (key, _) = key_under(&world, NewGrant { issuers: root, ..bounded(&["lab.example"]) }).await;
        let refused = key.register(&world).await.order(&["a.lab.example"]).await.refused(403, "unauthorized").json();
        assert_eq!(refused["rule"], "grant.issuers");
        let (key, _) = key_under(&world, NewGrant { profiles: Some(Vec::new()), ..bounded(&["lab.example"]) }).await;
        let refused = key.register(&world).await.order(&["a.lab.example"]).await.refused(403, "unauthorized").json();
        assert!(refused["detail"].as_str().unwrap().contains("it allows nothing"));
    }
}

#[tokio::test]
async fn a_grant_entitles_to_nobody_elses_certificate() {
    for world in worlds().await {
        let owner = Client::register(&world).await;
        let (_, pem, _) = owner.certificate(&["a.example.org"]).await;
        let revocation = json!({"certificate": b64(leaf_der(&pem))}).to_string();
        // the same name by grant: a valid authorization that proves nothing
        let granted = external(&world, &new_key(&["example.org"])).await.register(&world).await;
        assert_eq!(granted.order(&["a.example.org"]).await.expect(201).json()["status"], "ready");
        granted.post(&url("revoke"), &revocation).await.refused(403, "unauthorized");
        // a wildcard that was proved is another name
        let holder = Client::register(&world).await;
        holder.ready_order(&["a.example.org"]).await;
        holder.post(&url("revoke"), &revocation).await.expect(200);
    }
}
