//! TXT records: dns-01 (D1, D2), dns-account-01 and dns-persist-01 against a DNS server on loopback.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery::error::ErrorKind;
use chancery::validation::error::PersistSeen;
use chancery::validation::resolver::DnsFailure;
use chancery::validation::{Method, Outcome, Rules, ValidationConfig, ValidationError};

use super::support::*;

fn value() -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, key_authorization().as_bytes()))
}

async fn ask(method: Method, dns: &DnsServer, name: &str) -> Outcome {
    let rules = Rules { identities: vec!["ca.example".into(), "second.example".into()], ..Rules::default() };
    let settings = ValidationConfig { resolvers: vec![dns.address], ..ValidationConfig::default() };
    attempt_by(&validator(hasty(settings)), method, &rules, name).await
}

fn at(place: &'static str, answer: fn() -> Dns) -> impl Fn(&str, u16, usize) -> Dns + Send + Sync + 'static {
    move |name, kind, _| if (name, kind) == (place, TXT) { answer() } else { Dns::Code(3) }
}

#[tokio::test]
async fn d1_a_wildcard_is_proved_at_its_base_and_any_of_many_records_counts() {
    for name in ["a.test", "*.a.test"] {
        let dns = DnsServer::answering(at("_acme-challenge.a.test", || {
            Dns::TextsOverTcp((0..90).map(|n| format!("{n:043}")).chain([value()]).collect())
        }))
        .await;
        assert_eq!(ask(Method::Dns01, &dns, name).await.result, Ok(()), "{name}");
    }
    let dns = DnsServer::answering(at("_acme-challenge.a.test", || Dns::Pieces(value()))).await;
    assert_eq!(ask(Method::Dns01, &dns, "a.test").await.result, Ok(()), "strings of one record are joined");
    let dns = DnsServer::answering(at("_acme-challenge.a.test", || {
        Dns::Texts(vec![value()[..20].into(), value()[20..].into()])
    }))
    .await;
    assert!(ask(Method::Dns01, &dns, "a.test").await.result.is_err(), "strings of two records are not");
}

#[tokio::test]
async fn d1_a_dname_and_a_chain_in_one_answer_are_followed() {
    let dns = DnsServer::answering(|name, kind, _| match (name, kind) {
        // a DNAME of a.test to b.test, with the CNAME that the server makes of it
        ("_acme-challenge.a.test", TXT) => Dns::Records(vec![
            ("a.test".into(), 39, wire_name("b.test")),
            ("_acme-challenge.a.test".into(), CNAME, wire_name("_acme-challenge.b.test")),
            ("_acme-challenge.b.test".into(), TXT, strings(&value(), 255)),
        ]),
        _ => Dns::Code(3),
    })
    .await;
    assert_eq!(ask(Method::Dns01, &dns, "a.test").await.result, Ok(()));
}

#[tokio::test]
async fn d2_records_of_other_names_in_the_answer_are_passed_over() {
    let dns = DnsServer::answering(|name, kind, _| match (name, kind) {
        ("_acme-challenge.a.test", TXT) => {
            Dns::Foreign("_acme-challenge.b.test", vec![(TXT, strings(&value(), 255))])
        }
        ("_acme-challenge.c.test", TXT) => Dns::Records(vec![
            ("_acme-challenge.c.test".into(), TXT, strings("something else", 255)),
            ("_acme-challenge.b.test".into(), TXT, strings(&value(), 255)),
        ]),
        _ => Dns::Code(3),
    })
    .await;
    for (name, found) in [("a.test", 0), ("c.test", 1)] {
        let error = ask(Method::Dns01, &dns, name).await.result.unwrap_err();
        let name = format!("_acme-challenge.{name}");
        assert_eq!(error, ValidationError::TxtValue { name, expected: value(), found });
    }
}

/// The first answer is never remembered: what was mended is seen at the next attempt.
#[tokio::test]
async fn d2_a_wrong_record_that_is_corrected_is_seen_by_the_next_attempt() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let dns = DnsServer::answering(move |_, kind, _| match kind {
        TXT if counter.fetch_add(1, Ordering::SeqCst) == 0 => Dns::Texts(vec!["old".into()]),
        TXT => Dns::Texts(vec![value()]),
        _ => Dns::Code(3),
    })
    .await;
    let settings = ValidationConfig { resolvers: vec![dns.address], ..ValidationConfig::default() };
    // one validator, so that a cache would show
    let validator = validator(settings);
    let first = attempt_by(&validator, Method::Dns01, &Rules::default(), "a.test").await;
    assert_eq!(first.result.unwrap_err().kind(), ErrorKind::IncorrectResponse);
    let second = attempt_by(&validator, Method::Dns01, &Rules::default(), "a.test").await;
    assert_eq!(second.result, Ok(()));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn d2_questions_have_random_case_and_ask_for_1232_octets() {
    type Packets = Arc<std::sync::Mutex<Vec<(u16, Vec<u8>)>>>;
    let seen = Packets::default();
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let log = seen.clone();
    let server = tokio::spawn(async move {
        let mut packet = [0; 1_500];
        while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
            log.lock().unwrap().push((peer.port(), packet[..length].to_vec()));
        }
    });
    let settings = ValidationConfig { resolvers: vec![address], ..ValidationConfig::default() };
    let validator = validator(hasty(settings));
    let name = format!("{}.test", "a".repeat(60));
    for _ in 0..4 {
        attempt_by(&validator, Method::Dns01, &Rules::default(), &name).await.result.unwrap_err();
    }
    server.abort();
    let packets = seen.lock().unwrap().clone();
    let asked = String::from_utf8_lossy(&packets[0].1).into_owned();
    assert!(asked.contains('A') && asked.contains('a'), "one case alone: {asked:?}");
    // OPT: root, type 41, and the size as its class
    assert!(packets[0].1.windows(5).any(|w| w == [0, 0, 41, 0x04, 0xd0]), "{:?}", packets[0]);
    let distinct = |part: fn(&(u16, Vec<u8>)) -> u16| packets.iter().map(part).collect::<BTreeSet<_>>().len();
    assert!(distinct(|(_, p)| u16::from_be_bytes([p[0], p[1]])) >= 3, "ids are drawn: {packets:?}");
    assert!(distinct(|(port, _)| *port) >= 3, "and so are ports: {packets:?}");
}

#[tokio::test]
async fn d3_addresses_have_no_place_in_dns() {
    let dns = DnsServer::answering(|_, _, _| Dns::Texts(vec![value()])).await;
    for method in [Method::Dns01, Method::DnsAccount01, Method::DnsPersist01] {
        for name in ["192.0.2.1", "2001:db8::1"] {
            let error = ask(method, &dns, name).await.result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnsupportedIdentifier, "{method:?} {name}");
        }
    }
    assert!(dns.asked().is_empty());
}

#[tokio::test]
async fn dns_account_01_has_a_place_of_each_account() {
    // base32 of the first ten octets of SHA-256 of the account's URL, made with Python
    let place = "_d25kcvqtu3ctj4vl._acme-challenge.a.test";
    assert_eq!(place.split('.').next().unwrap().len(), 17);
    let dns = DnsServer::answering(move |name, kind, _| match kind {
        TXT if name == place => Dns::Texts(vec!["another".into(), value()]),
        _ => Dns::Code(3),
    })
    .await;
    for name in ["a.test", "*.a.test"] {
        let outcome = ask(Method::DnsAccount01, &dns, name).await;
        assert_eq!(outcome.result, Ok(()), "{name}: {:?}", outcome.timeline);
    }
    let error = ask(Method::DnsAccount01, &dns, "b.test").await.result.unwrap_err();
    let name = place.replace("a.test", "b.test");
    assert_eq!(error, ValidationError::TxtLookup { name: name.clone(), failure: DnsFailure::NxDomain });
    assert!(error.detail().starts_with(&name), "{error}");
    let error = ask(Method::Dns01, &dns, "a.test").await.result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Dns, "dns-01 has another place");
}

fn record(rest: &str) -> String {
    format!("ca.example; accounturi={ACCOUNT}{rest}")
}

#[tokio::test]
async fn dns_persist_01_is_proved_by_a_record_of_this_ca_and_account() {
    let dns = DnsServer::answering(at("_validation-persist.a.test", || {
        Dns::Texts(vec!["v=spf1 -all".into(), "other.example; accounturi=x".into(), record("")])
    }))
    .await;
    let outcome = ask(Method::DnsPersist01, &dns, "a.test").await;
    assert_eq!(outcome.result, Ok(()));
    assert!(outcome.timeline[0].detail.contains("_validation-persist.a.test"), "{:?}", outcome.timeline);
    let error = ask(Method::DnsPersist01, &dns, "*.a.test").await.result.unwrap_err();
    assert!(matches!(error, ValidationError::Persist { seen: PersistSeen::NoPolicy, .. }), "{error:?}");
    let told = format!("let a TXT record there be \"{}; policy=wildcard\"", record(""));
    assert!(error.detail().ends_with(&told), "{error}");
}

/// What the draft's §5 and Pebble call unauthorized or malformed; `ASKED` stands where the name goes.
#[tokio::test]
async fn dns_persist_01_refuses_with_the_kind_of_the_draft() {
    // the clock of these tests stands at 1,800,000,000
    for (text, kind, seen) in [
        ("other.example; accounturi=x".to_owned(), ErrorKind::Forbidden, PersistSeen::OtherIssuer),
        (record("x"), ErrorKind::Forbidden, PersistSeen::OtherAccount),
        (record("; persistUntil=1799999999"), ErrorKind::Forbidden, PersistSeen::Passed),
        (record(";"), ErrorKind::Malformed, PersistSeen::Malformed),
        (record("; policy=a; POLICY=b"), ErrorKind::Malformed, PersistSeen::Repeated),
        (record("; persistUntil=soon"), ErrorKind::Malformed, PersistSeen::BadUntil),
        ("ca.example; policy=wildcard".to_owned(), ErrorKind::Malformed, PersistSeen::NoAccount),
    ] {
        let served = text.clone();
        let dns = DnsServer::answering(move |name, _, _| match name {
            "_validation-persist.a.test" => Dns::Texts(vec![served.clone()]),
            _ => Dns::Code(3),
        })
        .await;
        let error = ask(Method::DnsPersist01, &dns, "a.test").await.result.unwrap_err();
        assert!(matches!(&error, ValidationError::Persist { seen: s, .. } if *s == seen), "{text}: {error:?}");
        assert_eq!(error.kind(), kind, "{text}");
        assert!(error.detail().starts_with("_validation-persist.a.test has "), "{error}");
        assert!(!error.detail().contains("soon"), "what stands in the zone is not told: {error}");
    }
    let dns = DnsServer::answering(at("_validation-persist.a.test", || {
        Dns::Texts(vec![record("; persistUntil=1800000000")])
    }))
    .await;
    assert_eq!(ask(Method::DnsPersist01, &dns, "a.test").await.result, Ok(()), "the last second counts");
}

#[tokio::test]
async fn dns_persist_01_of_a_name_above_holds_only_with_its_policy() {
    let wild = || Dns::Texts(vec![record("; policy=Wildcard")]);
    let dns = DnsServer::answering(at("_validation-persist.corp.test", wild)).await;
    for name in ["corp.test", "*.corp.test", "a.corp.test", "b.a.corp.test", "*.a.corp.test"] {
        assert_eq!(ask(Method::DnsPersist01, &dns, name).await.result, Ok(()), "{name}");
    }
    for name in ["xcorp.test", "test", "corp.test.example"] {
        let error = ask(Method::DnsPersist01, &dns, name).await.result.unwrap_err();
        assert!(matches!(error, ValidationError::Persist { seen: PersistSeen::Nothing, .. }), "{name}: {error:?}");
    }
    let plain = DnsServer::answering(at("_validation-persist.corp.test", || Dns::Texts(vec![record("")]))).await;
    assert_eq!(ask(Method::DnsPersist01, &plain, "corp.test").await.result, Ok(()));
    let error = ask(Method::DnsPersist01, &plain, "a.corp.test").await.result.unwrap_err();
    assert!(matches!(error, ValidationError::Persist { seen: PersistSeen::NoPolicy, .. }), "{error:?}");
    let fails = DnsServer::answering(|name, _, _| match name {
        "_validation-persist.corp.test" => Dns::Code(2),
        _ => Dns::Code(3),
    })
    .await;
    let error = ask(Method::DnsPersist01, &fails, "a.corp.test").await.result.unwrap_err();
    let name = "_validation-persist.corp.test".to_owned();
    assert_eq!(error, ValidationError::TxtLookup { name, failure: DnsFailure::ServFail });
}

#[tokio::test]
async fn dns_persist_01_asks_a_bounded_number_of_names() {
    let dns = DnsServer::answering(|_, _, _| Dns::Code(3)).await;
    let deep = format!("{}test", "a.".repeat(60));
    ask(Method::DnsPersist01, &dns, &deep).await.result.unwrap_err();
    let names: std::collections::BTreeSet<_> = dns.asked().into_iter().collect();
    assert!(names.len() <= 9, "{names:?}");
    assert!(dns.asked().len() <= 2 * names.len(), "each at most twice: {:?}", dns.asked());
}
