//! Every state and every command: what comes of it, or how it is refused. A change that is taken back restores what
//! was.

use std::sync::Arc;

use chancery::authority::Authority;
use chancery::model::issuer::{IssuerMove, IssuerState};
use chancery::model::reason::RevocationReason;

use super::{actor, issue, roots, rule, wanted};
use crate::on_both_engines;
use crate::support::stores::{At, founded};

use IssuerMove::{Activate, MakeDefault, Remove, Retire};
use IssuerState::{Active, Prepared, Removed, Retiring, Revoked};

const MOVES: [IssuerMove; 4] = [Activate, MakeDefault, Retire, Remove];

/// What each of `MOVES` leads to from a state: the state and whether the CA is the default then, or what the refusal
/// names.
type Outcome = Result<(IssuerState, bool), &'static str>;

/// A second issuer that is no default.
const ISSUER: [(IssuerState, [Outcome; 4]); 5] = [
    (Prepared, [Ok((Active, true)), Ok((Active, true)), Err("ca remove"), Ok((Removed, false))]),
    (Active, [Err("ca activate tls-2 --default"), Ok((Active, true)), Ok((Retiring, false)), Err("ca retire tls-2")]),
    (Retiring, [Ok((Active, false)), Ok((Active, true)), Err("nothing needs to be done"), Ok((Removed, false))]),
    (
        Removed,
        [Err("ca retire tls-2"), Err("ca retire tls-2"), Ok((Retiring, false)), Err("nothing needs to be done")],
    ),
    (Revoked, [Err("ca create tls --under ROOT"), Err("ca create"), Err("ca create"), Err("ca create")]),
];

/// A second root.
const ROOT: [(IssuerState, [Outcome; 4]); 4] = [
    (Prepared, [Ok((Active, false)), Err("name an issuer"), Err("ca remove"), Ok((Removed, false))]),
    (Active, [Err("nothing needs"), Err("name an issuer"), Ok((Retiring, false)), Err("ca retire tls-root-2")]),
    (Retiring, [Ok((Active, false)), Err("name an issuer"), Err("nothing needs"), Ok((Removed, false))]),
    (Removed, [Err("ca retire tls-root-2"), Err("ca retire"), Ok((Retiring, false)), Err("nothing needs")]),
];

async fn go(authority: &Arc<Authority>, slug: &str, steps: &[IssuerMove]) {
    for step in steps {
        authority.move_issuer(&actor(), slug, *step).await.unwrap();
    }
}

fn state(authority: &Authority, slug: &str) -> (IssuerState, bool) {
    let snapshot = authority.snapshot();
    let issuer = &snapshot.issuer(slug).unwrap().issuer;
    (issuer.state, issuer.is_default)
}

async fn signer(authority: &Arc<Authority>) -> String {
    issue(authority, "tls-server", None, &["a.example"]).await.unwrap().certificate.issuer
}

/// One CA for each row and command, brought to the state of the row.
async fn judge(at: &At, root: bool, rows: &[(IssuerState, [Outcome; 4])]) {
    let (authority, _) = founded(&at.store).await;
    for (from, outcomes) in rows {
        for (step, expected) in MOVES.iter().zip(outcomes) {
            let slug = match (root, from) {
                (true, _) => authority.create_root(&actor(), &wanted("tls")).await.unwrap(),
                (false, Prepared) => {
                    let above = authority.create_root(&actor(), &wanted("tls")).await.unwrap();
                    let slug = authority.create_issuer(&actor(), &wanted("tls"), Some(&above)).await.unwrap();
                    go(&authority, &above, &[Activate]).await;
                    slug
                }
                (false, _) => authority.create_issuer(&actor(), &wanted("tls"), Some("tls-root")).await.unwrap(),
            };
            let way: &[IssuerMove] = match (root, from) {
                (_, Prepared) | (false, Active) => &[],
                (true, Active) => &[Activate],
                (false, Retiring) => &[Retire],
                (true, Retiring) => &[Activate, Retire],
                (false, Removed) => &[Retire, Remove],
                (true, Removed) => &[Activate, Retire, Remove],
                (_, Revoked) => &[IssuerMove::Revoke],
            };
            go(&authority, &slug, way).await;
            assert_eq!(state(&authority, &slug), (*from, false), "{slug}");
            let moved = authority.move_issuer(&actor(), &slug, *step).await;
            match expected {
                Ok(after) => {
                    moved.unwrap();
                    assert_eq!(state(&authority, &slug), *after, "{from:?} {step:?}");
                }
                Err(words) => {
                    let told = moved.unwrap_err().detail;
                    let words = words.replace("tls-root-2", &slug).replace("tls-2", &slug);
                    assert!(told.contains(&words), "{from:?} {step:?}: {words} in {told}");
                    assert_eq!(state(&authority, &slug), (*from, false));
                }
            }
            assert_eq!(at.count("SELECT COUNT(*) AS n FROM issuers WHERE is_default AND domain = 'tls'").await, 1);
            if state(&authority, "tls-1") != (Active, true) {
                go(&authority, "tls-1", &[MakeDefault]).await;
            }
        }
    }
}

on_both_engines! {
    async fn each_command_does_what_the_state_of_an_issuer_allows(at) {
        judge(at, false, &ISSUER).await;
    }

    async fn each_command_does_what_the_state_of_a_root_allows(at) {
        judge(at, true, &ROOT).await;
    }

    async fn taking_a_retirement_back_restores_what_was(at) {
        let (authority, _) = founded(&at.store).await;
        for _ in 0..2 {
            at.clock.advance(chancery::clock::minutes(1));
            authority.create_issuer(&actor(), &wanted("tls"), None).await.unwrap();
        }
        // one that was no default is none afterwards
        go(&authority, "tls-2", &[Retire, Activate]).await;
        assert_eq!((state(&authority, "tls-1"), state(&authority, "tls-2")), ((Active, true), (Active, false)));
        // the default is it again, also by way of a removal
        go(&authority, "tls-1", &[Retire]).await;
        assert_eq!((state(&authority, "tls-2"), signer(&authority).await.as_str()), ((Active, true), "tls-2"));
        go(&authority, "tls-1", &[Activate]).await;
        assert_eq!((state(&authority, "tls-1"), signer(&authority).await.as_str()), ((Active, true), "tls-1"));
        go(&authority, "tls-1", &[Retire, Remove, Retire, Activate]).await;
        assert_eq!(state(&authority, "tls-1"), (Active, true));
        // unless somebody chose another one meanwhile
        go(&authority, "tls-1", &[Retire]).await;
        go(&authority, "tls-3", &[MakeDefault]).await;
        go(&authority, "tls-1", &[Activate]).await;
        assert_eq!((state(&authority, "tls-1"), state(&authority, "tls-3")), ((Active, false), (Active, true)));
    }

    async fn a_prepared_root_that_was_removed_is_prepared_again(at) {
        let (authority, _) = founded(&at.store).await;
        let slug = authority.create_root(&actor(), &wanted("tls")).await.unwrap();
        go(&authority, &slug, &[Remove]).await;
        assert_eq!((state(&authority, &slug).0, roots(&authority, "tls").len()), (Removed, 1));
        go(&authority, &slug, &[Retire]).await;
        assert_eq!((state(&authority, &slug).0, roots(&authority, "tls").len()), (Prepared, 2));
        go(&authority, &slug, &[Activate]).await;
        assert_eq!(state(&authority, &slug).0, Active);
    }

    async fn a_revoked_default_leaves_the_default_to_the_oldest_that_signs(at) {
        let (authority, _) = founded(&at.store).await;
        for _ in 0..2 {
            at.clock.advance(chancery::clock::minutes(1));
            authority.create_issuer(&actor(), &wanted("tls"), None).await.unwrap();
        }
        for (slug, next) in [("tls-1", Some("tls-2")), ("tls-2", Some("tls-3")), ("tls-3", None)] {
            let id = authority.snapshot().issuer(slug).unwrap().certificate().unwrap().certificate_id.unwrap();
            authority.revoke(&actor(), id, RevocationReason::CessationOfOperation).await.unwrap();
            assert_eq!(state(&authority, slug), (Revoked, false));
            if let Some(next) = next {
                assert_eq!((state(&authority, next), signer(&authority).await.as_str()), ((Active, true), next));
            }
            let snapshot = authority.snapshot();
            let first = snapshot.default_signer("tls", at.store.now()).map(|i| i.issuer.slug.clone());
            assert_eq!(first.as_deref(), next);
        }
        assert_eq!(rule(issue(&authority, "tls-server", None, &["a.example"]).await), "profile.domain");
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn a_root_is_replaced_and_never_revoked(at) {
        let (authority, _) = founded(&at.store).await;
        let before = roots(&authority, "tls");
        let id = authority.snapshot().issuer("tls-root").unwrap().certificate().unwrap().certificate_id.unwrap();
        for reason in [RevocationReason::KeyCompromise, RevocationReason::Superseded] {
            let refused = authority.revoke(&actor(), id, reason).await.unwrap_err();
            for command in ["ca create tls --new-root", "chancery ca activate", "ca remove tls-root"] {
                assert!(refused.detail.contains(command), "{}", refused.detail);
            }
            assert_eq!(refused.rule.unwrap().name, "revocation.root");
        }
        assert_eq!((roots(&authority, "tls"), authority.own_root()), (before.clone(), before.first().cloned()));
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM revocations").await, 0);
        // the way that the refusal shows
        let root = authority.create_root(&actor(), &wanted("tls")).await.unwrap();
        let issuer = authority.create_issuer(&actor(), &wanted("tls"), Some(&root)).await.unwrap();
        go(&authority, &root, &[Activate]).await;
        go(&authority, &issuer, &[Activate]).await;
        go(&authority, "tls-1", &[Retire]).await;
        go(&authority, "tls-root", &[Retire, Remove]).await;
        let after = roots(&authority, "tls");
        assert!(after.len() == 1 && after != before);
        assert_eq!((signer(&authority).await, authority.own_root()), (issuer, after.first().cloned()));
    }

    async fn a_server_signs_the_crls_of_issuers(at) {
        let (authority, _) = founded(&at.store).await;
        let before = authority.current_crl("tls-1").await.unwrap().number;
        let refused = authority.sign_crls(&actor(), "tls-1").await.unwrap_err();
        assert!(refused.detail.contains("the running server signs") && refused.detail.contains("for roots"), "{}", refused.detail);
        assert_eq!(authority.current_crl("tls-1").await.unwrap().number, before);
        authority.sign_crls(&actor(), "tls-root").await.unwrap();
    }

    async fn a_retiring_root_lets_its_issuers_sign_on(at) {
        let (authority, _) = founded(&at.store).await;
        let root = authority.dependents("tls-root").await.unwrap();
        assert_eq!((root.signing_on.as_slice(), root.successor.as_deref()), (&["tls-1".to_owned()][..], None));
        assert!(!root.must_confirm(Retire, 1));
        go(&authority, "tls-root", &[Retire]).await;
        assert_eq!(signer(&authority).await, "tls-1");
    }

    async fn an_issuer_that_may_not_sign_the_servers_names_does_not_take_it_over(at) {
        let (authority, _) = founded(&at.store).await;
        let partner = chancery::authority::hierarchy::plan::Wanted { permit: vec!["partner.example".into()], ..wanted("tls") };
        authority.create_issuer(&actor(), &partner, None).await.unwrap();
        let found = authority.dependents("tls-1").await.unwrap();
        assert_eq!((found.successor.as_deref(), found.own_successor), (Some("tls-2"), None));
        let found = authority.dependents("tls-1").await.unwrap();
        assert!(found.own_certificate && found.must_confirm(Retire, 0), "the server would be without a certificate");
    }
}
