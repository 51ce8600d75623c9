//! What a directory changes in the settings: ports and DNS servers replace them, networks only narrow them.

use chancery::validation::guard::Denial;
use chancery::validation::{Method, Rules, ValidationConfig, ValidationError};

use super::alpn::{AlpnServer, Leaf, Manner, ip};
use super::support::*;

#[tokio::test]
async fn ports_and_resolvers_of_the_directory_take_the_place_of_the_settings_ones() {
    let target = Target::answering(|_| ok(&key_authorization())).await;
    let other = Target::answering(|_| ok("CANARY")).await;
    let unused = DnsServer::answering(|_, _, _| Dns::Code(2)).await;
    let own = DnsServer::answering(|_, _, _| Dns::Addresses(vec!["127.0.0.1".parse().unwrap()])).await;
    let validator = validator(ValidationConfig { resolvers: vec![unused.address], ..config(other.port()) });
    let rules = Rules { http01_port: Some(target.port()), resolvers: vec![own.address], ..Rules::default() };
    assert_eq!(attempt_by(&validator, Method::Http01, &rules, "www.a.test").await.result, Ok(()));
    assert!(unused.asked().is_empty() && other.connections() == 0);

    let server = AlpnServer::start("127.0.0.1:0", Leaf::right(ip("127.0.0.1")), Manner::default()).await;
    let rules = Rules { tls_alpn01_port: Some(server.address.port()), ..Rules::default() };
    assert_eq!(attempt_by(&validator, Method::TlsAlpn01, &rules, "127.0.0.1").await.result, Ok(()));
}

#[tokio::test]
async fn a_redirect_may_go_to_the_directory_s_ports() {
    let second = Target::answering(|_| ok(&key_authorization())).await;
    let port = second.port();
    let first = Target::answering(move |_| redirect(302, &format!("http://127.0.0.1:{port}/x"))).await;
    let validator = validator(config(first.port()));
    let refused = attempt_by(&validator, Method::Http01, &Rules::default(), "127.0.0.1").await.result;
    assert!(matches!(refused, Err(ValidationError::Redirect { .. })), "{refused:?}");
    assert_eq!(second.connections(), 0);
    let rules = Rules { tls_alpn01_port: Some(port), ..Rules::default() };
    assert_eq!(attempt_by(&validator, Method::Http01, &rules, "127.0.0.1").await.result, Ok(()));
}

#[tokio::test]
async fn networks_of_the_directory_narrow_the_settings_and_never_widen_them() {
    let target = Target::answering(|_| ok(&key_authorization())).await;
    let network = |text: &str| text.parse().unwrap();
    let open = config(target.port());
    let narrow = ValidationConfig { allow_networks: vec![network("127.0.0.0/8")], ..open.clone() };
    let elsewhere = ValidationConfig { allow_networks: vec![network("10.0.0.0/8")], ..open.clone() };
    let denied = ValidationConfig { deny_networks: vec![network("127.0.0.1")], ..open.clone() };
    let no_loopback = ValidationConfig { allow_loopback: false, ..open.clone() };
    let allow = |text: &str| Rules { allow_networks: vec![network(text)], ..Rules::default() };
    let deny = |text: &str| Rules { deny_networks: vec![network(text)], ..Rules::default() };
    for (settings, rules, expected) in [
        (&open, Rules::default(), None),
        (&open, allow("127.0.0.0/8"), None),
        (&narrow, allow("127.0.0.1"), None),
        (&open, deny("10.0.0.0/8"), None),
        (&open, allow("10.0.0.0/8"), Some(Denial::NotAllowedByDirectory)),
        (&open, deny("127.0.0.0/8"), Some(Denial::DeniedByDirectory(network("127.0.0.0/8")))),
        (&elsewhere, allow("127.0.0.0/8"), Some(Denial::NotAllowed)),
        (&denied, allow("127.0.0.0/8"), Some(Denial::DeniedNetwork(network("127.0.0.1/32")))),
        (&no_loopback, allow("127.0.0.0/8"), Some(Denial::Loopback)),
    ] {
        let before = target.connections();
        let text = format!("{rules:?}");
        let result = attempt_by(&validator(settings.clone()), Method::Http01, &rules, "127.0.0.1").await.result;
        let seen = match result {
            Ok(()) => None,
            Err(ValidationError::Denied { denial, .. }) => Some(denial),
            Err(other) => panic!("{text}: {other:?}"),
        };
        assert_eq!(seen, expected, "{text}");
        assert_eq!(target.connections() - before, usize::from(expected.is_none()), "{text}");
    }
}

#[tokio::test]
async fn a_denied_network_holds_addresses_that_carry_one_of_its_own() {
    let dns = DnsServer::answering(|_, _, _| Dns::Addresses(vec!["::ffff:127.0.0.1".parse().unwrap()])).await;
    let target = Target::answering(|_| ok(&key_authorization())).await;
    let validator = validator(ValidationConfig { resolvers: vec![dns.address], ..config(target.port()) });
    let rules = Rules { deny_networks: vec!["127.0.0.1".parse().unwrap()], ..Rules::default() };
    let error = attempt_by(&validator, Method::Http01, &rules, "www.a.test").await.result.unwrap_err();
    assert!(matches!(error, ValidationError::Denied { denial: Denial::DeniedByDirectory(_), .. }), "{error:?}");
    assert!(error.detail().contains("of the ACME directory's deny_networks"), "{error}");
    assert_eq!(target.connections(), 0);
}
