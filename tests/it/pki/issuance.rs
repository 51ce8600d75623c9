//! What is issued, judged by OpenSSL (strict), webpki and rcgen; and what is refused, each by its rule.

use chancery::clock::{Timestamp, days, hours, minutes};
use chancery::error::ErrorKind;
use chancery::model::key::KeyAlgorithm::{self, Ed25519, P256, P384, P521, Rsa};
use chancery::model::validity::RequestedValidity;
use chancery::pki::issuer::{Ask, IssuerKey};
use chancery::pki::key_policy::KeyPolicy;
use chancery::pki::name::SubjectFields;
use chancery::pki::path::IssuingPath;
use chancery::pki::profile::ExtendedKeyUsage;
use chancery::pki::request::CertificateRequest;
use chancery::pki::signer::{SignError, Signer};
use chancery::pki::tbs::{TbsView, split_certificate};
use chancery::pki::{der, oids};
use futures_util::FutureExt;
use openssl::x509::{X509, X509PurposeId};
use proptest::prelude::*;

use super::ca::{Ca, NOW, Openssl, ask, issuer, request, rule, seal, serial, shipped_profile, webpki};
use super::support::{Csr, signer};

const SERVER: fn() -> webpki::KeyUsage = webpki::KeyUsage::server_auth;

#[test]
fn chains_of_every_kind_of_key_verify_strictly() {
    for (root, issuing, leaf) in [
        (P384, P256, P256),
        (P384, P384, Rsa(2048)),
        (P256, Ed25519, P384),
        (Ed25519, P256, Ed25519),
        (Rsa(2048), Rsa(2048), P521),
        (P521, P521, P256),
    ] {
        let ca = Ca::new(root, issuing);
        let issued =
            ca.issue_to("tls-server", leaf, ask(&["www.example.org", "*.example.net", "192.0.2.1"])).unwrap();
        let case = format!("{root} {issuing} {leaf}");
        let judge = |host| Openssl { host, ..Openssl::server() }.verify(issued.der(), &[&ca.issuing], &ca.root);
        assert_eq!(judge(Some("www.example.org")), Ok(()), "{case}");
        assert_eq!(judge(Some("a.example.net")), Ok(()), "{case}");
        assert!(judge(Some("example.net")).is_err() && judge(Some("a.b.example.net")).is_err(), "{case}");
        assert_eq!(webpki(issued.der(), &ca.issuing, &ca.root, SERVER(), "192.0.2.1", NOW), Ok(()), "{case}");
        assert_eq!(webpki(issued.der(), &ca.issuing, &ca.root, SERVER(), "www.example.org", NOW), Ok(()), "{case}");
        assert!(webpki(issued.der(), &ca.issuing, &ca.root, SERVER(), "evilexample.org", NOW).is_err(), "{case}");
    }
}

#[test]
fn a_chain_is_refused_for_another_purpose_and_another_time() {
    let ca = Ca::new(P384, P256);
    let issued = ca.issue("tls-server", &["www.example.org"]).unwrap();
    let judge = |purpose, at| Openssl { purpose, host: None, at }.verify(issued.der(), &[&ca.issuing], &ca.root);
    assert_eq!(judge(X509PurposeId::SSL_SERVER, NOW), Ok(()));
    for (purpose, at) in [
        (X509PurposeId::SSL_CLIENT, NOW),
        (X509PurposeId::SMIME_SIGN, NOW),
        (X509PurposeId::TIMESTAMP_SIGN, NOW),
        (X509PurposeId::CRL_SIGN, NOW),
        (X509PurposeId::SSL_SERVER, NOW - days(2)),
        (X509PurposeId::SSL_SERVER, NOW + days(90)),
    ] {
        assert!(judge(purpose, at).is_err(), "{} {at}", purpose.as_raw());
    }
    let client = webpki::KeyUsage::client_auth();
    assert!(webpki(issued.der(), &ca.issuing, &ca.root, client, "www.example.org", NOW).is_err());
    let late = NOW + days(91);
    assert!(webpki(issued.der(), &ca.issuing, &ca.root, SERVER(), "www.example.org", late).is_err());
}

#[test]
fn every_shipped_profile_issues_what_its_program_verifies() {
    let ca = Ca::new(P384, P256);
    let full = SubjectFields {
        country: Some("DE".into()),
        state: Some("Berlin".into()),
        organization: vec!["Example".into()],
        ..SubjectFields::default()
    };
    let (server, client) = (X509PurposeId::SSL_SERVER, X509PurposeId::SSL_CLIENT);
    let any = X509PurposeId::ANY;
    for (profile, cn, names, purpose, subject) in [
        ("tls-server", None, &["a.example.org"][..], server, "CN=a.example.org"),
        ("tls-client", Some("alice"), &[], client, "CN=alice"),
        ("tls-client", None, &["spiffe://td/x"], client, ""),
        ("tls-peer", None, &["a.example.org", "spiffe://td/x"], client, "CN=a.example.org"),
        ("kube-apiserver", None, &["kubernetes.default.svc", "kubernetes", "10.96.0.1"], server, "CN=kube-apiserver"),
        ("kube-apiserver-kubelet-client", None, &[], client, "CN=kube-apiserver-kubelet-client"),
        ("kube-admin", None, &[], client, "CN=kubernetes-admin,O=kubeadm:cluster-admins"),
        ("kube-super-admin", None, &[], client, "CN=kubernetes-super-admin,O=system:masters"),
        ("kube-controller-manager", None, &[], client, "CN=system:kube-controller-manager"),
        ("kube-scheduler", None, &[], client, "CN=system:kube-scheduler"),
        ("kube-proxy", None, &[], client, "CN=system:kube-proxy"),
        ("kubelet-client", Some("system:node:n1"), &[], client, "CN=system:node:n1,O=system:nodes"),
        ("kubelet-server", Some("system:node:n1"), &["n1", "10.0.0.1"], server, "CN=system:node:n1,O=system:nodes"),
        ("kube-webhook", None, &["hook.default.svc", "hook.default.svc.cluster.local"], server, ""),
        ("front-proxy-client", None, &[], client, "CN=front-proxy-client"),
        ("etcd-server", Some("m1"), &["m1.example.org", "127.0.0.1"], server, "CN=m1"),
        ("etcd-peer", Some("m1"), &["m1.example.org"], client, "CN=m1"),
        ("etcd-client", Some("root"), &[], client, "CN=root"),
        ("code-signing", Some("Example"), &[], any, "CN=Example,O=Example,ST=Berlin,C=DE"),
        ("keyless", None, &["a@example.org"], any, ""),
        ("timestamping", Some("Clock"), &[], X509PurposeId::TIMESTAMP_SIGN, "CN=Clock"),
        ("smime", Some("Alice"), &["a@example.org"], X509PurposeId::SMIME_SIGN, "CN=Alice"),
    ] {
        let asked = Ask { common_name: cn.map(str::to_owned), subject: full.clone(), ..ask(names) };
        let issued = ca.issue_to(profile, P256, asked).unwrap_or_else(|e| panic!("{profile}: {e}"));
        assert_eq!(issued.facts().subject, subject, "{profile}");
        let verdict = Openssl { purpose, host: None, at: NOW }.verify(issued.der(), &[&ca.issuing], &ca.root);
        assert_eq!(verdict, Ok(()), "{profile}");
    }
}

#[test]
fn rsa_servers_encipher_keys_and_others_do_not() {
    let ca = Ca::new(P384, P256);
    for (key, bits) in [(Rsa(2048), 0xa000), (P256, 0x8000), (Ed25519, 0x8000)] {
        let issued = ca.issue_to("tls-server", key, ask(&["a.example.org"])).unwrap();
        let (tbs, ..) = split_certificate(issued.der()).unwrap();
        assert_eq!(TbsView::parse(tbs).unwrap().key_usage(), Ok(Some(bits)), "{key}");
    }
    let issued = ca.issue_to("tls-client", Rsa(2048), Ask { common_name: Some("a".into()), ..ask(&[]) }).unwrap();
    let (tbs, ..) = split_certificate(issued.der()).unwrap();
    assert_eq!(TbsView::parse(tbs).unwrap().key_usage(), Ok(Some(0x8000)));
}

#[test]
fn a_responder_verifies_under_its_issuer() {
    for ca in [Ca::new(P384, P256), Ca::new(Rsa(2048), Rsa(2048))] {
        let key = signer(P256);
        let prepared = ca.key.prepare_responder(key.public_key(), serial(), NOW, days(30)).unwrap();
        let issued = seal(&ca.key, prepared);
        let judge = Openssl { purpose: X509PurposeId::OCSP_HELPER, host: None, at: NOW };
        assert_eq!(judge.verify(issued.der(), &[&ca.issuing], &ca.root), Ok(()));
        let (tbs, ..) = split_certificate(issued.der()).unwrap();
        let view = TbsView::parse(tbs).unwrap();
        assert_eq!(view.extended_key_usage().unwrap(), [oids::EKU_OCSP_SIGNING]);
        assert_eq!(view.extension(&oids::OCSP_NOCHECK), Some((false, &[5, 0][..])));
        assert!(view.extension(&oids::CRL_DISTRIBUTION_POINTS).is_none());
        assert!(Openssl::server().verify(issued.der(), &[&ca.issuing], &ca.root).is_err());
    }
}

/// rcgen loses the first DC of such a name; a chain built so does not verify.
#[test]
fn a_repeated_and_a_multi_valued_rdn_chain_in_openssl() {
    let key = signer(P256);
    let rdn = |pairs: &[(&::der::oid::ObjectIdentifier, u8, &[u8])]| {
        let pairs = pairs.iter().map(|(id, tag, text)| der::sequence(&[&der::oid(id), &der::tlv(*tag, text)]));
        der::set_of(pairs.collect())
    };
    let name = der::sequence(&[
        &rdn(&[(&oids::DOMAIN_COMPONENT, der::IA5_STRING, b"com")]),
        &rdn(&[(&oids::DOMAIN_COMPONENT, der::IA5_STRING, b"example")]),
        &rdn(&[
            (&oids::COMMON_NAME, der::PRINTABLE_STRING, b"AD CA"),
            (&oids::ORGANIZATIONAL_UNIT, der::TELETEX_STRING, b"B\xfcro"),
        ]),
    ]);
    let ca_der = foreign_ca(&key, &name);
    let issuer_key = IssuerKey::new(
        &issuer("ad-1", chancery::model::issuer::IssuerRole::Issuing),
        IssuingPath::read(&[&ca_der]).unwrap(),
        std::sync::Arc::new(key),
    )
    .unwrap();
    let leaf = signer(P256);
    let profile = shipped_profile("tls-server");
    let prepared = issuer_key.prepare(&profile, &request(leaf.public_key()), &ask(&["a.example.org"])).unwrap();
    let issued = seal(&issuer_key, prepared);
    assert_eq!(Openssl::server().verify(issued.der(), &[], &ca_der), Ok(()));
    let (tbs, ..) = split_certificate(issued.der()).unwrap();
    assert_eq!(TbsView::parse(tbs).unwrap().issuer, name);
}

/// A self-signed CA as somebody else wrote it, with a key identifier of its own making.
fn foreign_ca(key: &dyn Signer, name: &[u8]) -> Vec<u8> {
    let extensions = der::sequence(&[
        &der::extension(&oids::BASIC_CONSTRAINTS, true, &der::sequence(&[&der::boolean_true()])),
        &der::extension(&oids::KEY_USAGE, true, &der::named_bit_string(0x0600)),
        &der::extension(&oids::SUBJECT_KEY_ID, false, &der::octet_string(b"their own")),
    ]);
    let algorithm = chancery::pki::algorithm::algorithm_identifier(
        chancery::model::key::SignatureAlgorithm::for_key(key.algorithm()),
    );
    let tbs = der::sequence(&[
        &[0xa0, 3, 2, 1, 2],
        &der::unsigned(&[1]),
        &algorithm,
        name,
        &der::sequence(&[&der::time(NOW - days(1)), &der::time(NOW + days(3650))]),
        name,
        key.public_key(),
        &der::constructed(der::context_constructed(3), &[&extensions]),
    ]);
    let signature = super::support::sign(key, &tbs);
    der::sequence(&[&tbs, &algorithm, &der::bit_string(&signature)])
}

#[test]
fn a_csr_gives_its_key_and_names_and_nothing_else() {
    let ca = Ca::new(P384, P256);
    let key = signer(P256);
    let san = der::sequence(&[&der::tlv(0x82, b"a.example.org")]);
    let usages = der::sequence(&[&der::oid(&oids::EKU_CODE_SIGNING), &der::oid(&oids::ANY_EXTENDED_KEY_USAGE)]);
    let csr = Csr::new(&key).common_name("a.example.org").extensions(&[
        der::extension(&oids::SUBJECT_ALT_NAME, false, &san),
        der::extension(&oids::BASIC_CONSTRAINTS, true, &der::sequence(&[&der::boolean_true()])),
        der::extension(&oids::KEY_USAGE, true, &der::named_bit_string(0x0600)),
        der::extension(&oids::EXTENDED_KEY_USAGE, false, &usages),
        der::extension(&oids::NAME_CONSTRAINTS, true, &san),
        der::extension(&oids::OCSP_NOCHECK, false, &der::null()),
        der::extension(&oids::SUBJECT_KEY_ID, false, &der::octet_string(b"stolen")),
        der::extension(&::der::oid::ObjectIdentifier::new_unwrap("1.2.3.4"), true, b"?"),
    ]);
    let request = CertificateRequest::from_der(&csr.build(), &KeyPolicy::default()).unwrap();
    let profile = shipped_profile("tls-server");
    let asked = Ask { names: None, ..ask(&[]) };
    let issued = seal(&ca.key, ca.key.prepare(&profile, &request, &asked).unwrap());
    let plain = ca.issue("tls-server", &["a.example.org"]).unwrap();
    let extensions = |certificate: &[u8]| {
        let (tbs, ..) = split_certificate(certificate).unwrap();
        let view = TbsView::parse(tbs).unwrap();
        let own_key = [oids::SUBJECT_KEY_ID];
        let rest = view.extensions.iter().filter(|(id, ..)| !own_key.contains(id));
        rest.map(|(id, critical, value)| (*id, *critical, value.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(extensions(issued.der()), extensions(plain.der()));
    assert_eq!(issued.facts().subject, "CN=a.example.org");
}

#[test]
fn names_outside_the_profile_are_refused_each_by_its_rule() {
    let ca = Ca::new(P384, P256);
    let many: Vec<String> = (0..101).map(|i| format!("n{i}.example.org")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (profile, names, expected) in [
        ("tls-server", &[][..], "names.count"),
        ("tls-server", &many, "names.count"),
        ("tls-server", &["a@example.org"], "names.kinds"),
        ("tls-server", &["spiffe://td/x"], "names.kinds"),
        ("tls-server", &["localhost"], "names.allow"),
        ("tls-server", &["a.default.svc"], "names.allow"),
        ("tls-server", &["kubernetes"], "names.allow"),
        ("tls-server", &["ca.example.test"], "names.allow"),
        ("tls-server", &["*.example.test"], "names.allow"),
        ("tls-server", &["127.0.0.1"], "names.allow"),
        ("tls-server", &["good.example.org", "x.cluster.local"], "names.allow"),
        ("etcd-server", &["*.example.org"], "names.wildcards"),
        ("kube-webhook", &["a.example.org"], "names.allow"),
        ("kube-apiserver", &["a.example.org", "b.example.org"], "names.required"),
        ("kube-admin", &["a.example.org"], "names.count"),
        ("smime", &[], "names.count"),
        ("keyless", &["a@example.org", "b@example.org"], "names.count"),
        ("tls-peer", &["a.example.org", "spiffe://td/x", "spiffe://td/y"], "lint.san.spiffe"),
    ] {
        let asked = Ask { common_name: (profile == "etcd-server").then(|| "m1".into()), ..ask(names) };
        assert_eq!(rule(ca.issue_to(profile, P256, asked)), expected, "{profile} {names:?}");
    }
}

/// The CAA recheck of 2020 checked one name N times: each place in the list is looked at.
#[test]
fn one_bad_name_among_a_hundred_is_found_wherever_it_stands() {
    let ca = Ca::new(P384, P256);
    let key = signer(P256);
    let (profile, request) = (shipped_profile("tls-server"), request(key.public_key()));
    for at in 0..100 {
        let names: Vec<String> =
            (0..100).map(|i| if i == at { "x.svc".into() } else { format!("n{i}.example.org") }).collect();
        let asked = ask(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(rule(ca.key.prepare(&profile, &request, &asked)), "names.allow", "{at}");
    }
}

#[test]
fn subjects_are_the_profiles() {
    let ca = Ca::new(P384, P256);
    for (profile, cn, names, expected) in [
        ("kube-admin", Some("cluster-admin"), &[][..], "subject.common_name"),
        ("kubelet-client", Some("system:node:"), &[], "subject.common_name"),
        ("kubelet-client", Some("system:kube-proxy"), &[], "subject.common_name"),
        ("kubelet-client", None, &[], "subject.common_name"),
        ("etcd-server", None, &["a.example.org"], "subject.common_name"),
        ("etcd-server", Some("*.example.org"), &["a.example.org"], "subject.common_name"),
        ("etcd-server", Some("b.example.org"), &["a.example.org"], "lint.san.common_name"),
        ("tls-client", Some("system:admin"), &[], "subject.common_name"),
        ("tls-client", None, &[], "subject.present"),
        ("timestamping", None, &[], "subject.present"),
        ("code-signing", Some("x"), &[], "subject.country"),
    ] {
        let asked = Ask { common_name: cn.map(str::to_owned), ..ask(names) };
        assert_eq!(rule(ca.issue_to(profile, P256, asked)), expected, "{profile} {cn:?}");
    }
    let long = Ask { common_name: Some("x".repeat(65)), ..ask(&[]) };
    assert_eq!(rule(ca.issue_to("tls-client", P256, long)), "subject.CN");
    // a first name of more than 64 octets leaves the CN to the next one
    let label = "a".repeat(60);
    let issued = ca.issue("tls-server", &[&format!("{label}.example.org"), "b.example.org"]).unwrap();
    assert_eq!(issued.facts().subject, "CN=b.example.org");
}

#[test]
fn keys_outside_the_profile_are_refused() {
    let ca = Ca::new(P384, P256);
    let mut config = shipped_profile("tls-server").config().clone();
    config.keys = vec![P384];
    let profile = chancery::pki::profile::Profile::new(config).unwrap();
    let key = signer(P256);
    assert_eq!(rule(ca.key.prepare(&profile, &request(key.public_key()), &ask(&["a.b"]))), "profile.keys");
}

fn validity(ca: &Ca, asked: RequestedValidity, via_acme: bool, name: &str) -> Result<(Timestamp, Timestamp), String> {
    let asked = Ask { validity: asked, via_acme, ..ask(&[name]) };
    let issued = ca.issue_to("tls-server", P256, asked);
    issued.map(|i| (i.facts().validity.not_before(), i.facts().validity.not_after())).map_err(|e| rule::<()>(Err(e)))
}

#[test]
fn explicit_times_are_honoured_exactly_or_refused() {
    let ca = Ca::new(P384, P256);
    let asked =
        |not_before, not_after, ttl| RequestedValidity { not_before, not_after, ttl, ..RequestedValidity::default() };
    let second = std::time::Duration::from_secs(1);
    let start = NOW - minutes(1);
    let judge = |request| validity(&ca, request, false, "a.example.org");
    // both ends count: the length is exactly what was asked (Mozilla bug 1715455)
    // a lifetime counts from now, and the backdate comes on top
    assert_eq!(judge(asked(None, None, None)), Ok((start, NOW + days(90) - second)));
    assert_eq!(judge(asked(None, None, Some(minutes(5)))), Ok((start, NOW + minutes(5) - second)));
    assert_eq!(judge(asked(None, None, Some(second * 30))), Ok((start, NOW + second * 29)));
    // as far as the maximum leaves room for it
    assert_eq!(judge(asked(None, None, Some(days(397) - second))), Ok((NOW - second, NOW + days(397) - second * 2)));
    assert_eq!(judge(asked(None, None, Some(days(397)))), Ok((NOW, NOW + days(397) - second)));
    assert_eq!(judge(asked(None, Some(NOW + days(397) - second), None)), Ok((NOW, NOW + days(397) - second)));
    assert_eq!(judge(asked(None, Some(NOW + days(397)), None)), Err("validity.lifetime".into()));
    // like the certificate before: its whole length, capped like a default
    let like = |length| judge(RequestedValidity { like_before: Some(length), ..RequestedValidity::default() });
    assert_eq!(like(hours(1)), Ok((start, start + hours(1) - second)));
    assert_eq!(like(days(500)), Ok((start, start + days(397) - second)));
    assert_eq!(judge(asked(None, None, Some(days(397) + second))), Err("validity.lifetime".into()));
    assert_eq!(judge(asked(Some(NOW), Some(NOW + days(3)), None)), Ok((NOW, NOW + days(3))));
    assert_eq!(judge(asked(Some(NOW), Some(NOW + days(397) - second), None)), Ok((NOW, NOW + days(397) - second)));
    assert_eq!(judge(asked(Some(NOW), Some(NOW + days(397)), None)), Err("validity.lifetime".into()));
    assert_eq!(judge(asked(Some(NOW + days(1)), None, Some(days(1)))), Ok((NOW + days(1), NOW + days(2) - second)));
    assert_eq!(judge(asked(Some(NOW - hours(2)), None, None)), Err("validity.not_before".into()));
    assert_eq!(judge(asked(None, Some(NOW - second), None)), Err("validity.not_after".into()));
    assert_eq!(judge(asked(None, Some(NOW + days(1)), Some(days(1)))), Err("Malformed".into()));
    assert_eq!(judge(asked(Some(NOW), Some(NOW - days(1)), None)), Err("Malformed".into()));
    // the issuer's own start is no way back into the past (its notBefore is NOW - 1 d)
    assert_eq!(judge(asked(Some(NOW - days(1)), None, None)), Err("validity.not_before".into()));
}

#[test]
fn an_explicit_start_lies_within_a_week_and_by_acme_within_a_minute_of_its_order() {
    let ca = Ca::new(P384, P256);
    let second = std::time::Duration::from_secs(1);
    let starts = |at, asked_at| {
        let asked = RequestedValidity { not_before: Some(at), asked_at, ..RequestedValidity::default() };
        validity(&ca, asked, asked_at.is_some(), "a.example.org").map(|(from, _)| from)
    };
    let refused = || Err("validity.not_before".to_owned());
    assert_eq!(starts(NOW + days(7), None), Ok(NOW + days(7)));
    assert_eq!(starts(NOW + days(7) + minutes(1) + second, None), refused());
    assert_eq!(starts(NOW + days(900), None), refused());
    // an order that was made six hours ago
    let made = NOW - hours(6);
    assert_eq!(starts(made - minutes(1), Some(made)), Ok(made - minutes(1)));
    assert_eq!(starts(made + minutes(1), Some(made)), Ok(made + minutes(1)));
    assert_eq!(starts(made - minutes(2) - second, Some(made)), refused());
    assert_eq!(starts(made + minutes(1) + second, Some(made)), refused());
}

#[test]
fn a_profile_sets_how_far_ahead_a_certificate_may_start() {
    let mut config = shipped_profile("tls-server").config().clone();
    config.lifetime.max_start_delay = Some("0s".into());
    let profile = chancery::pki::profile::Profile::new(config.clone()).unwrap();
    let ca = Ca::new(P384, P256);
    let key = signer(P256);
    let asked = RequestedValidity { not_before: Some(NOW + minutes(2)), ..RequestedValidity::default() };
    let asked = Ask { validity: asked, ..ask(&["a.example.org"]) };
    assert_eq!(rule(ca.key.prepare(&profile, &request(key.public_key()), &asked)), "validity.not_before");
    config.lifetime.max_start_delay = Some("2y".into());
    let refused = chancery::pki::profile::Profile::new(config).unwrap_err();
    assert_eq!(refused.rule.unwrap().name, "profile.lifetime.max_start_delay");
}

#[test]
fn an_address_by_acme_lives_seven_days() {
    let ca = Ca::new(P384, P256);
    let (from, to) = validity(&ca, RequestedValidity::default(), true, "192.0.2.1").unwrap();
    assert_eq!(to.since(from).as_secs() + 1, 7 * 86_400);
    let long = RequestedValidity { ttl: Some(days(8)), ..RequestedValidity::default() };
    assert_eq!(validity(&ca, long, true, "192.0.2.1"), Err("validity.lifetime".into()));
    assert!(validity(&ca, long, true, "a.example.org").is_ok() && validity(&ca, long, false, "192.0.2.1").is_ok());
}

#[test]
fn defaults_are_capped_by_the_issuer_and_explicit_times_beyond_it_refused() {
    let ca = Ca::new(P384, P256);
    let near_end = ca.key.validity().not_after() - days(10);
    let at = |validity| Ask { now: near_end, validity, ..ask(&["a.example.org"]) };
    let issued = ca.issue_to("tls-server", P256, at(RequestedValidity::default())).unwrap();
    assert_eq!(issued.facts().validity.not_after(), ca.key.validity().not_after());
    let ttl = RequestedValidity { ttl: Some(days(11)), ..RequestedValidity::default() };
    assert_eq!(rule(ca.issue_to("tls-server", P256, at(ttl))), "validity.issuer");
}

#[test]
fn usages_outside_the_issuers_are_refused() {
    let ca = Ca::with_usages(P384, P256, &[ExtendedKeyUsage::ServerAuth]);
    assert!(ca.issue("tls-server", &["a.example.org"]).is_ok());
    let client = Ask { common_name: Some("alice".into()), ..ask(&[]) };
    assert_eq!(rule(ca.issue_to("tls-client", P256, client)), "issuer.extended_key_usage");
}

#[test]
fn an_issuing_ca_cannot_make_another_one() {
    let ca = Ca::new(P384, P256);
    let key = signer(P256);
    let below = chancery::pki::issuer::NewIssuer {
        name: "Too Deep",
        spki: key.public_key(),
        usages: &[ExtendedKeyUsage::ServerAuth],
        constraints: None,
        validity: super::ca::life(30),
    };
    assert_eq!(rule(ca.key.prepare_issuing(&below, serial())), "lint.basic_constraints.path_len");
}

#[test]
fn an_issuer_takes_only_its_own_key_and_certificate() {
    use chancery::model::issuer::IssuerRole;
    let ca = Ca::new(P384, P256);
    let other: std::sync::Arc<dyn Signer> = std::sync::Arc::new(signer(P256));
    let record = issuer("x", IssuerRole::Issuing);
    assert_eq!(
        IssuerKey::new(&record, IssuingPath::read(&[&ca.issuing]).unwrap(), other).unwrap_err().kind,
        ErrorKind::Inconsistent
    );
    let leaf: std::sync::Arc<dyn Signer> = std::sync::Arc::new(signer(P256));
    let profile = shipped_profile("tls-server");
    let prepared = ca.key.prepare(&profile, &request(leaf.public_key()), &ask(&["a.example.org"])).unwrap();
    let certificate = seal(&ca.key, prepared).into_der();
    assert_eq!(rule(IssuingPath::read(&[&certificate])), "issuer.ca");
}

#[test]
fn only_the_issuer_that_prepared_can_seal() {
    let (ca, leaf) = (Ca::new(P384, P256), signer(P256));
    let profile = shipped_profile("tls-server");
    let prepared = ca.key.prepare(&profile, &request(leaf.public_key()), &ask(&["a.example.org"])).unwrap();
    let error = ca.root_key.seal(prepared).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Inconsistent);
}

/// A broken HSM: the signature is another message's.
#[derive(Debug)]
struct Faulty(chancery::keys::software::SoftwareSigner);

impl Signer for Faulty {
    fn algorithm(&self) -> KeyAlgorithm {
        self.0.algorithm()
    }
    fn public_key(&self) -> &[u8] {
        self.0.public_key()
    }
    fn sign<'a>(&'a self, _: &'a [u8]) -> futures_util::future::BoxFuture<'a, Result<Vec<u8>, SignError>> {
        self.0.sign(b"something else")
    }
}

#[test]
fn a_wrong_signature_is_not_released() {
    let key = signer(P256);
    let named = chancery::pki::name::DistinguishedName::build(&SubjectFields::common_name("X")).unwrap();
    let certificate = foreign_ca(&key, named.as_der());
    let record = issuer("x", chancery::model::issuer::IssuerRole::Issuing);
    let faulty =
        IssuerKey::new(&record, IssuingPath::read(&[&certificate]).unwrap(), std::sync::Arc::new(Faulty(key)))
            .unwrap();
    let leaf = signer(P256);
    let profile = shipped_profile("tls-server");
    let prepared = faulty.prepare(&profile, &request(leaf.public_key()), &ask(&["a.example.org"])).unwrap();
    assert_eq!(faulty.seal(prepared).now_or_never().unwrap().unwrap_err().kind, ErrorKind::Internal);
}

/// rcgen writes the same certificate: every extension that both have is the same octet by octet.
#[test]
fn rcgen_encodes_the_same_extensions() {
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyUsagePurpose, SanType};
    let ca = Ca::new(P384, P256);
    let names = ["a.example.org", "*.example.net", "192.0.2.1", "2001:db8::1"];
    let ours = ca.issue("tls-server", &names).unwrap();
    let (tbs, ..) = split_certificate(ours.der()).unwrap();
    let view = TbsView::parse(tbs).unwrap();

    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.not_before = NOW.to_utc();
    params.not_after = (NOW + days(1)).to_utc();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "a.example.org");
    params.subject_alt_names = vec![
        SanType::DnsName("a.example.org".try_into().unwrap()),
        SanType::DnsName("*.example.net".try_into().unwrap()),
        SanType::IpAddress("192.0.2.1".parse().unwrap()),
        SanType::IpAddress("2001:db8::1".parse().unwrap()),
    ];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.crl_distribution_points =
        vec![rcgen::CrlDistributionPoint { uris: vec!["http://ca.example.test:8080/crl/tls-1.crl".into()] }];
    params.key_identifier_method = KeyIdMethod::PreSpecified(view.subject_key_id().unwrap().unwrap().to_vec());
    let theirs = params.self_signed(&key).unwrap();
    let (their_tbs, ..) = split_certificate(theirs.der()).unwrap();
    let their_view = TbsView::parse(their_tbs).unwrap();
    assert_eq!(their_view.subject, view.subject);
    let mut compared = 0;
    for (id, critical, value) in &their_view.extensions {
        assert_eq!(view.extension(id), Some((*critical, *value)), "{id}");
        compared += 1;
    }
    assert_eq!(compared, 6);
}

#[test]
fn facts_are_what_openssl_reads() {
    let ca = Ca::new(P384, P256);
    let issued = ca.issue("tls-server", &["a.example.org", "192.0.2.1"]).unwrap();
    let theirs = X509::from_der(issued.der()).unwrap();
    let facts = issued.facts();
    let serial = theirs.serial_number().to_bn().unwrap().to_vec();
    assert_eq!(facts.serial.octets(), serial);
    assert_eq!(
        issued.fingerprint().as_slice(),
        theirs.digest(openssl::hash::MessageDigest::sha256()).unwrap().as_ref()
    );
    let san = theirs.subject_alt_names().unwrap();
    assert_eq!(san.iter().filter_map(|n| n.dnsname()).collect::<Vec<_>>(), ["a.example.org"]);
    assert_eq!(san.iter().filter_map(|n| n.ipaddress()).collect::<Vec<_>>(), [[192, 0, 2, 1]]);
    let spki = theirs.public_key().unwrap().public_key_to_der().unwrap();
    assert_eq!(facts.spki_sha256.as_slice(), openssl::sha::sha256(&spki));
    assert_eq!(
        theirs.ocsp_responders().unwrap().iter().next().unwrap().to_string(),
        "http://ca.example.test:8080/ocsp/tls-1"
    );
    assert_eq!(theirs.authority_key_id().unwrap().as_slice(), ca.key.key_id());
    assert_eq!(theirs.to_der().unwrap(), issued.der(), "re-encoding changes nothing");
}

#[test]
fn serials_are_positive_of_twenty_octets_and_even_in_every_bit() {
    let entropy = chancery::entropy::SystemEntropy::new();
    let mut ones = [0u32; 160];
    let count = 20_000;
    for _ in 0..count {
        let serial = chancery::model::serial::SerialNumber::draw(&entropy).unwrap();
        assert_eq!(serial.octets().len(), 20);
        assert!((0x40..0x80).contains(&serial.octets()[0]));
        for (bit, ones) in ones.iter_mut().enumerate() {
            *ones += u32::from(serial.octets()[bit / 8] >> (7 - bit % 8) & 1);
        }
    }
    // the first two bits are fixed; six standard deviations for the others
    let deviation = 6.0 * (f64::from(count) * 0.25).sqrt();
    for ones in &ones[2..] {
        assert!((f64::from(*ones) - f64::from(count) / 2.0).abs() < deviation);
    }
}

fn shared() -> &'static Ca {
    static CA: std::sync::OnceLock<Ca> = std::sync::OnceLock::new();
    CA.get_or_init(|| Ca::new(P384, P256))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever names are asked for, those and no other stand in the certificate, by OpenSSL's reading.
    #[test]
    fn names_come_out_as_they_went_in(labels in prop::collection::btree_set("[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", 1..20)) {
        let names: Vec<String> = labels.iter().map(|l| format!("{l}.example.org")).collect();
        // a label with hyphens in its third and fourth place is no name of ours
        prop_assume!(names.iter().all(|n| chancery::model::identifier::Identifier::dns(n).is_ok()));
        prop_assume!(names.iter().all(|n| !n.starts_with("kubernetes")));
        let issued = shared().issue("tls-server", &names.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        let theirs = X509::from_der(issued.der()).unwrap();
        let san: Vec<String> =
            theirs.subject_alt_names().unwrap().iter().map(|n| n.dnsname().unwrap().to_owned()).collect();
        prop_assert_eq!(san, names);
    }

    /// Every second of a century gives the same time in OpenSSL.
    #[test]
    fn times_are_read_alike(secs in 1_700_000_000i64..4_000_000_000) {
        let at = Timestamp::from_secs(secs);
        let text = String::from_utf8(der::time(at)[2..].to_vec()).unwrap();
        let text = if text.len() == 13 { format!("20{text}") } else { text };
        let theirs = openssl::asn1::Asn1Time::from_str_x509(&text).unwrap();
        prop_assert!(theirs == openssl::asn1::Asn1Time::from_unix(secs).unwrap());
    }
}
