//! Which addresses are dialled: listeners on loopback count what arrives, the rule itself is a table.

use std::net::SocketAddr;

use chancery::model::network::{IpNetwork, embedded_ipv4};
use chancery::validation::guard::{Denial, Guard};
use chancery::validation::{ValidationConfig, ValidationError};

use super::support::*;

async fn denial(settings: ValidationConfig, forbidden: Vec<SocketAddr>, name: &str) -> Denial {
    match attempt(&guarded(settings, forbidden), name).await.result.unwrap_err() {
        ValidationError::Denied { denial, .. } => denial,
        other => panic!("not denied: {other:?}"),
    }
}

#[tokio::test]
async fn a_denied_address_is_never_dialled_and_an_allowed_one_is() {
    for (bind, name, network) in [
        ("127.0.0.1:0", "127.0.0.1", "127.0.0.0/8"),
        ("[::1]:0", "::1", "::1/128"),
        ("127.9.9.9:0", "127.9.9.9", "127.9.9.9"),
    ] {
        let target = Target::answering_on(bind, |_| ok(&key_authorization())).await;
        let network: IpNetwork = network.parse().unwrap();
        let open = config(target.port());

        let closed = ValidationConfig { allow_loopback: false, ..open.clone() };
        assert_eq!(denial(closed.clone(), vec![], name).await, Denial::Loopback);
        let named = ValidationConfig { allow_networks: vec![network], ..closed };
        assert_eq!(denial(named, vec![], name).await, Denial::Loopback, "allow_networks does not open loopback");

        let denied = ValidationConfig { deny_networks: vec![network], ..open.clone() };
        assert_eq!(denial(denied.clone(), vec![], name).await, Denial::DeniedNetwork(network));
        let both = ValidationConfig { allow_networks: vec![network], ..denied };
        assert_eq!(denial(both, vec![], name).await, Denial::DeniedNetwork(network), "deny beats allow");

        let elsewhere = vec!["10.0.0.0/8".parse().unwrap()];
        let narrow = ValidationConfig { allow_networks: elsewhere, ..open.clone() };
        assert_eq!(denial(narrow, vec![], name).await, Denial::NotAllowed);

        assert_eq!(denial(open.clone(), vec![target.address], name).await, Denial::OwnListener);
        let any = format!("[::]:{}", target.port()).parse().unwrap();
        assert_eq!(denial(open.clone(), vec![any], name).await, Denial::OwnListener);
        assert_eq!(target.connections(), 0);

        let allowed = ValidationConfig { allow_networks: vec![network], ..open };
        assert_eq!(attempt(&validator(allowed), name).await.result, Ok(()));
        assert_eq!(target.connections(), 1);
    }
}

#[tokio::test]
async fn the_unspecified_address_does_not_reach_this_machine() {
    let target = Target::answering_on("0.0.0.0:0", |_| ok(&key_authorization())).await;
    for name in ["0.0.0.0", "::", "0.0.0.1"] {
        assert_eq!(denial(config(target.port()), vec![], name).await, Denial::Unspecified, "{name}");
    }
    assert_eq!(target.connections(), 0);
    assert_eq!(prove(&target).await.result, Ok(()));
    assert_eq!(target.connections(), 1);
}

#[test]
fn the_rule_denies_what_no_certificate_is_about_and_allows_private_ranges() {
    let open = ValidationConfig { allow_loopback: true, ..ValidationConfig::default() };
    let guard = Guard::new(&open, vec!["10.1.2.3:5432".parse().unwrap()]);
    let denied = [
        (Denial::Unspecified, &["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0", "64:ff9b::", "2002::1", "::2"][..]),
        (Denial::Metadata, &["169.254.169.254", "169.254.170.2", "fd00:ec2::254", "fd20:ce::254", "168.63.129.16"]),
        (Denial::Metadata, &["100.100.100.200", "192.0.0.192", "fd00:42::42", "::ffff:169.254.169.254"]),
        (Denial::Metadata, &["::169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1"]),
        // Teredo holds the client's address with every bit turned over
        (Denial::Metadata, &["2001:0:0102:0304:0:ffff:5601:5601"]),
        (Denial::LinkLocal, &["169.254.0.1", "169.254.255.255", "fe80::1", "febf::1", "::ffff:169.254.1.1"]),
        (Denial::Multicast, &["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1", "::ffff:224.0.0.1"]),
        (Denial::Broadcast, &["255.255.255.255", "::ffff:255.255.255.255", "64:ff9b::ffff:ffff"]),
    ];
    for (expected, addresses) in denied {
        for address in addresses {
            let target = SocketAddr::new(address.parse().unwrap(), 80);
            assert_eq!(guard.check(target), Err(expected), "{address}");
        }
    }
    for address in [
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "192.0.2.1",
        "8.8.8.8",
        "fd12:3456::1",
        "2001:db8::1",
        "127.0.0.1",
        "::1",
        "::ffff:10.0.0.1",
        "64:ff9b::0a00:1",
        "2002:0a00:1::",
    ] {
        assert_eq!(guard.check(SocketAddr::new(address.parse().unwrap(), 80)), Ok(()), "{address}");
    }
    for database in ["10.1.2.3:5432", "[::ffff:10.1.2.3]:5432", "127.0.0.1:5432", "[::1]:5432", "127.8.8.8:5432"] {
        assert_eq!(guard.check(database.parse().unwrap()), Err(Denial::OwnListener), "{database}");
    }
    assert_eq!(guard.check("127.0.0.1:5433".parse().unwrap()), Ok(()));
}

#[test]
fn a_network_denies_addresses_that_carry_one_of_its_own() {
    let network: IpNetwork = "10.0.0.0/8".parse().unwrap();
    let deny = ValidationConfig { deny_networks: vec![network], ..ValidationConfig::default() };
    let allow = ValidationConfig { allow_networks: vec![network], ..ValidationConfig::default() };
    for address in ["10.0.0.1", "::ffff:10.255.0.1", "64:ff9b::10.0.0.1", "2002:a00:1::5"] {
        let target = SocketAddr::new(address.parse().unwrap(), 80);
        assert_eq!(Guard::new(&deny, vec![]).check(target), Err(Denial::DeniedNetwork(network)), "{address}");
        assert_eq!(Guard::new(&allow, vec![]).check(target), Ok(()), "{address}");
    }
    let outside = "11.0.0.1:80".parse().unwrap();
    assert_eq!(Guard::new(&deny, vec![]).check(outside), Ok(()));
    assert_eq!(Guard::new(&allow, vec![]).check(outside), Err(Denial::NotAllowed));
    let literal: IpNetwork = "2002::/16".parse().unwrap();
    let deny = ValidationConfig { deny_networks: vec![literal], ..ValidationConfig::default() };
    let target = "[2002:b00:1::5]:80".parse().unwrap();
    assert_eq!(Guard::new(&deny, vec![]).check(target), Err(Denial::DeniedNetwork(literal)));
}

#[test]
fn loopback_and_the_absent_ipv4_are_not_taken_for_embedded_ones() {
    assert_eq!(embedded_ipv4("::1".parse().unwrap()), None);
    assert_eq!(embedded_ipv4("::".parse().unwrap()), None);
    assert_eq!(embedded_ipv4("2001:db8::10.0.0.1".parse().unwrap()), None);
}
