//! Every attempt is recorded and told: what was asked, what the CA saw, what to do.

use std::sync::Arc;
use std::time::Duration;

use chancery::acme;
use chancery::clock::{days, minutes};
use chancery::model::acme::ChallengeStatus;
use chancery::model::actor::{Actor, Role};
use chancery::model::id::{AuthorizationId, ChallengeId, OrderId};
use chancery::registration::{Origin, Registration};
use chancery::store::{audit, challenges, jobs};
use chancery::validation::{ValidationConfig, Validator};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::client::{Client, b64, csr, url};
use super::world::{World, worlds};
use crate::api::room::Room;

async fn room(world: &World) -> Room {
    Room::beside(&world.store, &world.clock, world.authority.clone(), world.registration.clone()).await
}

/// What an administrator reads.
async fn read(room: &Room, path: &str) -> Value {
    let answer = room.get(&room.admin, &format!("/api/v1/acme/{path}")).await;
    assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.json());
    answer.json()
}

/// `ord_…` of an order's URL.
fn id(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

/// `what` and `mark` of each entry.
fn course(timeline: &Value) -> Vec<(&str, &str)> {
    let entries = timeline["entries"].as_array().unwrap().iter();
    entries.map(|e| (e["what"].as_str().unwrap(), e["mark"].as_str().unwrap())).collect()
}

fn told<'t>(timeline: &'t Value, what: &str) -> &'t str {
    let entries = timeline["entries"].as_array().unwrap();
    let found = entries.iter().find(|e| e["what"] == what);
    found.unwrap_or_else(|| panic!("no {what} in {timeline:#}"))["detail"].as_str().unwrap()
}

#[tokio::test]
async fn a_refused_order_is_found_by_name_and_account() {
    for world in worlds().await {
        let (room, client) = (room(&world).await, Client::register(&world).await);
        client.order(&["Localhost", "web.example.org"]).await.refused(400, "rejectedIdentifier");
        for path in ["attempts?name=localhost", "attempts?name=web.example.org", "attempts?name=web*"] {
            let found = read(&room, path).await;
            let attempt = &found["items"][0];
            assert_eq!(attempt["action"], "order.refused", "{path} {found}");
            assert_eq!(attempt["names"], json!(["localhost", "web.example.org"]));
            assert_eq!((&attempt["code"], &attempt["directory"]), (&json!("rejected_identifier"), &json!("default")));
            assert!(attempt["detail"].as_str().unwrap().contains("localhost"), "{attempt}");
            assert_eq!(attempt["account"], id(&client.kid));
        }
        let of_account = read(&room, &format!("attempts?account={}", id(&client.kid))).await;
        assert_eq!(of_account["items"].as_array().unwrap().len(), 1);
        for none in ["attempts?name=web.example.or", "attempts?name=eb.example.org", "attempts?directory=other"] {
            assert_eq!(read(&room, none).await["items"], json!([]), "{none}");
        }
        // what cannot be a name at all is found as it was written
        let odd = json!({"identifiers": [{"type": "dns", "value": "a..b"}]}).to_string();
        client.post(&url("new-order"), &odd).await.refused(400, "malformed");
        assert_eq!(read(&room, "attempts?name=a..b").await["items"][0]["code"], "malformed");
        // and nobody had an order from it
        assert_eq!(read(&room, "orders").await["items"], json!([]));
    }
}

#[tokio::test]
async fn the_same_refusal_again_is_counted_and_a_flood_is_bounded() {
    for world in worlds().await {
        let (room, client) = (room(&world).await, Client::register(&world).await);
        for _ in 0..5 {
            client.order(&["localhost"]).await.refused(400, "rejectedIdentifier");
        }
        let events = || async {
            let events = audit::page(&world.store, None, 500).await.unwrap();
            let count = |action: &str| events.iter().filter(|e| e.action == action).count();
            (count("order.refused"), count("acme.refused_again"))
        };
        assert_eq!(events().await, (1, 0));
        world.registration.write_attempts(false).await;
        assert_eq!(read(&room, "attempts").await["items"][0]["times"], 1, "the minute is not over");
        world.clock.advance(minutes(1));
        world.registration.write_attempts(false).await;
        let found = read(&room, "attempts").await;
        assert_eq!((&found["items"][0]["times"], found["items"].as_array().unwrap().len()), (&json!(5), 1));
        assert_eq!(events().await, (1, 1));
        // without end, and each time another name
        for n in 0..70 {
            client.order(&[&format!("n{n}.localhost")]).await.refused(400, "rejectedIdentifier");
        }
        assert_eq!(read(&room, "attempts?limit=500").await["items"].as_array().unwrap().len(), 1 + 60);
        world.registration.write_attempts(true).await;
        let events = audit::page(&world.store, None, 500).await.unwrap();
        let crowd = events.iter().find(|e| e.action == "acme.refused_again").unwrap();
        let crowd: Value = serde_json::from_str(&crowd.detail).unwrap();
        assert_eq!((&crowd["count"], &crowd["attempt"]), (&json!(10), &Value::Null), "{crowd}");
        // the old ones are forgotten
        world.clock.advance(days(91));
        world.registration.housekeep().await.unwrap();
        // the token of before has expired too
        let room = self::room(&world).await;
        assert_eq!(read(&room, "attempts").await["items"], json!([]));
        assert_eq!(read(&room, "attempts?name=localhost").await["items"], json!([]));
    }
}

#[tokio::test]
async fn a_failed_challenge_is_told_from_the_order_to_the_verdict() {
    for world in worlds().await {
        // within a second too, things are told in the order in which they were
        world.clock.advance(Duration::from_micros(123_456));
        let (room, client) = (room(&world).await, Client::register(&world).await);
        let made = client.order(&["web.example.org"]).await.expect(201);
        let authorization = made.json()["authorizations"][0].as_str().unwrap().to_owned();
        let challenge = client.challenge(&authorization, "http-01").await;
        assert_eq!(client.respond(&challenge, &authorization).await["status"], "invalid");
        let order = id(made.header("location")).to_owned();
        let timeline = read(&room, &format!("orders/{order}/timeline")).await;
        let course = course(&timeline);
        let words: Vec<&str> = course.iter().map(|(what, _)| *what).collect();
        assert_eq!(
            words,
            ["ordered", "offered", "answered", "resolve", "dial", "request", "response", "result"],
            "{timeline:#}"
        );
        assert_eq!(course.last().unwrap().1, "bad");
        assert!(
            told(&timeline, "ordered").contains("web.example.org") && told(&timeline, "ordered").contains("acc_")
        );
        assert!(told(&timeline, "offered").contains("http-01"));
        assert!(
            told(&timeline, "resolve").contains("127.0.0.1") && told(&timeline, "resolve").contains("DNS"),
            "{timeline:#}"
        );
        assert!(told(&timeline, "response").contains("404"));
        assert_eq!(timeline["status"], "invalid");
        let summary = timeline["summary"].as_str().unwrap();
        assert!(summary.starts_with("http-01 failed for web.example.org: 127.0.0.1 port "), "{summary}");
        assert!(summary.contains("status 404"), "{summary}");
        assert!(timeline["next"].as_str().unwrap().contains("/.well-known/acme-challenge/"), "{timeline:#}");
        let shown = read(&room, &format!("orders/{order}")).await;
        let tried = shown["authorizations"][0]["challenges"].as_array().unwrap();
        assert!(tried.iter().any(|c| c["type"] == "http-01" && c["error"]["detail"].as_str().is_some()), "{shown}");
    }
}

#[tokio::test]
async fn a_certificate_is_told_to_its_download() {
    for world in worlds().await {
        let (room, client) = (room(&world).await, Client::register(&world).await);
        let (certificate, _, _) = client.certificate(&["web.example.org"]).await;
        let orders = read(&room, "orders?name=web.example.org").await;
        let order = &orders["items"][0];
        assert_eq!(order["status"], "valid");
        let path = format!("orders/{}", order["id"].as_str().unwrap());
        let shown = read(&room, &path).await;
        let timeline = read(&room, &format!("{path}/timeline")).await;
        let words: Vec<_> = course(&timeline);
        assert_eq!(
            words[words.len() - 4..],
            [("ready", "good"), ("intended", "plain"), ("issued", "good"), ("downloaded", "good")]
        );
        let summary = timeline["summary"].as_str().unwrap();
        assert!(summary.contains(shown["certificate"]["serial"].as_str().unwrap()), "{summary}");
        assert_eq!(timeline["next"], Value::Null);
        // once more, before and after it is written
        client.get(&certificate).await.expect(200);
        let twice = |timeline: &Value| assert!(told(timeline, "downloaded").contains("2 times"), "{timeline:#}");
        twice(&read(&room, &format!("{path}/timeline")).await);
        world.registration.write_attempts(false).await;
        twice(&read(&room, &format!("{path}/timeline")).await);
        client.get(&certificate).await.expect(200);
        world.registration.write_attempts(false).await;
        assert!(told(&read(&room, &format!("{path}/timeline")).await, "downloaded").contains("3 times"));
    }
}

#[tokio::test]
async fn a_refused_finalize_stands_in_the_timeline() {
    for world in worlds().await {
        let (room, client) = (room(&world).await, Client::register(&world).await);
        let (order, shown) = client.ready_order(&["web.example.org"]).await;
        let finalize = shown["finalize"].as_str().unwrap();
        let (wrong, _) = csr(&["other.example.org"]);
        for _ in 0..2 {
            client.post(finalize, &json!({"csr": b64(&wrong)}).to_string()).await.refused(400, "badCSR");
        }
        let timeline = read(&room, &format!("orders/{}/timeline", id(&order))).await;
        assert_eq!(course(&timeline).last().unwrap(), &("finalize", "bad"), "{timeline:#}");
        assert_eq!(timeline["status"], "ready");
        assert!(timeline["summary"].as_str().unwrap().contains("other.example.org"), "{timeline:#}");
        assert!(timeline["next"].as_str().unwrap().contains("make the CSR for these names"), "{timeline:#}");
        let found = read(&room, "attempts?name=web.example.org").await;
        assert_eq!(
            (&found["items"][0]["action"], &found["items"][0]["order"]),
            (&json!("order.finalize_refused"), &json!(id(&order)))
        );
        world.registration.write_attempts(true).await;
        let timeline = read(&room, &format!("orders/{}/timeline", id(&order))).await;
        assert!(told(&timeline, "finalize").contains("2 times"), "{timeline:#}");
    }
}

/// Somebody ended an account, and its client goes on: the name leads to the reason.
#[tokio::test]
async fn what_an_ended_account_asks_for_is_found_by_its_name() {
    for world in worlds().await {
        let (room, client) = (room(&world).await, Client::register(&world).await);
        client.post(&client.kid, r#"{"status":"deactivated"}"#).await.expect(200);
        for _ in 0..3 {
            client.order(&["web.example.org"]).await.refused(401, "unauthorized");
        }
        world.registration.write_attempts(true).await;
        let found = read(&room, "attempts?name=web.example.org").await;
        let [only] = &found["items"].as_array().unwrap()[..] else { panic!("{found:#}") };
        assert_eq!((&only["action"], &only["times"]), (&json!("order.refused"), &json!(3)), "{found:#}");
        assert_eq!(only["account"], id(&client.kid));
        assert!(only["detail"].as_str().unwrap().contains("deactivated"), "{found:#}");
        // what is no order is refused all the same
        client.post(&url("new-order"), r#"{"identifiers":7}"#).await.refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn an_order_that_ended_otherwise_says_why() {
    for world in worlds().await {
        let (room, client) = (room(&world).await, Client::register(&world).await);
        let made = client.order(&["a.example.org"]).await.expect(201);
        let path = format!("orders/{}/timeline", id(made.header("location")));
        let waiting = read(&room, &path).await;
        assert!(waiting["summary"].as_str().unwrap().contains("has not yet asked"), "{waiting:#}");
        let deactivated = client.order(&["b.example.org"]).await.expect(201);
        let authorization = deactivated.json()["authorizations"][0].as_str().unwrap().to_owned();
        world.clock.advance(minutes(1));
        client.post(&authorization, r#"{"status":"deactivated"}"#).await.expect(200);
        let told_of = read(&room, &format!("orders/{}/timeline", id(deactivated.header("location")))).await;
        assert!(told(&told_of, "ended").contains("deactivated by its account"), "{told_of:#}");
        let account = format!("/api/v1/acme/accounts/{}/revocation", id(&client.kid));
        let ended = room.post(&room.admin, &account, &json!({"reason": "host is gone"})).await;
        assert_eq!((ended.status.as_u16(), &ended.json()["status"]), (201, &json!("revoked")));
        let told_of = read(&room, &path).await;
        assert!(told(&told_of, "ended").contains("by an operator: host is gone"), "{told_of:#}");
        client.get(&client.kid).await.refused(401, "unauthorized");

        let other = Client::register(&world).await;
        let made = other.order(&["c.example.org"]).await.expect(201);
        world.clock.advance(days(8));
        let told_of = read(&room, &format!("orders/{}/timeline", id(made.header("location")))).await;
        assert!(told_of["summary"].as_str().unwrap().contains("ran out"), "{told_of:#}");
        assert_eq!(told_of["status"], "invalid");
    }
}

#[tokio::test]
async fn orders_are_found_by_what_they_ask_for() {
    for world in worlds().await {
        let (room, one, two) = (room(&world).await, Client::register(&world).await, Client::register(&world).await);
        let first = one.order(&["web.example.org", "*.web.example.org"]).await.expect(201);
        world.clock.advance(minutes(1));
        let second = two.order(&["web2.example.org"]).await.expect(201);
        let (first, second) = (id(first.header("location")).to_owned(), id(second.header("location")).to_owned());
        let since = world.now().to_string();
        let ids = |page: Value| -> Vec<String> {
            page["items"].as_array().unwrap().iter().map(|o| o["id"].as_str().unwrap().to_owned()).collect()
        };
        for (query, expected) in [
            ("name=web.example.org", vec![&first]),
            ("name=*.web.example.org", vec![&first]),
            ("name=WEB.example.org.", vec![&first]),
            ("name=web*", vec![&second, &first]),
            ("name=*.web*", vec![&first]),
            ("name=example.org", vec![]),
            ("name=eb.example.org", vec![]),
            (&format!("account={}", id(&two.kid)), vec![&second]),
            (&format!("account={}&name=web.example.org", id(&two.kid)), vec![]),
            ("status=pending", vec![&second, &first]),
            ("status=invalid", vec![]),
            ("directory=default&limit=1", vec![&second]),
            ("directory=other", vec![]),
            (&format!("since={since}"), vec![&second]),
            ("since=2000-01-01", vec![&second, &first]),
        ] {
            let found = ids(read(&room, &format!("orders?{query}")).await);
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query}");
        }
        let page = read(&room, "orders?limit=1").await;
        let next = page["next_cursor"].as_str().unwrap();
        assert_eq!(ids(read(&room, &format!("orders?limit=1&cursor={next}")).await), std::slice::from_ref(&first));
        world.clock.advance(days(8));
        assert_eq!(ids(read(&room, "orders?status=invalid").await), [second, first], "as it is shown");
        for wrong in ["status=done", "name=", "account=x", "since=yesterday", "nonsense=1", "limit=0", "cursor=x"] {
            let answer = room.get(&room.admin, &format!("/api/v1/acme/orders?{wrong}")).await;
            assert!(matches!(answer.status.as_u16(), 400 | 404 | 422), "{wrong}: {}", answer.status);
        }
    }
}

#[tokio::test]
async fn an_order_by_subdomains_is_found_by_its_own_name() {
    for world in worlds().await {
        let room = room(&world).await;
        let config = chancery::registration::DirectoryConfig {
            subdomains: true,
            ..world.registration.directory("default").unwrap().config
        };
        world.registration.change_directory(&Actor::system("test"), "default", config).await.unwrap();
        let client = Client::register(&world).await;
        let identifiers = json!([{"type": "dns", "value": "deep.a.example.org", "ancestorDomain": "example.org"}]);
        let made = client.post(&url("new-order"), &json!({"identifiers": identifiers}).to_string()).await.expect(201);
        let found = read(&room, "orders?name=deep.a.example.org").await;
        assert_eq!(found["items"][0]["id"], id(made.header("location")), "{found}");
        assert_eq!(read(&room, "orders?name=example.org").await["items"], json!([]));
    }
}

#[tokio::test]
async fn accounts_are_listed_and_ended_by_whoever_may() {
    for world in worlds().await {
        let (room, client) = (room(&world).await, Client::register(&world).await);
        client.post(&client.kid, r#"{"contact":["mailto:Ops@Lab.example"]}"#).await.expect(200);
        let account = id(&client.kid);
        for query in [
            "",
            "?q=lab.ex",
            "?q=ops",
            "?directory=default&status=valid",
            &format!("?thumbprint={}", client.key.thumbprint()),
        ] {
            let found = read(&room, &format!("accounts{query}")).await;
            assert_eq!(found["items"][0]["id"], account, "{query} {found}");
        }
        let shown = read(&room, &format!("accounts/{account}")).await;
        assert_eq!((&shown["key_type"], &shown["url"]), (&json!("EC P-256"), &json!(client.kid)));
        assert_eq!(shown["key_thumbprint"], client.key.thumbprint());
        for none in ["?q=nobody", "?status=revoked", "?directory=x", "?grant=grt_01KB45CZRMS1RG67EMDAZD52BD"] {
            assert_eq!(read(&room, &format!("accounts{none}")).await["items"], json!([]), "{none}");
        }
        let (path, end) = (format!("/api/v1/acme/accounts/{account}"), json!({"reason": "test"}));
        let revocation = format!("{path}/revocation");
        for (role, reads, ends) in [
            (Role::Viewer, 200, 403),
            (Role::Auditor, 200, 403),
            (Role::Requester, 403, 403),
            (Role::Operator, 200, 422),
            (Role::Admin, 200, 422),
        ] {
            let token = room.token(role, Some(&["*"]), None).await;
            let free = match role {
                Role::Requester => token.clone(),
                _ => room.token(role, None, None).await,
            };
            for list in ["accounts", "attempts", "orders"] {
                let status = room.get(&free, &format!("/api/v1/acme/{list}")).await.status.as_u16();
                assert_eq!(status, reads, "{role:?} {list}");
            }
            // whoever may passes to the rule over reasons; a grant bounds it away
            assert_eq!(
                room.post(&free, &revocation, &json!({"reason": " "})).await.status.as_u16(),
                ends,
                "{role:?}"
            );
            assert_eq!(room.get(&token, "/api/v1/acme/attempts").await.refusal().0, 403, "{role:?} with a grant");
            assert_eq!(room.post(&token, &revocation, &end).await.refusal().0, 403, "{role:?} with a grant");
        }
        assert_eq!(room.post("chy_none", &revocation, &end).await.refusal().0, 401);
        assert_eq!(room.post(&room.admin, &revocation, &end).await.status.as_u16(), 201);
        assert_eq!(room.post(&room.admin, &revocation, &end).await.refusal(), (409, "conflict".into()));
        let none = format!("/api/v1/acme/accounts/{}/revocation", "acc_01KB45CZRMS1RG67EMDAZD52BD");
        assert_eq!(room.post(&room.admin, &none, &end).await.refusal().0, 404);
        let events = audit::of_object(&world.store, &format!("account:{account}"), 100).await.unwrap();
        assert!(events.iter().any(|e| e.action == "account.revoked" && e.detail.contains("test")));
        assert!(events.iter().any(|e| e.action == "account.revocation_refused"));
    }
}

#[tokio::test]
async fn a_token_with_a_grant_sees_the_orders_within_it() {
    for world in worlds().await {
        let (room, client) = (room(&world).await, Client::register(&world).await);
        let inside = client.order(&["a.lab.example"]).await.expect(201);
        let outside = client.order(&["a.other.example"]).await.expect(201);
        let token = room.token(Role::Operator, Some(&["lab.example"]), None).await;
        let list = room.get(&token, "/api/v1/acme/orders").await.json();
        assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
        for (order, status) in [(&inside, 200), (&outside, 404)] {
            for end in ["", "/timeline"] {
                let path = format!("/api/v1/acme/orders/{}{end}", id(order.header("location")));
                assert_eq!(room.get(&token, &path).await.status.as_u16(), status, "{path}");
            }
        }
    }
}

/// RFC 8555 §8.2 and Z5: a validation that is run again keeps what it saw before, for operators and for the client.
#[tokio::test]
async fn a_validation_that_runs_again_keeps_the_tries_before_it() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (taken, free) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, wait) = (taken.clone(), free.clone());
        let served = tokio::spawn(async move {
            let (held, _) = listener.accept().await.unwrap();
            tell.notify_one();
            wait.notified().await;
            drop(held);
            while let Ok((mut next, _)) = listener.accept().await {
                drop(next.read(&mut [0; 64]).await);
            }
        });
        let mut config = ValidationConfig {
            http01_port: port,
            allow_loopback: true,
            resolvers: vec![world.dns.address],
            ..ValidationConfig::default()
        };
        config.concurrency.global = 1;
        config.timeouts.queue = Duration::from_millis(50);
        let validator = Validator::new(config, Vec::new(), Arc::new(world.clock.clone())).unwrap();
        let registration =
            Registration::open(world.authority.clone(), Arc::new(validator), acme::describe).await.unwrap();
        let account = id(&client.kid).parse().unwrap();
        let account = registration.account("default", account).await.unwrap().unwrap();
        let mut asked = Vec::new();
        for name in ["first.example.org", "second.example.org"] {
            let made = client.order(&[name]).await.expect(201);
            let authorization = made.json()["authorizations"][0].as_str().unwrap().to_owned();
            let challenge = client.challenge(&authorization, "http-01").await;
            let challenge: ChallengeId = id(challenge["url"].as_str().unwrap()).parse().unwrap();
            registration.respond(&Origin::default(), &account, challenge).await.unwrap();
            if name == "first.example.org" {
                taken.notified().await;
            }
            let order: OrderId = id(made.header("location")).parse().unwrap();
            let authorization: AuthorizationId = id(&authorization).parse().unwrap();
            asked.push((order, authorization, challenge));
        }
        let (order, authorization, challenge) = asked[1];
        let busy = async {
            loop {
                let found = challenges::find(&world.store, challenge).await.unwrap().unwrap();
                if found.error.is_some() {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        };
        let waiting = tokio::time::timeout(Duration::from_secs(60), busy).await.expect("the first try ends");
        assert_eq!(waiting.status, ChallengeStatus::Processing, "a fault of ours is tried again");
        let shown = client.get(&super::client::url(&format!("challenge/{challenge}"))).await.expect(200).json();
        assert!(shown["error"]["detail"].is_string(), "the client learns of it meanwhile: {shown}");
        free.notify_one();
        let first = async {
            while challenges::find(&world.store, asked[0].2).await.unwrap().unwrap().status
                == ChallengeStatus::Processing
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), first).await.expect("the place comes free");
        world.clock.advance(Duration::from_secs(5));
        let mut tx = world.store.begin(&Actor::job("test")).await.unwrap();
        let claimed = jobs::claim(&mut tx, world.now() + minutes(2), 10).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!((claimed.len(), claimed[0].attempts), (1, 2));
        registration.validate(&claimed[0]).await.unwrap();
        let ended = challenges::find(&world.store, challenge).await.unwrap().unwrap();
        let error = ended.error.unwrap();
        assert_eq!(ended.status, ChallengeStatus::Invalid);
        assert_eq!(error["type"], "urn:ietf:params:acme:error:connection");
        assert_eq!(error["subproblems"].as_array().unwrap().len(), 1, "{error}");
        assert_eq!(challenges::timelines(&world.store, authorization).await.unwrap().len(), 1);
        let timeline = registration.timeline(order).await.unwrap().unwrap();
        let words: Vec<&str> = timeline.entries.iter().map(|entry| entry.what).collect();
        assert_eq!(
            words,
            ["ordered", "offered", "answered", "result", "retry", "resolve", "dial", "request", "result"]
        );
        assert!(timeline.entries[3].detail.contains("too many validations"), "{timeline:#?}");
        served.abort();
    }
}
