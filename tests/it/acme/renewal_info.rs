//! Renewal information (RFC 9773 §4; AR1–AR4, AR6, AR7), and windows that operators move.

use chancery::authority::renewal::{MAX_CERTIFICATES, MoveRenewals};
use chancery::clock::{Timestamp, days, hours, minutes};
use chancery::error::ErrorKind;
use chancery::model::reason::RevocationReason;
use chancery::model::renewal::RenewalFilter;
use serde_json::json;

use super::client::{Client, Reply, b64, csr, leaf_der, raw, url};
use super::eab::admin;
use super::replaces::renewal_id;
use super::world::{World, worlds};

async fn get(world: &World, id: &str) -> Reply {
    raw(world, "GET", &url(&format!("renewal-info/{id}")), "", Vec::new()).await
}

/// (start, end) of an answer that is as the RFC wants it.
async fn window(world: &World, pem: &str) -> (Timestamp, Timestamp) {
    let reply = get(world, &renewal_id(pem)).await.expect(200);
    assert_eq!(reply.header("content-type"), "application/json");
    assert!(reply.header("retry-after").parse::<u64>().is_ok_and(|secs| (1..=21_600).contains(&secs)));
    assert!(reply.header("cache-control").starts_with("public, max-age="), "{}", reply.header("cache-control"));
    let body = reply.json();
    let at = |end: &str| Timestamp::parse_rfc3339(body["suggestedWindow"][end].as_str().unwrap()).unwrap();
    assert!(at("start") < at("end"), "{body}");
    (at("start"), at("end"))
}

/// When it ends, read by OpenSSL.
fn not_after(pem: &str) -> Timestamp {
    let leaf = openssl::x509::X509::from_der(&leaf_der(pem)).unwrap();
    let epoch = openssl::asn1::Asn1Time::from_unix(0).unwrap();
    let since = epoch.diff(leaf.not_after()).unwrap();
    Timestamp::from_secs(i64::from(since.days) * 86_400 + i64::from(since.secs))
}

#[tokio::test]
async fn ar1_ar7_anybody_may_ask_when_a_certificate_should_be_renewed() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, pem, _) = client.certificate(&["a.example.org"]).await;
        let base = client.get(&url("directory")).await.json()["renewalInfo"].as_str().unwrap().to_owned();
        assert_eq!(base, url("renewal-info"), "without a slash at its end");
        let reply = raw(&world, "GET", &format!("{base}/{}", renewal_id(&pem)), "", Vec::new()).await.expect(200);
        assert_eq!(reply.json().as_object().unwrap().len(), 1, "nothing to explain: {}", reply.text);
        let head = raw(&world, "HEAD", &format!("{base}/{}", renewal_id(&pem)), "", Vec::new()).await.expect(200);
        assert!(head.text.is_empty() && !head.header("retry-after").is_empty());
        client.get(&format!("{base}/{}", renewal_id(&pem))).await.refused(405, "malformed");

        let (start, end) = window(&world, &pem).await;
        let until = not_after(&pem);
        let left = until.since(start).as_secs_f64() / until.since(world.now()).as_secs_f64();
        assert!((0.32..0.35).contains(&left), "a third of the life is left: {left}");
        assert!(world.now() < start && end < until);
        // the same whenever and as often as one asks
        world.clock.advance(days(70));
        assert_eq!(window(&world, &pem).await, (start, end));
    }
}

#[tokio::test]
async fn ar3_what_names_no_certificate_is_refused() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _here = metrics::set_default_local_recorder(&recorder);
    let handle = recorder.handle();
    let statements = || {
        let text = handle.render();
        let line = text.lines().find(|l| l.starts_with("chancery_db_statements_total"));
        line.map_or(0, |l| l.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
    };
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, pem, _) = client.certificate(&["a.example.org"]).await;
        let id = renewal_id(&pem);
        let (key_id, serial) = id.split_once('.').unwrap();
        for bad in [
            format!("{id}="),
            format!("{key_id}=.{serial}"),
            serial.to_owned(),
            format!("{id}.{serial}"),
            format!("{key_id}."),
            format!(".{serial}"),
            format!("{key_id}.AAAA"),
            "%00.%00".to_owned(),
        ] {
            let reply = get(&world, &bad).await;
            assert_eq!((reply.status, reply.problem().as_str()), (400, "malformed"), "{bad}");
            assert_eq!(reply.header("cache-control"), "no-store");
        }
        let stranger = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE";
        for unknown in [format!("{key_id}.{}", b64([0x41; 20])), stranger.to_owned()] {
            let reply = get(&world, &unknown).await;
            assert_eq!((reply.status, reply.problem().as_str()), (404, "malformed"), "{unknown}");
        }
        for path in ["renewal-info", "renewal-info/"] {
            assert_eq!(raw(&world, "GET", &url(path), "", Vec::new()).await.status, 404);
        }
        let elsewhere = url(&format!("renewal-info/{id}")).replace("/default/", "/nowhere/");
        assert_eq!(raw(&world, "GET", &elsewhere, "", Vec::new()).await.status, 404);

        // every client polls: one look-up each, and none for what cannot be ours
        let before = statements();
        get(&world, &id).await.expect(200);
        assert_eq!(statements() - before, 1);
        assert_eq!(get(&world, stranger).await.status, 404);
        assert_eq!(statements() - before, 1);
    }
}

#[tokio::test]
async fn ar4_a_revoked_certificate_was_to_be_renewed_before() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, pem, _) = client.certificate(&["a.example.org"]).await;
        let payload = json!({"certificate": b64(leaf_der(&pem)), "reason": 4}).to_string();
        client.post(&url("revoke"), &payload).await.expect(200);
        let (start, end) = window(&world, &pem).await;
        assert!(end < world.now());
        // an operator does not move it into the future again
        let rule = MoveRenewals { start: Some(world.now() + days(5)), ..by_issuer("later") };
        world.authority.move_renewals(&admin(), rule).await.unwrap();
        assert_eq!(window(&world, &pem).await, (start, end));
    }
}

/// A profile like tls-server with this lifetime, offered besides it.
async fn profile(world: &World, name: &str, life: &str, backdate: &str) {
    let mut config = world.authority.snapshot().profile("tls-server").unwrap().config.clone();
    config.name = name.into();
    config.lifetime.default = life.into();
    config.lifetime.backdate = backdate.into();
    world.authority.create_profile(&admin(), &config).await.unwrap();
    let mut offered = world.registration.directory("default").unwrap().config;
    offered.profiles.push(name.into());
    world.registration.change_directory(&admin(), "default", offered).await.unwrap();
}

async fn certificate_of(client: &Client<'_>, profile: &str, name: &str) -> String {
    let ask = json!({"identifiers": [{"type": "dns", "value": name}], "profile": profile}).to_string();
    let order = client.post(&url("new-order"), &ask).await.expect(201).json();
    client.prove(order["authorizations"][0].as_str().unwrap()).await;
    let finalize = json!({"csr": b64(csr(&[name]).0)}).to_string();
    let done = client.post(order["finalize"].as_str().unwrap(), &finalize).await.expect(200).json();
    client.get(done["certificate"].as_str().unwrap()).await.text
}

#[tokio::test]
async fn ar6_short_lives_have_windows_in_their_middle() {
    for world in worlds().await {
        // the issuer is as old as the longest backdate
        world.clock.advance(hours(2));
        let client = Client::register(&world).await;
        for (name, life, backdate, patience) in
            [("six-days", "6d", "60s", 21_600), ("hours", "3h", "1h", 1_080), ("minutes", "65m", "1h", 390)]
        {
            profile(&world, name, life, backdate).await;
            let pem = certificate_of(&client, name, "a.example.org").await;
            let (start, end) = window(&world, &pem).await;
            let (now, until) = (world.now(), not_after(&pem));
            let left = until.since(start).as_secs_f64() / until.since(now).as_secs_f64();
            assert!((0.45..0.55).contains(&left), "{name}: {left} of the life is left");
            assert!(now < start && end < until, "{name}: {start} to {end} of {until}");
            let after: u64 = get(&world, &renewal_id(&pem)).await.header("retry-after").parse().unwrap();
            assert!(after.abs_diff(patience) <= 1, "{name}: {after} s");
        }
    }
}

fn by_issuer(reason: &str) -> MoveRenewals {
    MoveRenewals {
        filter: RenewalFilter { issuer: Some("tls-1".into()), ..RenewalFilter::default() },
        reason: reason.into(),
        ..MoveRenewals::default()
    }
}

#[tokio::test]
async fn operators_move_the_windows_of_a_set_of_certificates() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, a, _) = client.certificate(&["a.lab.example"]).await;
        let (_, b, _) = client.certificate(&["b.example.org"]).await;
        world.clock.advance(minutes(1));
        let own = (window(&world, &a).await, window(&world, &b).await);
        let now = world.now().truncated();

        // by name, with an explanation
        let given = (now + hours(1), now + hours(7));
        let rule = MoveRenewals {
            filter: RenewalFilter { name: Some("*.lab.example".into()), ..RenewalFilter::default() },
            start: Some(given.0),
            end: Some(given.1),
            explanation_url: Some("https://wiki.example.org/why".into()),
            ..by_issuer("the lab moves")
        };
        let named = world.authority.move_renewals(&admin(), rule).await.unwrap();
        assert_eq!((window(&world, &a).await, window(&world, &b).await), (given, own.1));
        let body = get(&world, &renewal_id(&a)).await.json();
        assert_eq!(body["explanationURL"], "https://wiki.example.org/why");

        // what was issued after the rule is not called back by it
        let (_, later, _) = client.certificate(&["c.lab.example"]).await;
        assert!(window(&world, &later).await.0 > world.now() + days(30));

        // the newest rule counts: renew now, all of them
        world.clock.advance(minutes(1));
        let all = world.authority.move_renewals(&admin(), by_issuer("the issuer's key")).await.unwrap();
        for pem in [&a, &b, &later] {
            assert!(window(&world, pem).await.1 < world.now());
        }
        assert_eq!(get(&world, &renewal_id(&a)).await.json().get("explanationURL"), None);

        // cancelled, the one before counts again
        world.authority.cancel_renewals(&admin(), all.id).await.unwrap();
        assert_eq!((window(&world, &a).await, window(&world, &b).await), (given, own.1));
        world.authority.cancel_renewals(&admin(), named.id).await.unwrap();
        assert_eq!((window(&world, &a).await, window(&world, &b).await), own);
        let gone = world.authority.cancel_renewals(&admin(), named.id).await.unwrap_err();
        assert_eq!(gone.kind, ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn a_moved_window_ends_with_the_certificate_and_with_its_rule() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, pem, _) = client.certificate(&["a.example.org"]).await;
        world.clock.advance(minutes(1));
        let (own, until) = (window(&world, &pem).await, not_after(&pem));
        let from = until - hours(2);
        let rule = MoveRenewals { start: Some(from), end: Some(until + days(9)), ..by_issuer("as late as can be") };
        world.authority.move_renewals(&admin(), rule).await.unwrap();
        assert_eq!(window(&world, &pem).await, (from, until));
        world.clock.advance(minutes(1));
        // one that lies after it says nothing, so the one before it counts
        let rule =
            MoveRenewals { start: Some(until + days(1)), expires_in: Some(days(2)), ..by_issuer("too late for it") };
        world.authority.move_renewals(&admin(), rule).await.unwrap();
        assert_eq!(window(&world, &pem).await, (from, until));
        world.clock.advance(minutes(1));
        let rule = MoveRenewals { expires_in: Some(days(3)), ..by_issuer("for three days") };
        world.authority.move_renewals(&admin(), rule).await.unwrap();
        assert!(window(&world, &pem).await.1 < world.now());
        world.clock.advance(days(4));
        assert_eq!(window(&world, &pem).await, (from, until));
        assert_ne!(own, (from, until));
    }
}

#[tokio::test]
async fn rules_that_make_no_sense_are_refused() {
    for world in worlds().await {
        let now = world.now();
        let rule = async |asked: MoveRenewals| {
            let error = world.authority.move_renewals(&admin(), asked).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unprocessable, "{error}");
            error.rule.unwrap().name
        };
        let id = |n: usize| chancery::model::id::CertificateId::from_bytes((n as u128).to_be_bytes());
        let with = |filter| MoveRenewals { filter, ..by_issuer("why") };
        for (asked, expected) in [
            (with(RenewalFilter::default()), "renewals.filter"),
            (with(RenewalFilter { issuer: Some("none".into()), ..RenewalFilter::default() }), "renewals.issuer"),
            (with(RenewalFilter { profile: Some("none".into()), ..RenewalFilter::default() }), "renewals.profile"),
            (with(RenewalFilter { name: Some("a".repeat(301)), ..RenewalFilter::default() }), "renewals.filter"),
            (
                with(RenewalFilter {
                    certificates: (0..=MAX_CERTIFICATES).map(id).collect(),
                    ..RenewalFilter::default()
                }),
                "renewals.certificates",
            ),
            (by_issuer(" "), "renewals.reason"),
            (by_issuer("a\nb"), "renewals.reason"),
            (MoveRenewals { end: Some(now), ..by_issuer("why") }, "renewals.window"),
            (MoveRenewals { start: Some(now), end: Some(now - hours(1)), ..by_issuer("why") }, "renewals.window"),
            (MoveRenewals { issued_before: Some(now + hours(1)), ..by_issuer("why") }, "renewals.issued_before"),
            (
                MoveRenewals { explanation_url: Some("javascript:x".into()), ..by_issuer("why") },
                "renewals.explanation_url",
            ),
            (MoveRenewals { expires_in: Some(days(2_000)), ..by_issuer("why") }, "renewals.expires"),
        ] {
            assert_eq!(rule(asked).await, expected);
        }
        assert!(world.authority.renewal_rules(None, 10).await.unwrap().is_empty());
    }
}

/// Clients that check a whole chain refuse what stands below a revoked CA.
#[tokio::test]
async fn ar4_a_certificate_below_a_revoked_issuer_is_renewed_at_once() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, pem, _) = client.certificate(&["a.example.org"]).await;
        world.clock.advance(days(1));
        assert!(window(&world, &pem).await.0 > world.now());
        let issuer =
            world.authority.snapshot().issuer("tls-1").unwrap().certificate().unwrap().certificate_id.unwrap();
        world.authority.revoke(&admin(), issuer, RevocationReason::KeyCompromise).await.unwrap();
        assert!(window(&world, &pem).await.1 <= world.now(), "the window is over: now");
    }
}
