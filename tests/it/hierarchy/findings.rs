//! What the CA's checks of itself find, and what they tell an operator to do about it.

use chancery::authority::Authority;
use chancery::authority::checks::Severity;
use chancery::clock::days;
use chancery::model::issuer::IssuerMove;
use chancery::model::reason::RevocationReason;
use chancery::pki::tbs::key_identifier;
use openssl::x509::X509Req;

use super::corporate::{Ca, Shape};
use super::{actor, issue, wanted};
use crate::on_both_engines;
use crate::support::stores::founded;

use IssuerMove::{Remove, Retire};

async fn check(authority: &Authority, name: &str) -> (Severity, String) {
    let found = authority.checks().await.into_iter().find(|check| check.name == name).unwrap();
    (found.severity, found.detail)
}

async fn go(authority: &Authority, slug: &str, step: IssuerMove) {
    authority.move_issuer(&actor(), slug, step).await.unwrap();
}

on_both_engines! {
    async fn a_fresh_installation_has_no_finding(at) {
        let (authority, _) = founded(&at.store).await;
        for check in authority.checks().await.into_iter().filter(|check| !["domain lists", "durability"].contains(&check.name)) {
            assert_eq!(check.severity, Severity::Ok, "{}: {}", check.name, check.detail);
        }
        assert_eq!(check(&authority, "clock").await.1, "within 30 s of the reference time");
    }

    async fn a_wrong_clock_is_critical(at) {
        let (authority, _) = founded(&at.store).await;
        at.store.beat().await.unwrap();
        at.clock.jump(-29);
        assert_eq!(check(&authority, "clock").await.0, Severity::Ok);
        at.clock.jump(29);
        assert_eq!(check(&authority, "clock").await.0, Severity::Ok);
        at.clock.jump(-60);
        let (severity, detail) = check(&authority, "clock").await;
        assert_eq!(severity, Severity::Critical, "{detail}");
        assert!(detail.starts_with("this server's clock is 60 seconds behind"), "{detail}");
        assert!(detail.contains("NTP"), "{detail}");
        assert_eq!(detail.contains("chancery clock trust"), !at.is_postgres(), "{detail}");
    }

    async fn a_domain_without_an_issuer_that_signs_is_found_unless_nobody_uses_it(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("lab")).await.unwrap();
        go(&authority, "lab-1", Retire).await;
        let (severity, detail) = check(&authority, "issuers").await;
        assert_eq!(severity, Severity::Ok);
        assert!(detail.contains("lab cannot issue (lab-1 is retiring), and nobody uses it"), "{detail}");
        assert!(detail.contains("`chancery ca activate lab-1`"), "{detail}");
        go(&authority, "lab-1", IssuerMove::Activate).await;
        issue(&authority, "lab-server", None, &["a.lab.example"]).await.unwrap();
        go(&authority, "lab-1", Retire).await;
        let (severity, detail) = check(&authority, "issuers").await;
        assert_eq!(severity, Severity::Warning, "{detail}");
        assert!(detail.contains("lab cannot issue, so its certificates cannot be renewed"), "{detail}");
        assert!(detail.ends_with("lab-1 is retiring; run `chancery ca activate lab-1`"), "{detail}");
        go(&authority, "lab-1", Remove).await;
        go(&authority, "lab-root", Retire).await;
        go(&authority, "lab-root", Remove).await;
        let (_, detail) = check(&authority, "issuers").await;
        let steps = "run `chancery ca retire lab-root`, then `chancery ca retire lab-1`, then `chancery ca activate lab-1`";
        assert!(detail.contains(steps), "{detail}");
        // its last certificate has expired
        at.clock.advance(days(91));
        assert_eq!(check(&authority, "issuers").await.0, Severity::Ok);
    }

    async fn a_domain_whose_issuers_were_revoked_or_expired_is_found(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("lab")).await.unwrap();
        let id = authority.snapshot().issuer("lab-1").unwrap().certificate().unwrap().certificate_id.unwrap();
        authority.revoke(&actor(), id, RevocationReason::KeyCompromise).await.unwrap();
        authority.reload().await.unwrap();
        let (severity, detail) = check(&authority, "issuers").await;
        assert_eq!(severity, Severity::Critical);
        let fix = "lab-1 is revoked; run `chancery ca create lab --under lab-root` on the host that has root.key";
        assert!(detail.contains(fix), "{detail}");
        authority.create_issuer(&actor(), &wanted("lab"), Some("lab-root")).await.unwrap();
        assert_eq!(check(&authority, "issuers").await.0, Severity::Ok);
        at.clock.advance(days(3 * 365 + 2));
        let (severity, detail) = check(&authority, "issuers").await;
        assert_eq!(severity, Severity::Critical);
        assert!(detail.contains("run `chancery ca renew lab-2` on the host that has root.key"), "{detail}");
        // the roots have expired too
        at.clock.advance(days(3_650));
        let (_, detail) = check(&authority, "issuers").await;
        assert!(detail.contains("run `chancery ca create lab --new-root` and what it prints next"), "{detail}");
    }

    async fn what_expires_soon_is_renewed_or_handed_over(at) {
        let (authority, _) = founded(&at.store).await;
        at.clock.advance(days(3 * 365 - 60));
        let (severity, detail) = check(&authority, "issuers").await;
        assert_eq!(severity, Severity::Warning);
        assert!(detail.contains("within 90 days; run `chancery ca renew tls-1` on the host that has root.key"), "{detail}");
        authority.create_issuer(&actor(), &wanted("tls"), Some("tls-root")).await.unwrap();
        assert!(check(&authority, "issuers").await.1.contains("tls-2 lasts longer: run `chancery ca retire tls-1`"));
        go(&authority, "tls-1", Retire).await;
        assert_eq!(check(&authority, "issuers").await.0, Severity::Ok);
        at.clock.advance(days(3_652 - 3 * 365 - 20));
        let told = || async { check(&authority, "issuers").await.1 };
        assert!(told().await.contains("tls-root expires"), "{}", told().await);
        assert!(told().await.contains("run `chancery ca create tls --new-root` and what it prints next"));
        authority.create_root(&actor(), &wanted("tls")).await.unwrap();
        let next = "run `chancery ca activate tls-root-2` once clients have /bundles/tls.pem, then `chancery ca retire tls-root`";
        assert!(told().await.contains(next), "{}", told().await);
        go(&authority, "tls-root-2", IssuerMove::Activate).await;
        assert!(told().await.contains("tls-root-2 stands for it: run `chancery ca retire tls-root`"), "{}", told().await);
        go(&authority, "tls-root", Retire).await;
        assert!(!told().await.contains("tls-root expires"), "{}", told().await);
    }

    async fn valid_certificates_below_a_removed_root_are_counted(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("lab")).await.unwrap();
        for name in ["a.lab.example", "b.lab.example"] {
            issue(&authority, "lab-server", None, &[name]).await.unwrap();
        }
        go(&authority, "lab-1", Retire).await;
        go(&authority, "lab-root", Retire).await;
        assert_eq!(check(&authority, "bundles").await.0, Severity::Ok);
        go(&authority, "lab-root", Remove).await;
        let (severity, detail) = check(&authority, "bundles").await;
        assert_eq!(severity, Severity::Warning);
        let text = "root lab-root is removed and not in /bundles/lab.pem, and 2 certificates below it are valid (lab-1 2)";
        assert!(detail.starts_with(text) && detail.contains("`chancery ca retire lab-root`"), "{detail}");
        at.clock.advance(days(91));
        assert_eq!(check(&authority, "bundles").await.0, Severity::Ok);
    }

    async fn a_delegation_by_a_ca_elsewhere_is_ended_there(at) {
        let (authority, _) = founded(&at.store).await;
        let corporate = Ca::root("Corp Root", &Shape { days: 9_000, ..Shape::default() });
        let csr = X509Req::from_der(&authority.request_again(&actor(), "tls-1").await.unwrap()).unwrap();
        let key_id = key_identifier(&authority.snapshot().issuer("tls-1").unwrap().sealed_key.public_key).unwrap();
        let usages = vec!["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.9"];
        let shape = Shape { usages, key_id: Some(key_id), days: 800, ..Shape::default() };
        let cross = corporate.sign(csr.subject_name(), &csr.public_key().unwrap(), &shape);
        authority.install_issuer(&actor(), &[cross.to_der().unwrap(), corporate.der()]).await.unwrap();
        let (severity, detail) = check(&authority, "delegations").await;
        assert_eq!(severity, Severity::Warning);
        for part in ["Corp Root", "made it: run `chancery ca csr --issuer tls-1`", "`chancery ca install FILE`"] {
            assert!(detail.contains(part), "{part} in {detail}");
        }
        assert!(!detail.contains("ca renew"), "{detail}");
        // renewing mends nothing, and what has expired is no delegation
        authority.renew_issuer(&actor(), "tls-1", None).await.unwrap();
        assert_eq!(check(&authority, "delegations").await.1, detail);
        at.clock.advance(days(801));
        assert_eq!(check(&authority, "delegations").await.0, Severity::Ok);
    }

    async fn a_roots_crl_is_signed_by_the_command_that_its_finding_names(at) {
        let (authority, _) = founded(&at.store).await;
        at.sql("DELETE FROM crls_ahead WHERE issuer_id IN (SELECT id FROM issuers WHERE role = 'root')").await;
        let end = authority.current_crl("tls-root").await.unwrap().next_update;
        at.clock.advance((end - days(6)).since(at.store.now()));
        let told = || async { check(&authority, "crls").await };
        let (severity, detail) = told().await;
        assert_ne!(severity, Severity::Ok, "{detail}");
        assert!(detail.contains("no later one is signed; run `chancery ca crl sign tls-root`"), "{detail}");
        at.clock.advance(days(7));
        let (severity, detail) = told().await;
        assert_eq!(severity, Severity::Critical, "{detail}");
        assert!(detail.contains("the CRL of tls-root expired at") && detail.contains("`chancery ca crl sign tls-root`"));
        at.sql("DELETE FROM crls WHERE issuer_id IN (SELECT id FROM issuers WHERE role = 'root')").await;
        let (severity, detail) = told().await;
        assert_eq!(severity, Severity::Critical, "{detail}");
        assert!(detail.contains("tls-root has no CRL in force") && detail.contains("`chancery ca crl sign tls-root`"));
        authority.sign_crls(&actor(), "tls-root").await.unwrap();
        let (_, detail) = told().await;
        assert!(!detail.contains("tls-root has no CRL") && !detail.contains("CRL of tls-root"), "{detail}");
        authority.publish_due().await.unwrap();
        assert_eq!(told().await.0, Severity::Ok, "{}", told().await.1);
    }
}
