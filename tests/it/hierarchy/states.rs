//! States of issuers and roots: who signs, what stands in the bundle, each move and its way back.

use std::sync::Arc;

use chancery::authority::Authority;
use chancery::authority::hierarchy::import::Import;
use chancery::authority::hierarchy::plan::Wanted;
use chancery::authority::signers::Candidates;
use chancery::clock::days;
use chancery::model::issuer::{IssuerMove, IssuerState};

use super::corporate::{Ca, Shape};
use super::{actor, issue, roots, rule, wanted};
use crate::on_both_engines;
use crate::support::stores::founded;

use IssuerMove::{Activate, Remove, Retire};

async fn go(authority: &Arc<Authority>, slug: &str, step: IssuerMove) {
    authority.move_issuer(&actor(), slug, step).await.unwrap();
}

async fn signer(authority: &Arc<Authority>, name: &str) -> String {
    issue(authority, "tls-server", None, &[name]).await.unwrap().certificate.issuer
}

fn state(authority: &Authority, slug: &str) -> (IssuerState, bool) {
    let snapshot = authority.snapshot();
    let issuer = &snapshot.issuer(slug).unwrap().issuer;
    (issuer.state, issuer.is_default)
}

on_both_engines! {
    async fn a_constrained_further_issuer_does_not_take_over_the_domain(at) {
        let (authority, _) = founded(&at.store).await;
        at.clock.advance(days(1));
        let partner = Wanted { permit: vec!["partner.example".into()], ..wanted("tls") };
        assert_eq!(authority.create_issuer(&actor(), &partner, Some("tls-root")).await.unwrap(), "tls-2");
        assert_eq!(state(&authority, "tls-2"), (IssuerState::Active, false));
        assert_eq!(signer(&authority, "www.other.example").await, "tls-1");
        assert_eq!(signer(&authority, "www.partner.example").await, "tls-1", "the default takes what it may");
        // as the default it signs what fits it, and the oldest that fits the rest
        go(&authority, "tls-2", IssuerMove::MakeDefault).await;
        assert_eq!((state(&authority, "tls-1"), state(&authority, "tls-2")), ((IssuerState::Active, false), (IssuerState::Active, true)));
        assert_eq!(signer(&authority, "www.partner.example").await, "tls-2");
        assert_eq!(signer(&authority, "www.other.example").await, "tls-1");
        // where none fits, the default says why
        go(&authority, "tls-1", Retire).await;
        assert_eq!(rule(issue(&authority, "tls-server", None, &["www.other.example"]).await), "issuer.name_constraints");
        go(&authority, "tls-1", IssuerMove::MakeDefault).await;
        assert_eq!(signer(&authority, "www.partner.example").await, "tls-1");
    }

    async fn a_listed_issuer_signs_though_another_is_the_default(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_issuer(&actor(), &wanted("tls"), Some("tls-root")).await.unwrap();
        let (snapshot, now) = (authority.snapshot(), at.store.now());
        let among = |slugs: &[&str]| {
            let slugs: Vec<String> = slugs.iter().map(|s| (*s).to_owned()).collect();
            snapshot.signer("tls", Candidates::Listed(&slugs), &[], now).map(|i| i.issuer.slug.clone())
        };
        assert_eq!(among(&["tls-2"]).unwrap(), "tls-2");
        assert_eq!(among(&["tls-2", "tls-1"]).unwrap(), "tls-1");
        assert_eq!(rule(among(&[])), "directory.issuers");
        assert_eq!(rule(among(&["tls-root"])), "directory.issuers");
    }

    async fn every_move_has_a_way_back_and_a_revoked_issuer_has_none(at) {
        let (authority, _) = founded(&at.store).await;
        let root = roots(&authority, "tls");
        assert_eq!(rule(authority.move_issuer(&actor(), "tls-1", Remove).await), "issuer.state");
        assert_eq!(rule(authority.move_issuer(&actor(), "tls-1", Activate).await), "issuer.state");
        assert_eq!(rule(authority.move_issuer(&actor(), "tls-root", Remove).await), "issuer.state");
        go(&authority, "tls-1", Retire).await;
        assert_eq!(rule(issue(&authority, "tls-server", None, &["a.example"]).await), "profile.domain");
        go(&authority, "tls-1", Remove).await;
        assert_eq!(rule(authority.move_issuer(&actor(), "tls-1", Activate).await), "issuer.state");
        go(&authority, "tls-1", Retire).await;
        go(&authority, "tls-1", Activate).await;
        assert_eq!(state(&authority, "tls-1"), (IssuerState::Active, true));
        // a retiring root stays in the bundle and what stands below it signs
        go(&authority, "tls-root", Retire).await;
        assert_eq!(signer(&authority, "a.example").await, "tls-1");
        assert_eq!(roots(&authority, "tls"), root);
        assert_eq!(rule(authority.create_issuer(&actor(), &wanted("tls"), Some("tls-root")).await), "issuer.active");
        assert_eq!(rule(authority.move_issuer(&actor(), "tls-root", Remove).await), "issuer.removal");
        go(&authority, "tls-1", Retire).await;
        go(&authority, "tls-root", Remove).await;
        assert_eq!(roots(&authority, "tls"), Vec::<Vec<u8>>::new());
        assert_eq!(rule(authority.move_issuer(&actor(), "tls-1", Activate).await), "issuer.activation");
        go(&authority, "tls-root", Retire).await;
        go(&authority, "tls-root", Activate).await;
        go(&authority, "tls-1", Activate).await;
        assert_eq!((signer(&authority, "a.example").await.as_str(), roots(&authority, "tls")), ("tls-1", root));
        go(&authority, "tls-1", IssuerMove::Revoke).await;
        for step in [Activate, Retire, Remove, IssuerMove::Revoke] {
            assert_eq!(rule(authority.move_issuer(&actor(), "tls-1", step).await), "issuer.state");
        }
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
        let moves = "SELECT COUNT(*) AS n FROM audit_events WHERE action IN ('issuer.activated', 'issuer.retired', 'issuer.removed', 'issuer.revoked') AND outcome = 'done'";
        assert_eq!(at.count(moves).await, 11);
    }

    async fn an_issuer_that_an_older_binary_retired_or_made_is_understood(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_issuer(&actor(), &wanted("tls"), Some("tls-root")).await.unwrap();
        at.sql("UPDATE issuers SET status = 'retired' WHERE slug = 'tls-1'").await;
        authority.reload().await.unwrap();
        assert_eq!(state(&authority, "tls-1"), (IssuerState::Retiring, false));
        assert_eq!(signer(&authority, "a.example").await, "tls-2");
        go(&authority, "tls-1", Activate).await;
        assert_eq!((state(&authority, "tls-1"), state(&authority, "tls-2")), ((IssuerState::Active, true), (IssuerState::Active, false)));
        // what signs nothing is retired for it
        go(&authority, "tls-2", Retire).await;
        go(&authority, "tls-2", Remove).await;
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM issuers WHERE slug = 'tls-2' AND status = 'retired'").await, 1);
        // it knows no defaults: the oldest active issuer signs
        at.sql("UPDATE issuers SET is_default = FALSE").await;
        authority.reload().await.unwrap();
        assert_eq!(signer(&authority, "a.example").await, "tls-1");
    }

    async fn a_new_root_is_in_the_bundle_before_anything_stands_under_it(at) {
        let (authority, _) = founded(&at.store).await;
        let old = roots(&authority, "tls");
        assert_eq!(authority.create_root(&actor(), &wanted("tls")).await.unwrap(), "tls-root-2");
        assert_eq!(state(&authority, "tls-root-2"), (IssuerState::Prepared, false));
        assert_eq!(roots(&authority, "tls").len(), 2);
        assert!(authority.current_crl("tls-root-2").await.is_ok());
        let constrained = Wanted { permit: vec!["lab.example".into()], ..wanted("tls") };
        assert_eq!(rule(authority.create_root(&actor(), &constrained).await), "issuer.root");
        assert_eq!(rule(authority.create_root(&actor(), &wanted("nowhere")).await), "issuer.domain");
        assert_eq!(authority.create_issuer(&actor(), &wanted("tls"), Some("tls-root-2")).await.unwrap(), "tls-2");
        assert_eq!(state(&authority, "tls-2"), (IssuerState::Prepared, false));
        assert_eq!(authority.create_issuer(&actor(), &wanted("tls"), None).await.unwrap(), "tls-3", "the active root signs");
        assert_eq!(signer(&authority, "a.example").await, "tls-1");
        let named = authority.snapshot().named_signer("tls-2", "tls", "tls-server", at.store.now()).map(|_| ());
        assert_eq!(rule(named), "issuer.active");
        assert_eq!(rule(authority.move_issuer(&actor(), "tls-2", Activate).await), "issuer.activation");
        go(&authority, "tls-root-2", Activate).await;
        assert_eq!(signer(&authority, "a.example").await, "tls-1", "its issuer is activated apart");
        go(&authority, "tls-2", Activate).await;
        let issued = issue(&authority, "tls-server", None, &["a.example"]).await.unwrap();
        assert_eq!(issued.certificate.issuer, "tls-2");
        assert_eq!(super::openssl(&issued.der, &issued.chain, &roots(&authority, "tls")), "ok");
        assert_ne!(super::openssl(&issued.der, &issued.chain, &old), "ok");
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn an_imported_root_with_usages_carries_an_issuer(at) {
        let (authority, _) = founded(&at.store).await;
        let root = Ca::root("Corp Root", &Shape { usages: vec!["1.3.6.1.5.5.7.3.1"], ..Shape::default() });
        let import = Import {
            domain: "corp".into(),
            name: None,
            certificates: vec![root.der()],
            key: root.pkcs8(),
            status_url: None,
            crl: None,
        };
        assert_eq!(authority.import_issuer(&actor(), import).await.unwrap(), "corp-root");
        assert_eq!(authority.create_issuer(&actor(), &wanted("corp"), Some("corp-root")).await.unwrap(), "corp-1");
        let issued = issue(&authority, "corp-server", None, &["a.example"]).await.unwrap();
        assert_eq!(super::openssl(&issued.der, &issued.chain, &roots(&authority, "corp")), "ok");
        let odd = Wanted { usages: vec!["codeSigning".into()], ..wanted("corp") };
        assert_eq!(rule(authority.create_issuer(&actor(), &odd, Some("corp-root")).await), "issuer.extended_key_usage");
        authority.publish_due().await.unwrap();
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn what_depends_on_an_issuer_is_counted(at) {
        let (authority, _) = founded(&at.store).await;
        signer(&authority, "a.example").await;
        let alone = authority.dependents("tls-1").await.unwrap();
        assert_eq!((alone.profiles.as_slice(), alone.valid_certificates), (&["tls-server".to_owned()][..], 1));
        assert!(alone.own_certificate && alone.successor.is_none());
        assert!(alone.must_confirm(Retire, 0));
        authority.create_issuer(&actor(), &wanted("tls"), None).await.unwrap();
        let one_of_two = authority.dependents("tls-1").await.unwrap();
        assert_eq!((one_of_two.profiles.len(), one_of_two.successor.as_deref()), (0, Some("tls-2")));
        assert!(!one_of_two.must_confirm(Retire, 0) && one_of_two.must_confirm(Retire, 1));
        let root = authority.dependents("tls-root").await.unwrap();
        assert_eq!((root.issuers.len(), root.profiles.len(), root.valid_certificates), (3, 1, 1));
        assert!(!root.must_confirm(Retire, 1) && root.must_confirm(Remove, 0));
    }

    async fn of_two_that_become_the_default_at_once_one_is_the_default(at) {
        let (one, keys) = founded(&at.store).await;
        for _ in 0..2 {
            one.create_issuer(&actor(), &wanted("tls"), Some("tls-root")).await.unwrap();
        }
        let two = Authority::open(at.restarted().await, keys, vec![]).await.unwrap();
        let me = actor();
        let (a, b) = tokio::join!(one.move_issuer(&me, "tls-2", IssuerMove::MakeDefault), two.move_issuer(&me, "tls-3", IssuerMove::MakeDefault));
        a.unwrap();
        b.unwrap();
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM issuers WHERE is_default").await, 1);
    }
}
