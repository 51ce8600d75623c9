//! Names: a DNS server on loopback that says no, nothing, or something else the second time.

use std::net::{IpAddr, Ipv4Addr};

use chancery::error::{Error, ErrorKind};
use chancery::validation::guard::Denial;
use chancery::validation::resolver::DnsFailure;
use chancery::validation::{StepKind, ValidationConfig, ValidationError};

use super::support::*;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn with_dns(port: u16, dns: &DnsServer) -> ValidationConfig {
    ValidationConfig { resolvers: vec![dns.address], ..config(port) }
}

#[tokio::test]
async fn a_name_is_resolved_once_by_the_configured_server() {
    let target = Target::answering(|_| ok(&key_authorization())).await;
    let dns = DnsServer::answering(|_, _, _| Dns::Addresses(vec![LOOPBACK])).await;
    let outcome = attempt(&validator(with_dns(target.port(), &dns)), "www.example.test").await;
    assert_eq!(outcome.result, Ok(()));
    let mut asked = dns.asked();
    asked.sort();
    let name = "www.example.test".to_owned();
    assert_eq!(asked, [(name.clone(), A), (name, AAAA)]);
    assert_eq!(outcome.timeline[0].what, StepKind::Resolve);
    let expected = format!("www.example.test is 127.0.0.1 (DNS 127.0.0.1 port {})", dns.address.port());
    assert_eq!(outcome.timeline[0].detail, expected);
    let request = target.requests().remove(0).to_lowercase();
    assert!(request.contains(&format!("\r\nhost: www.example.test:{}\r\n", target.port())), "{request}");
}

#[tokio::test]
async fn each_dns_failure_is_named() {
    let cases: [(fn() -> Dns, DnsFailure); 6] = [
        (|| Dns::Code(3), DnsFailure::NxDomain),
        (|| Dns::Code(2), DnsFailure::ServFail),
        (|| Dns::Code(5), DnsFailure::Refused),
        (|| Dns::Code(4), DnsFailure::Code(4)),
        (|| Dns::Addresses(vec![]), DnsFailure::NoAddress),
        (|| Dns::Silence, DnsFailure::Timeout),
    ];
    for (answer, expected) in cases {
        let dns = DnsServer::answering(move |_, _, _| answer()).await;
        let outcome = attempt(&validator(hasty(with_dns(80, &dns))), "gone.example.test").await;
        let error = outcome.result.unwrap_err();
        let host = "gone.example.test".to_owned();
        assert_eq!(error, ValidationError::Dns { host, failure: expected });
        let error = Error::from(error);
        assert_eq!(error.kind, ErrorKind::Dns);
        assert!(error.detail.starts_with("gone.example.test: "), "{}", error.detail);
        assert!(error.detail.contains("from the CA server"), "{}", error.detail);
    }
}

/// Test harnesses and small servers look names up letter by letter, so that a question in random letters finds nothing.
#[tokio::test]
async fn a_server_that_compares_letter_by_letter_is_asked_for_the_name_as_it_stands() {
    let target = Target::answering(|_| ok(&key_authorization())).await;
    let name = "a-long-name-with-many-letters.example.test";
    for nothing in [|| Dns::Addresses(vec![]), || Dns::Code(3)] {
        let exact = move |asked: &str, _: u16, _: usize| match asked == name {
            true => Dns::Addresses(vec![LOOPBACK]),
            false => nothing(),
        };
        let dns = DnsServer::letter_by_letter(exact).await;
        let outcome = attempt(&validator(with_dns(target.port(), &dns)), name).await;
        assert_eq!(outcome.result, Ok(()));
        // forged answers have to guess the letters: the exact name is asked after the random one, and by TCP
        let asked = dns.asked();
        assert!(asked.iter().take(2).all(|(asked, _)| asked != name), "{asked:?}");
        let off = ValidationConfig { random_case: false, ..with_dns(target.port(), &dns) };
        let before = dns.asked().len();
        assert_eq!(attempt(&validator(off), name).await.result, Ok(()));
        assert!(dns.asked()[before..].iter().all(|(asked, _)| asked == name), "{:?}", dns.asked());
    }
}

#[tokio::test]
async fn a_dns_server_that_is_not_there_is_no_answer() {
    let dns = DnsServer::answering(|_, _, _| Dns::Silence).await;
    let settings = hasty(with_dns(80, &dns));
    drop(dns);
    let error = attempt(&validator(settings), "gone.example.test").await.result.unwrap_err();
    assert!(
        matches!(error, ValidationError::Dns { failure: DnsFailure::Unreachable | DnsFailure::Timeout, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn truncated_answers_and_alias_loops_end_in_an_error() {
    let cases: [fn(&str) -> Dns; 2] = [
        |_| Dns::Truncated,
        |name| Dns::Alias(if name == "a.example.test" { "b.example.test" } else { "a.example.test" }),
    ];
    for answer in cases {
        let dns = DnsServer::answering(move |name, _, _| answer(name)).await;
        let error = attempt(&validator(hasty(with_dns(80, &dns))), "a.example.test").await.result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Dns, "{error:?}");
        assert!(dns.asked().len() < 40, "{} queries", dns.asked().len());
    }
}

#[tokio::test]
async fn an_alias_is_followed_to_its_address() {
    let target = Target::answering(|_| ok(&key_authorization())).await;
    let dns = DnsServer::answering(|name, _, _| match name {
        "a.example.test" => Dns::Alias("b.example.test"),
        _ => Dns::Addresses(vec![LOOPBACK]),
    })
    .await;
    let outcome = attempt(&validator(with_dns(target.port(), &dns)), "a.example.test").await;
    assert_eq!(outcome.result, Ok(()));
}

#[tokio::test]
async fn one_family_is_enough_when_the_other_fails() {
    let target = Target::answering(|_| ok(&key_authorization())).await;
    let dns =
        DnsServer::answering(|_, kind, _| if kind == A { Dns::Addresses(vec![LOOPBACK]) } else { Dns::Code(2) })
            .await;
    let outcome = attempt(&validator(with_dns(target.port(), &dns)), "half.example.test").await;
    assert_eq!(outcome.result, Ok(()));
}

#[tokio::test]
async fn h4_ipv4_is_tried_when_ipv6_does_not_accept_a_connection() {
    let target = Target::answering(|_| ok(&key_authorization())).await;
    let dns = DnsServer::answering(|_, _, _| Dns::Addresses(vec![LOOPBACK, "::1".parse().unwrap()])).await;
    let outcome = attempt(&validator(with_dns(target.port(), &dns)), "both.example.test").await;
    assert_eq!(outcome.result, Ok(()));
    let dials: Vec<&str> =
        outcome.timeline.iter().filter(|s| s.what == StepKind::Dial).map(|s| s.detail.as_str()).collect();
    assert_eq!(dials.len(), 2, "{dials:?}");
    assert!(dials[0].starts_with("::1 port") && dials[0].ends_with("refused the connection"), "{dials:?}");
}

#[tokio::test]
async fn h4_a_wrong_answer_over_ipv6_is_not_tried_again_over_ipv4() {
    // IPv4 chooses the port: there are far more that it has given away
    let right = Target::answering(|_| ok(&key_authorization())).await;
    let wrong = Target::answering_on(&format!("[::1]:{}", right.port()), |_| ok("CANARY")).await;
    let dns = DnsServer::answering(|_, _, _| Dns::Addresses(vec![LOOPBACK, "::1".parse().unwrap()])).await;
    let outcome = attempt(&validator(with_dns(wrong.port(), &dns)), "both.example.test").await;
    assert_eq!(outcome.result.unwrap_err().kind(), ErrorKind::IncorrectResponse);
    assert_eq!((wrong.connections(), right.connections()), (1, 0));
}

#[tokio::test]
async fn denied_addresses_of_a_name_are_skipped() {
    let target = Target::answering(|_| ok(&key_authorization())).await;
    let list = ["169.254.169.254", "::ffff:169.254.169.254", "127.0.0.1"];
    let dns =
        DnsServer::answering(move |_, _, _| Dns::Addresses(list.iter().map(|ip| ip.parse().unwrap()).collect()))
            .await;
    let outcome = attempt(&validator(with_dns(target.port(), &dns)), "mixed.example.test").await;
    assert_eq!(outcome.result, Ok(()));
    assert_eq!(outcome.timeline.iter().filter(|s| s.what == StepKind::Deny).count(), 2);
}

#[tokio::test]
async fn a_mapped_ipv6_answer_is_judged_as_the_ipv4_address_in_it() {
    let target = Target::answering(|_| ok(&key_authorization())).await;
    let dns = DnsServer::answering(|_, _, _| Dns::Addresses(vec!["::ffff:127.0.0.1".parse().unwrap()])).await;
    let closed = ValidationConfig { allow_loopback: false, ..with_dns(target.port(), &dns) };
    let error = attempt(&validator(closed), "mapped.example.test").await.result.unwrap_err();
    assert!(matches!(error, ValidationError::Denied { denial: Denial::Loopback, .. }), "{error:?}");
    assert_eq!(target.connections(), 0);
    let outcome = attempt(&validator(with_dns(target.port(), &dns)), "mapped.example.test").await;
    assert_eq!(outcome.result, Ok(()));
    assert_eq!(target.connections(), 1);
}

/// The second answer for the same name is an address that is denied: it is asked for only by a redirect, and then
/// checked again.
#[tokio::test]
async fn rebinding_to_a_denied_address_reaches_nothing() {
    let target =
        Target::answering(|path| if path == "/x" { ok(&key_authorization()) } else { redirect(302, "/x") }).await;
    let port = target.port();
    let trap = Target::answering_on(&format!("127.0.0.2:{port}"), |_| ok(&key_authorization())).await;
    let rebind = |_: &str, kind: u16, before: usize| match (kind, before) {
        (A, 0) => Dns::Addresses(vec![LOOPBACK]),
        (A, _) => Dns::Addresses(vec!["127.0.0.2".parse().unwrap()]),
        _ => Dns::Addresses(vec![]),
    };
    let dns = DnsServer::answering(rebind).await;
    let denied = vec!["127.0.0.2".parse().unwrap()];
    let closed = ValidationConfig { deny_networks: denied, ..with_dns(port, &dns) };
    let error = attempt(&validator(closed), "rebind.example.test").await.result.unwrap_err();
    assert!(matches!(error, ValidationError::Denied { denial: Denial::DeniedNetwork(_), .. }), "{error:?}");
    assert_eq!((target.connections(), trap.connections()), (1, 0));

    let dns = DnsServer::answering(rebind).await;
    let outcome = attempt(&validator(with_dns(port, &dns)), "rebind.example.test").await;
    assert_eq!(outcome.result, Ok(()));
    assert_eq!(trap.connections(), 1, "with the rule open the second answer is dialled");
}

#[tokio::test]
async fn localhost_needs_no_dns_server() {
    let target = Target::answering(|_| ok(&key_authorization())).await;
    for name in ["localhost", "app.localhost"] {
        let outcome = attempt(&validator(config(target.port())), name).await;
        assert_eq!(outcome.result, Ok(()), "{name}: {:?}", outcome.timeline);
        assert!(outcome.timeline[0].detail.ends_with("(hosts file)"), "{:?}", outcome.timeline);
    }
}
