//! The validator run now for a name, without a client: what it says, what it refuses, and that nothing comes of it.

use chancery::clock::minutes;
use chancery::model::actor::Role;
use chancery::model::identifier::DnsName;
use chancery::registration::DirectoryConfig;
use chancery::store::{audit, engine::q};
use chancery::validation::CaaMode;
use serde_json::{Value, json};

use super::client::{Client, url};
use super::eab::admin;
use super::world::{World, Zone, worlds};
use crate::api::room::{Answer, Room};
use crate::support::ports::Refusing;
use crate::support::stores::plain;

const TESTS: &str = "/api/v1/acme/challenge-tests";

async fn room(world: &World) -> Room {
    Room::beside(&world.store, &world.clock, world.authority.clone(), world.registration.clone()).await
}

async fn test(room: &Room, ask: Value) -> Answer {
    room.post(&room.admin, TESTS, &ask).await
}

async fn told(room: &Room, ask: Value) -> Value {
    let answer = test(room, ask.clone()).await;
    assert_eq!(answer.status.as_u16(), 200, "{ask}: {}", answer.json());
    answer.json()
}

fn id(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

fn course(told: &Value) -> Vec<&str> {
    told["entries"].as_array().unwrap().iter().map(|e| e["what"].as_str().unwrap()).collect()
}

async fn offer(world: &World, config: DirectoryConfig) {
    world.registration.change_directory(&admin(), "default", config).await.unwrap();
}

async fn rows(world: &World, table: &'static str) -> i64 {
    let sql = match table {
        "orders" => plain("SELECT COUNT(*) AS n FROM acme_orders"),
        _ => plain("SELECT COUNT(*) AS n FROM acme_authorizations"),
    };
    q(sql).fetch_one(&world.store.db).await.unwrap().get("n").unwrap()
}

#[tokio::test]
async fn without_an_order_the_way_to_a_name_is_tried() {
    for world in worlds().await {
        let room = room(&world).await;
        let open = told(&room, json!({"name": "web.example.org", "type": "http-01"})).await;
        assert_eq!(course(&open), ["resolve", "dial", "request", "response", "result"], "{open:#}");
        assert_eq!((&open["verdict"], &open["directory"]), (&json!("open"), &json!("default")));
        let summary = open["summary"].as_str().unwrap();
        assert!(summary.contains("127.0.0.1 port ") && summary.contains("status 404"), "{summary}");
        let resolve = open["entries"][0]["detail"].as_str().unwrap();
        assert!(resolve.contains(&format!("(DNS 127.0.0.1 port {})", world.dns.address.port())), "{resolve}");

        // a place that nobody answers at
        let nobody = Refusing::on_loopback();
        let other = DirectoryConfig { http01_port: Some(nobody.address.port()), ..DirectoryConfig::default() };
        world.registration.create_directory(&admin(), "other", other).await.unwrap();
        let failed = told(&room, json!({"name": "web.example.org", "type": "http-01", "directory": "other"})).await;
        assert_eq!(failed["verdict"], "failed");
        assert!(failed["summary"].as_str().unwrap().contains("refused the connection"), "{failed:#}");
        assert!(failed["next"].as_str().unwrap().ends_with("then test again"), "{failed:#}");

        // a name that DNS does not know
        world.zone.lock().unwrap().insert("gone.example.org".into(), Zone::Code(3));
        let failed = told(&room, json!({"name": "gone.example.org", "type": "http-01"})).await;
        assert_eq!((&failed["verdict"], course(&failed)), (&json!("failed"), vec!["resolve", "result"]));

        // dns-01 asks for records that are not there yet: below a name that DNS knows they can be added
        let open = told(&room, json!({"name": "new.example.org", "type": "dns-01"})).await;
        assert_eq!(
            (&open["verdict"], course(&open)),
            (&json!("open"), vec!["resolve", "result", "resolve", "result"])
        );
        for gone in ["nowhere.lan", "lan", "typo.nowhere.lan"] {
            world.zone.lock().unwrap().insert(gone.into(), Zone::Code(3));
        }
        let failed = told(&room, json!({"name": "typo.nowhere.lan", "type": "dns-01"})).await;
        assert_eq!(failed["verdict"], "failed", "{failed:#}");
        assert!(failed["summary"].as_str().unwrap().contains("NXDOMAIN"), "{failed:#}");

        // records are shown
        world
            .zone
            .lock()
            .unwrap()
            .insert("_acme-challenge.example.org".into(), Zone::Texts(vec!["x".repeat(43), "a secret".into()]));
        let open = told(&room, json!({"name": "*.example.org", "type": "dns-01"})).await;
        assert_eq!((&open["verdict"], &open["name"]), (&json!("open"), &json!("*.example.org")));
        let seen = format!(": \"{}\", 1 of another shape", "x".repeat(43));
        assert!(open["entries"][0]["detail"].as_str().unwrap().ends_with(&seen), "{open:#}");
        assert!(!open.to_string().contains("a secret"), "{open:#}");

        // nothing came of all this but what the audit says
        assert_eq!((rows(&world, "orders").await, rows(&world, "authorizations").await), (0, 0));
        let events = audit::page(&world.store, None, 500).await.unwrap();
        let tested: Vec<_> = events.iter().filter(|e| e.action == "challenge.tested").collect();
        assert_eq!(tested.len(), 6);
        assert!(tested[0].actor.starts_with("token:"), "{:?}", tested[0]);
    }
}

#[tokio::test]
async fn an_order_is_tried_with_its_own_token_and_stays_as_it_is() {
    for world in worlds().await {
        let (room, client) = (room(&world).await, Client::register(&world).await);
        let made = client.order(&["web.example.org"]).await.expect(201);
        let order = made.header("location").rsplit('/').next().unwrap().to_owned();
        let authorization = made.json()["authorizations"][0].as_str().unwrap().to_owned();
        let ask = json!({"type": "http-01", "order": order});
        let failed = told(&room, ask.clone()).await;
        assert_eq!((&failed["verdict"], &failed["name"]), (&json!("failed"), &json!("web.example.org")));
        let challenge = client.challenge(&authorization, "http-01").await;
        let token = challenge["token"].as_str().unwrap().to_owned();
        let answer = format!("{token}.{}", client.key.thumbprint());
        world.tokens.lock().unwrap().insert(token, answer);
        let proved = told(&room, ask).await;
        assert_eq!(proved["verdict"], "proved", "{proved:#}");
        assert_eq!(proved["next"], Value::Null);
        assert_eq!(client.get(&authorization).await.json()["status"], "pending", "a test proves nothing");
        assert_eq!(client.get(made.header("location")).await.json()["status"], "pending");
        // what the order does not have
        for (ask, rule) in [
            (json!({"type": "http-01", "order": order, "name": "other.example.org"}), "challenge_tests.order"),
            (json!({"type": "http-01", "order": order, "directory": "elsewhere"}), "challenge_tests.directory"),
            (json!({"type": "http-01", "order": order, "account": id(&client.kid)}), "challenge_tests.account"),
        ] {
            let answer = test(&room, ask).await;
            assert_eq!((answer.refusal().0, &answer.json()["rule"]), (422, &json!(rule)));
        }
        let none = "ord_00000000000000000000000000";
        for missing in [none, "x", ""] {
            assert_eq!(test(&room, json!({"type": "http-01", "order": missing})).await.refusal().0, 404, "{missing}");
        }
    }
}

#[tokio::test]
async fn a_record_that_stays_is_looked_for_in_the_name_of_an_account() {
    for world in worlds().await {
        let (room, client) = (room(&world).await, Client::register(&world).await);
        let config = DirectoryConfig {
            challenges: vec!["dns-account-01".into(), "dns-persist-01".into()],
            caa_identities: vec![DnsName::parse("ca.example").unwrap()],
            ..DirectoryConfig::default()
        };
        offer(&world, config).await;
        let account = client.kid.rsplit('/').next().unwrap();
        let ask = |kind: &str| json!({"name": "example.org", "type": kind, "account": account});
        for kind in ["dns-account-01", "dns-persist-01"] {
            let answer = test(&room, json!({"name": "example.org", "type": kind})).await;
            assert_eq!((answer.refusal().0, &answer.json()["rule"]), (422, &json!("challenge_tests.account")));
        }
        assert_eq!(told(&room, ask("dns-account-01")).await["verdict"], "open");
        let failed = told(&room, ask("dns-persist-01")).await;
        assert_eq!(failed["verdict"], "failed", "this record should stand there already");
        let text = format!("ca.example; accounturi={}", client.kid);
        world.zone.lock().unwrap().insert("_validation-persist.example.org".into(), Zone::Texts(vec![text]));
        assert_eq!(told(&room, ask("dns-persist-01")).await["verdict"], "proved");
        let nobody = "acc_00000000000000000000000000";
        let answer = test(&room, json!({"name": "example.org", "type": "dns-persist-01", "account": nobody})).await;
        assert_eq!(answer.refusal().0, 404);
    }
}

#[tokio::test]
async fn caa_is_looked_up_where_an_order_would_meet_it() {
    for world in worlds().await {
        let room = room(&world).await;
        let identity = DnsName::parse("ca.example").unwrap();
        let config =
            |caa| DirectoryConfig { caa, caa_identities: vec![identity.clone()], ..DirectoryConfig::default() };
        let denied = Zone::Caa(vec![(0, "issue".into(), "other-ca.example".into())]);
        world.zone.lock().unwrap().insert("web.example.org".into(), denied);
        let ask = json!({"name": "web.example.org", "type": "http-01"});
        offer(&world, config(CaaMode::Enforce)).await;
        let failed = told(&room, ask.clone()).await;
        assert_eq!(failed["verdict"], "failed", "{failed:#}");
        assert!(failed["summary"].as_str().unwrap().contains("CAA"), "{failed:#}");
        offer(&world, config(CaaMode::Log)).await;
        let open = told(&room, ask).await;
        assert_eq!(open["verdict"], "open", "{open:#}");
        assert!(course(&open).contains(&"caa"), "{open:#}");
    }
}

#[tokio::test]
async fn what_no_order_could_have_is_refused_in_the_same_words() {
    for world in worlds().await {
        let room = room(&world).await;
        offer(&world, DirectoryConfig { challenges: vec!["http-01".into()], ..DirectoryConfig::default() }).await;
        for (ask, status) in [
            (json!({"name": "web.example.org", "type": "dns-01"}), 422),
            (json!({"name": "localhost", "type": "http-01"}), 403),
            (json!({"name": "web.example.org", "type": "smtp-01"}), 422),
            (json!({"name": "web.example.org", "type": ""}), 422),
            (json!({"name": "*.example.org", "type": "http-01"}), 403),
            (json!({"type": "http-01"}), 422),
            (json!({"name": "a@example.org", "type": "http-01"}), 422),
            (json!({"name": "web.example.org", "type": "http-01", "directory": "nowhere"}), 404),
            (json!({"name": "web.example.org", "type": "http-01", "account": "x"}), 404),
            (json!({"name": "a..b", "type": "http-01"}), 400),
            (json!({"name": "", "type": "http-01"}), 400),
            (json!({"name": "x".repeat(2_000), "type": "http-01"}), 400),
            (json!({"name": 7, "type": "http-01"}), 400),
            (json!({"name": "web.example.org"}), 400),
            (json!({"name": "web.example.org", "type": "http-01", "port": 22}), 400),
            (json!([]), 400),
        ] {
            let answer = test(&room, ask.clone()).await;
            let (seen, _) = answer.refusal();
            assert!(seen == status || (status == 400 && seen == 422), "{ask}: {}", answer.json());
        }
        let events = audit::page(&world.store, None, 500).await.unwrap();
        let refused = events.iter().find(|e| e.action == "challenge.test_refused").expect("refusals are told");
        assert!(refused.actor.starts_with("token:"), "{refused:?}");
        // loopback is allowed in this world alone; what the guard denies is denied here too
        let guarded =
            DirectoryConfig { deny_networks: vec!["127.0.0.0/8".parse().unwrap()], ..DirectoryConfig::default() };
        offer(&world, guarded).await;
        let failed = told(&room, json!({"name": "web.example.org", "type": "http-01"})).await;
        assert_eq!((&failed["verdict"], course(&failed)), (&json!("failed"), vec!["resolve", "deny", "result"]));
    }
}

#[tokio::test]
async fn only_operators_may_and_not_without_end() {
    for world in worlds().await {
        let room = room(&world).await;
        let ask = json!({"name": "web.example.org", "type": "http-01"});
        for role in [Role::Viewer, Role::Auditor, Role::Requester] {
            let names: Option<&[&str]> = (role == Role::Requester).then_some(&["lab.example"]);
            let token = room.token(role, names, None).await;
            assert_eq!(room.post(&token, TESTS, &ask).await.refusal().0, 403, "{role:?}");
        }
        let scoped = room.token(Role::Operator, Some(&["lab.example"]), None).await;
        assert_eq!(room.post(&scoped, TESTS, &ask).await.refusal().0, 403);
        assert_eq!(room.post("", TESTS, &ask).await.refusal().0, 401);
        let operator = room.token(Role::Operator, None, None).await;
        for n in 0..30 {
            let answer = room.post(&operator, TESTS, &ask).await;
            assert_eq!(answer.status.as_u16(), 200, "{n}: {}", answer.json());
        }
        let answer = room.post(&operator, TESTS, &ask).await;
        assert_eq!(answer.refusal(), (429, "rate_limited".into()));
        assert_eq!(answer.json()["rule"], "challenge_tests.rate");
        assert_eq!(answer.headers["retry-after"], "20");
        assert_eq!(test(&room, ask.clone()).await.status.as_u16(), 200, "another's tests are another's");
        world.clock.advance(minutes(1));
        assert_eq!(room.post(&operator, TESTS, &ask).await.status.as_u16(), 200);
    }
}

#[tokio::test]
async fn a_proof_for_all_names_below_is_tried_as_the_order_needs_it() {
    for world in worlds().await {
        let (room, client) = (room(&world).await, Client::register(&world).await);
        let config = DirectoryConfig {
            challenges: vec!["dns-persist-01".into()],
            caa_identities: vec![DnsName::parse("ca.example").unwrap()],
            subdomains: true,
            ..DirectoryConfig::default()
        };
        offer(&world, config).await;
        let asked =
            json!({"identifiers": [{"type": "dns", "value": "a.b.example.org", "ancestorDomain": "example.org"}]});
        let made = client.post(&url("new-order"), &asked.to_string()).await.expect(201);
        let ask = json!({"type": "dns-persist-01", "order": id(made.header("location"))});
        let record = |policy: &str| Zone::Texts(vec![format!("ca.example; accounturi={}{policy}", client.kid)]);
        let put =
            |policy| world.zone.lock().unwrap().insert("_validation-persist.example.org".into(), record(policy));
        put("");
        let failed = told(&room, ask.clone()).await;
        assert_eq!((&failed["verdict"], &failed["name"]), (&json!("failed"), &json!("example.org")), "{failed:#}");
        put("; policy=wildcard");
        assert_eq!(told(&room, ask).await["verdict"], "proved");
    }
}
