//! CAA over a real DNS server on loopback: climbing, aliases, failures, and what is only logged. The properties
//! themselves (C2 to C4, C6 to C8) are judged in the tests of src/validation/caa.rs.

use chancery::error::ErrorKind;
use chancery::model::identifier::Identifier;
use chancery::validation::error::CaaSeen;
use chancery::validation::resolver::DnsFailure;
use chancery::validation::{CaaMode, Method, Outcome, Rules, StepKind, ValidationConfig, ValidationError};

use super::support::*;

fn rules(caa: CaaMode) -> Rules {
    Rules { identities: vec!["ca.example".into()], caa, ..Rules::default() }
}

async fn check(dns: &DnsServer, name: &str, caa: CaaMode) -> Outcome {
    let settings = ValidationConfig { resolvers: vec![dns.address], ..ValidationConfig::default() };
    let name = Identifier::guess(name).unwrap();
    validator(hasty(settings)).caa(&rules(caa), &name, ACCOUNT, "dns-01").await
}

fn issue(value: &str) -> Dns {
    Dns::Caa(vec![(0, "issue".into(), value.into())])
}

/// Names whose CAA was asked for. One that has no records is asked for again, with its letters as they stand.
fn asked(dns: &DnsServer) -> Vec<String> {
    let mut names: Vec<_> = dns.asked().into_iter().filter(|(_, kind)| *kind == CAA).map(|(name, _)| name).collect();
    names.dedup();
    names
}

#[tokio::test]
async fn c1_labels_are_climbed_to_the_top_and_the_first_set_decides() {
    let dns = DnsServer::answering(|name, _, _| match name {
        "corp.test" => issue("ca.example"),
        "test" => issue(";"),
        "a.b.none.example" => Dns::Code(3),
        _ => Dns::Addresses(vec![]),
    })
    .await;
    let outcome = check(&dns, "x.www.corp.test", CaaMode::Enforce).await;
    assert_eq!(outcome.result, Ok(()));
    assert_eq!(asked(&dns), ["x.www.corp.test", "www.corp.test", "corp.test"], "and no further");
    let steps: Vec<_> = outcome.timeline.iter().map(|s| (s.what, s.detail.as_str())).collect();
    let expected = [
        (StepKind::Caa, "CAA x.www.corp.test: 0 records"),
        (StepKind::Caa, "CAA www.corp.test: 0 records"),
        (StepKind::Caa, "CAA corp.test: 1 records"),
        (StepKind::Caa, "CAA corp.test: it permits this CA"),
        (StepKind::Result, "control is proved"),
    ];
    assert_eq!(steps[..4], expected[..4]);

    let error = check(&dns, "other.test", CaaMode::Enforce).await.result.unwrap_err();
    assert_eq!((error.kind(), seen(&error)), (ErrorKind::Caa, CaaSeen::Nobody));
    assert!(error.detail().starts_with("the CAA records of test let nobody issue, asked from"), "{error}");

    assert_eq!(check(&dns, "a.b.none.example", CaaMode::Enforce).await.result, Ok(()), "nothing up to the top");
    assert_eq!(asked(&dns)[5..], ["a.b.none.example", "b.none.example", "none.example", "example"]);
}

fn seen(error: &ValidationError) -> CaaSeen {
    match error {
        ValidationError::Caa { seen, .. } => seen.clone(),
        other => panic!("not about CAA: {other:?}"),
    }
}

#[tokio::test]
async fn c1_an_alias_s_records_are_the_name_s_own_and_its_parents_are_not() {
    let dns = DnsServer::answering(|name, _, _| match name {
        "www.a.test" => Dns::Alias("host.b.test"),
        "host.b.test" => issue("other.example"),
        "bare.a.test" => Dns::Alias("bare.b.test"),
        "b.test" => issue(";"),
        "a.test" => issue("ca.example"),
        _ => Dns::Addresses(vec![]),
    })
    .await;
    let error = check(&dns, "www.a.test", CaaMode::Enforce).await.result.unwrap_err();
    assert_eq!(seen(&error), CaaSeen::OtherIssuer);
    // bare.b.test has none: the climb goes on at a.test, never at b.test
    assert_eq!(check(&dns, "bare.a.test", CaaMode::Enforce).await.result, Ok(()));
    assert!(!asked(&dns).contains(&"b.test".to_owned()), "{:?}", asked(&dns));
}

#[tokio::test]
async fn c1_aliases_that_lead_nowhere_refuse() {
    let dns = DnsServer::answering(|name, _, _| match name {
        "one.a.test" => Dns::Alias("two.a.test"),
        "two.a.test" => Dns::Alias("one.a.test"),
        "self.a.test" => Dns::Alias("self.a.test"),
        _ => Dns::Addresses(vec![]),
    })
    .await;
    for name in ["one.a.test", "self.a.test"] {
        let error = check(&dns, name, CaaMode::Enforce).await.result.unwrap_err();
        let circle = matches!(error, ValidationError::CaaLookup { failure: DnsFailure::BadAnswer, .. });
        assert!(circle, "{name}: {error:?}");
    }
}

#[tokio::test]
async fn c2_a_wildcard_begins_at_its_base() {
    let dns = DnsServer::answering(|name, _, _| match name {
        "a.test" => Dns::Caa(vec![(0, "issue".into(), "ca.example".into()), (0, "issuewild".into(), ";".into())]),
        _ => Dns::Code(2),
    })
    .await;
    assert_eq!(check(&dns, "a.test", CaaMode::Enforce).await.result, Ok(()));
    let error = check(&dns, "*.a.test", CaaMode::Enforce).await.result.unwrap_err();
    assert_eq!(seen(&error), CaaSeen::Nobody);
    assert_eq!(asked(&dns), ["a.test"]);
}

#[tokio::test]
async fn c4_the_critical_bit_is_the_first_one() {
    for (flags, refused) in [(128, true), (255, true), (0, false), (1, false), (127, false)] {
        let dns = DnsServer::answering(move |_, _, _| Dns::Caa(vec![(flags, "future".into(), "x".into())])).await;
        let outcome = check(&dns, "a.test", CaaMode::Enforce).await;
        assert_eq!(outcome.result.is_err(), refused, "{flags}: {:?}", outcome.result);
    }
}

#[tokio::test]
async fn c5_a_lookup_that_fails_refuses() {
    let cases: [(fn() -> Dns, DnsFailure); 4] = [
        (|| Dns::Code(2), DnsFailure::ServFail),
        (|| Dns::Code(5), DnsFailure::Refused),
        (|| Dns::Silence, DnsFailure::Timeout),
        (|| Dns::Truncated, DnsFailure::BadAnswer),
    ];
    for (answer, expected) in cases {
        // the name itself has no records, and its parent cannot be asked
        let dns = DnsServer::answering(move |name, _, _| match name {
            "www.a.test" => Dns::Code(3),
            _ => answer(),
        })
        .await;
        let error = check(&dns, "www.a.test", CaaMode::Enforce).await.result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Caa);
        assert_eq!(error, ValidationError::CaaLookup { name: "a.test".to_owned(), failure: expected });
        assert!(error.detail().starts_with("CAA of a.test: "), "{error}");
    }
}

#[tokio::test]
async fn c10_off_asks_nothing_and_log_refuses_nothing() {
    let dns = DnsServer::answering(|_, _, _| issue("other.example")).await;
    let target = Target::answering(|_| ok(&key_authorization())).await;
    for (caa, queries, noted) in [(CaaMode::Off, 0, false), (CaaMode::Log, 1, true)] {
        let before = asked(&dns).len();
        let settings = ValidationConfig { resolvers: vec![dns.address], ..config(target.port()) };
        let named = DnsServer::answering(|_, kind, _| match kind {
            CAA => issue("other.example"),
            _ => Dns::Addresses(vec!["127.0.0.1".parse().unwrap()]),
        })
        .await;
        let rules = Rules { resolvers: vec![named.address], ..rules(caa) };
        let outcome = attempt_by(&validator(settings), Method::Http01, &rules, "www.a.test").await;
        assert_eq!(outcome.result, Ok(()), "{caa:?}");
        assert_eq!(asked(&named).len(), queries, "{caa:?}");
        let words = outcome.timeline.iter().any(|s| s.detail.contains("it would be refused"));
        assert_eq!(words, noted, "{:?}", outcome.timeline);
        assert_eq!(asked(&dns).len(), before, "the directory's own resolvers are asked");
    }
}

#[tokio::test]
async fn c10_enforced_behind_a_proof_it_refuses_and_stands_in_the_timeline() {
    let target = Target::answering(|_| ok(&key_authorization())).await;
    let dns = DnsServer::answering(|_, kind, _| match kind {
        CAA => issue("ca.example; validationmethods=dns-01"),
        _ => Dns::Addresses(vec!["127.0.0.1".parse().unwrap()]),
    })
    .await;
    let settings = ValidationConfig { resolvers: vec![dns.address], ..config(target.port()) };
    let outcome = attempt_by(&validator(settings), Method::Http01, &rules(CaaMode::Enforce), "www.a.test").await;
    let error = outcome.result.unwrap_err();
    assert_eq!(seen(&error), CaaSeen::OtherMethod { method: "http-01".to_owned() });
    let expected = "the CAA records of www.a.test name this CA without the method http-01, asked from the CA server; \
                    add the property issue \"ca.example\" there, or mend the one there is";
    assert_eq!(error.detail(), expected);
    assert_eq!(target.connections(), 1, "proved first");
    let steps: Vec<StepKind> = outcome.timeline.iter().map(|s| s.what).collect();
    assert_eq!(steps[steps.len() - 3..], [StepKind::Caa, StepKind::Caa, StepKind::Result]);
}

#[tokio::test]
async fn i3_addresses_have_no_caa() {
    let dns = DnsServer::answering(|_, _, _| Dns::Code(2)).await;
    for address in ["192.0.2.1", "2001:db8::1"] {
        assert_eq!(check(&dns, address, CaaMode::Enforce).await.result, Ok(()), "{address}");
    }
    assert!(dns.asked().is_empty());
}

/// The same properties that the tests inside the room judge, as they come over the wire.
#[tokio::test]
async fn c3_c6_c7_c8_what_stands_in_a_property_decides() {
    let ours = format!("ca.example; accounturi={ACCOUNT}");
    let method = || CaaSeen::OtherMethod { method: "dns-01".to_owned() };
    let cases: Vec<(&str, String, Option<CaaSeen>)> = vec![
        ("issue", ";".into(), Some(CaaSeen::Nobody)),
        ("issue", "%%%%%".into(), Some(CaaSeen::Malformed)),
        ("issue", ours.clone(), None),
        ("issue", format!("{ours}0"), Some(CaaSeen::OtherAccount)),
        ("issue", format!("{ours}; accounturi={ACCOUNT}"), Some(CaaSeen::Repeated)),
        ("issue", "ca.example; validationmethods=http-01,dns-01".into(), None),
        ("issue", "ca.example; validationmethods=http-01".into(), Some(method())),
        ("issue", "ca.example; validationmethods=dns_01".into(), Some(CaaSeen::Malformed)),
        ("ISSUE", "\tCA.Example ; AccountURI = x".into(), Some(CaaSeen::OtherAccount)),
        ("IsSue", "CA.Example".into(), None),
    ];
    for (tag, value, expected) in cases {
        let record = (0, tag.to_owned(), value.clone());
        let dns = DnsServer::answering(move |_, _, _| Dns::Caa(vec![record.clone()])).await;
        let result = check(&dns, "a.test", CaaMode::Enforce).await.result;
        assert_eq!(result.as_ref().err().map(seen), expected, "{tag} {value}");
    }
}
