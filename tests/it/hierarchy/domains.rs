//! `ca create`: every trust domain with its own root, usages and constraints, and the refusals.

use std::sync::Arc;

use chancery::authority::Authority;
use chancery::authority::hierarchy::initialise;
use chancery::authority::hierarchy::plan::Wanted;
use chancery::error::ErrorKind;
use chancery::keys::seal::KeyMaterial;
use chancery::keys::store::Keys;
use chancery::model::issuer::IssuerMove;
use chancery::model::key::KeyAlgorithm;
use chancery::pki::signer::KeyStore;
use openssl::x509::X509;

use super::{actor, issue, openssl as judged, roots, rule, wanted};
use crate::on_both_engines;
use crate::support::stores::{all_keys, entropy, founded};

/// (domain, profile, common name, names): one certificate that each domain can issue.
const DOMAINS: [(&str, &str, Option<&str>, &[&str]); 9] = [
    ("mtls", "tls-client", Some("alice"), &[]),
    ("kubernetes", "kube-admin", None, &[]),
    ("etcd", "etcd-client", Some("root"), &[]),
    ("front-proxy", "front-proxy-client", None, &[]),
    ("code-signing", "keyless", None, &["ci@lab.example"]),
    ("timestamping", "timestamping", Some("TSA 1"), &[]),
    ("smime", "smime", Some("Alice"), &["alice@lab.example"]),
    ("dev", "dev-server", None, &["web.lab.example"]),
    ("payments", "payments-client", Some("till-1"), &[]),
];

on_both_engines! {
    async fn each_domain_stands_under_a_root_of_its_own(at) {
        let (authority, _) = founded(&at.store).await;
        let mut made = vec![("tls", issue(&authority, "tls-server", None, &["a.lab.example"]).await.unwrap())];
        for (domain, profile, cn, names) in DOMAINS {
            let before = rule(issue(&authority, profile, cn, names).await);
            assert_eq!(before, "profile.exists", "{profile} works only once its domain is there");
            let slug = authority.create_domain(&actor(), &wanted(domain)).await.unwrap();
            assert_eq!(slug, format!("{domain}-1"));
            made.push((domain, issue(&authority, profile, cn, names).await.unwrap()));
        }
        for (domain, issued) in &made {
            for (other, _) in &made {
                let verdict = judged(&issued.der, &issued.chain, &roots(&authority, other));
                assert_eq!(verdict == "ok", domain == other, "{domain} under the root of {other}: {verdict}");
            }
            let issuer = X509::from_der(&issued.chain[0]).unwrap();
            assert_eq!(issuer.pathlen(), Some(0), "{domain}");
            let root = X509::from_der(&roots(&authority, domain)[0]).unwrap();
            assert!(root.verify(&root.public_key().unwrap()).unwrap());
            let rsa = root.public_key().unwrap().rsa().is_ok() && issuer.public_key().unwrap().rsa().is_ok();
            assert_eq!(rsa, *domain == "smime");
        }
        let report = authority.fsck().await.unwrap();
        assert_eq!(report.findings, Vec::<String>::new());
    }

    async fn what_cannot_be_made_is_refused_by_rule_and_leaves_nothing(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("etcd")).await.unwrap();
        authority.create_domain(&actor(), &wanted("front-proxy")).await.unwrap();
        let rows = at.count("SELECT COUNT(*) AS n FROM issuers").await;
        for domain in ["etcd", "tls"] {
            let error = authority.create_domain(&actor(), &wanted(domain)).await.unwrap_err();
            let rule = error.rule.unwrap();
            assert_eq!((error.kind, rule.name.as_str()), (ErrorKind::Conflict, "domain.new"));
            assert_eq!(rule.value, format!("trust domain {domain}"));
            assert_eq!(rule.fix, format!("to add an issuer to it run `chancery ca create {domain} --under {domain}-root`"));
            assert_eq!(error.detail, format!("trust domain {domain} already exists; {}", rule.fix));
        }
        let under = |wanted: Wanted, slug: &'static str| {
            let authority = authority.clone();
            async move { authority.create_issuer(&actor(), &wanted, Some(slug)).await }
        };
        assert_eq!(rule(under(wanted("etcd"), "etcd-1").await), "issuer.path_len");
        assert_eq!(rule(under(wanted("etcd"), "tls-root").await), "issuer.domain");
        assert_eq!(rule(under(wanted("nowhere"), "tls-root").await), "issuer.domain");
        assert_eq!(under(wanted("etcd"), "nothing").await.unwrap_err().kind, ErrorKind::NotFound);
        let longer = Wanted { years: Some(11), ..wanted("etcd") };
        assert_eq!(rule(under(longer, "etcd-root").await), "issuer.years");
        let odd = Wanted { usages: vec!["everything".into()], ..wanted("etcd") };
        assert_eq!(rule(under(odd, "etcd-root").await), "issuer.extended_key_usage");
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM issuers").await, rows);
        let refusals = "SELECT COUNT(*) AS n FROM audit_events WHERE outcome = 'refused'";
        assert_eq!(at.count(refusals).await, 8, "every refusal is audited");
    }

    async fn one_more_issuer_signs_once_it_is_activated_and_its_slug_is_new(at) {
        let (authority, _) = founded(&at.store).await;
        let first = issue(&authority, "tls-server", None, &["a.lab.example"]).await.unwrap();
        at.clock.advance(std::time::Duration::from_secs(86_400));
        let asked = Wanted { key: Some(KeyAlgorithm::P384), usages: vec!["serverauth".into()], ..wanted("tls") };
        assert_eq!(authority.create_issuer(&actor(), &asked, None).await.unwrap(), "tls-2");
        let still = issue(&authority, "tls-server", None, &["a.lab.example"]).await.unwrap();
        assert_eq!(still.certificate.issuer, "tls-1", "the default goes on");
        authority.move_issuer(&actor(), "tls-2", IssuerMove::MakeDefault).await.unwrap();
        let second = issue(&authority, "tls-server", None, &["a.lab.example"]).await.unwrap();
        assert_eq!((first.certificate.issuer.as_str(), second.certificate.issuer.as_str()), ("tls-1", "tls-2"));
        assert_eq!(judged(&first.der, &first.chain, &roots(&authority, "tls")), "ok");
        assert_eq!(authority.create_issuer(&actor(), &wanted("tls"), Some("tls-root")).await.unwrap(), "tls-3");
    }

    async fn a_server_without_the_roots_key_sees_the_domain_and_says_who_makes_one(at) {
        let entropy = entropy();
        let material = || KeyMaterial::generate(entropy.as_ref()).unwrap();
        let (root, unlock) = (material(), material());
        let both = Keys::locked(entropy.clone()).with_root(&root).unwrap().with_unlock(&unlock).unwrap();
        let (status, wrapped) = both.new_status_key().unwrap();
        let mut founding = all_keys().1;
        (founding.key_check, founding.status_key) = (both.key_check().unwrap(), wrapped);
        let command: Arc<dyn KeyStore> = Arc::new(both.with_status(&status).unwrap());
        assert!(initialise(&at.store, command.as_ref(), &founding).await.unwrap());
        let online = Keys::locked(entropy.clone()).with_unlock(&unlock).unwrap().with_status(&status).unwrap();
        let server = Authority::open(at.restarted().await, Arc::new(online), vec![]).await.unwrap();
        assert!(!server.refresh().await.unwrap());
        let refused = server.create_domain(&actor(), &wanted("etcd")).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Conflict);
        assert!(refused.detail.contains("--root-key FILE"), "{refused}");
        assert_eq!(rule(server.create_issuer(&actor(), &wanted("tls"), None).await), "issuer.root_key");

        let host = Authority::open(at.store.clone(), command, vec![]).await.unwrap();
        host.create_domain(&actor(), &wanted("etcd")).await.unwrap();
        assert!(server.refresh().await.unwrap(), "the version row has moved");
        let issued = issue(&server, "etcd-client", Some("root"), &[]).await.unwrap();
        assert_eq!(judged(&issued.der, &issued.chain, &roots(&server, "etcd")), "ok");
        assert_eq!(server.publish_due().await.unwrap(), 0, "the host signed the first CRLs");
        assert!(server.current_crl("etcd-1").await.is_ok() && server.current_crl("etcd-root").await.is_ok());
    }

    async fn of_two_that_race_one_makes_the_domain(at) {
        let (one, keys) = founded(&at.store).await;
        let two = Authority::open(at.restarted().await, keys, vec![]).await.unwrap();
        let (me, etcd) = (actor(), wanted("etcd"));
        let (a, b) = tokio::join!(one.create_domain(&me, &etcd), two.create_domain(&me, &etcd));
        assert_eq!([a.is_ok(), b.is_ok()].iter().filter(|made| **made).count(), 1);
        let kind = a.err().or(b.err()).unwrap().kind;
        assert_eq!(kind, ErrorKind::Conflict);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM issuers WHERE domain = 'etcd'").await, 2);
    }

    async fn a_renewed_issuer_keeps_name_key_and_constraints(at) {
        let (authority, _) = founded(&at.store).await;
        let permit = vec!["lab.example".to_owned()];
        authority.create_domain(&actor(), &Wanted { permit, ..wanted("dev") }).await.unwrap();
        let first = issue(&authority, "dev-server", None, &["a.lab.example"]).await.unwrap();
        at.clock.advance(chancery::clock::days(30));
        assert_eq!(rule(authority.renew_issuer(&actor(), "dev-1", Some(11)).await), "issuer.years");
        assert_eq!(rule(authority.renew_issuer(&actor(), "dev-root", None).await), "issuer.parent");
        authority.renew_issuer(&actor(), "dev-1", Some(5)).await.unwrap();
        let second = issue(&authority, "dev-server", None, &["a.lab.example"]).await.unwrap();
        assert_ne!(first.chain, second.chain);
        let (old, new) = (X509::from_der(&first.chain[0]).unwrap(), X509::from_der(&second.chain[0]).unwrap());
        assert_eq!(old.subject_name_hash(), new.subject_name_hash());
        assert_eq!(old.public_key().unwrap().public_key_to_der().unwrap(), new.public_key().unwrap().public_key_to_der().unwrap());
        // each leaf stands under either certificate of its issuer
        assert_eq!(super::openssl_at(&first.der, &second.chain, &roots(&authority, "dev"), at.store.now()), "ok");
        assert_eq!(super::openssl_at(&second.der, &second.chain, &roots(&authority, "dev"), at.store.now()), "ok");
        assert_eq!(rule(issue(&authority, "dev-server", None, &["a.example"]).await), "issuer.name_constraints");
        authority.publish_due().await.unwrap();
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn a_constrained_issuer_refuses_every_other_form(at) {
        let (authority, _) = founded(&at.store).await;
        let permit = vec!["lab.example".to_owned(), "10.0.0.0/8".to_owned()];
        let asked = Wanted { permit, exclude: vec!["secret.lab.example".into()], ..wanted("mtls") };
        authority.create_domain(&actor(), &asked).await.unwrap();
        for (names, fits) in [
            (&["a.lab.example"][..], true),
            (&["a.lab.example", "10.1.2.3"], true),
            (&["a.lab.example", "11.1.2.3"], false),
            (&["a.lab.example", "fd00::1"], false),
            (&["x.secret.lab.example"], false),
            (&["a.example"], false),
            (&["a.lab.example", "spiffe://lab.example/x"], false),
        ] {
            let issued = issue(&authority, "tls-peer", None, names).await;
            assert_eq!(issued.is_ok(), fits, "{names:?}");
            if let Ok(issued) = issued {
                assert_eq!(judged(&issued.der, &issued.chain, &roots(&authority, "mtls")), "ok");
            }
        }
        assert_eq!(rule(issue(&authority, "tls-client", Some("a"), &["a@lab.example"]).await), "issuer.name_constraints");
    }
}
