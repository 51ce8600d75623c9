//! The end of an issuer is not the end of the service: starting, readiness, the server's own certificate, and what an
//! operator is told.

use std::sync::Arc;

use chancery::authority::checks::Severity;
use chancery::authority::hierarchy::plan::Wanted;
use chancery::clock::{Clock, days};
use chancery::error::Result;
use chancery::model::actor::Actor;
use chancery::model::issuer::IssuerMove;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::support::server::TestServer;
use crate::support::{wait, wire};

fn operator() -> Actor {
    Actor::host(0, "test")
}

fn tls(years: Option<u32>) -> Wanted {
    Wanted { domain: "tls".into(), years, ..Wanted::default() }
}

async fn issue(server: &TestServer, profile: &str, name: &str) -> Result<String> {
    let issued = crate::hierarchy::issue(&server.app().authority, profile, None, &[name]).await?;
    Ok(issued.certificate.issuer)
}

async fn check(server: &TestServer, name: &str) -> (Severity, String) {
    let checks = server.app().authority.checks().await;
    let found = checks.into_iter().find(|check| check.name == name).unwrap();
    (found.severity, found.detail)
}

fn issuer_name(der: &[u8]) -> String {
    X509Certificate::from_der(der).unwrap().1.issuer().to_string()
}

fn sha256(pem: &[u8]) -> String {
    let der = chancery::pki::pem::certificates(std::str::from_utf8(pem).unwrap()).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der[0]);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

crate::on_both_servers! {
    async fn an_expired_issuer_does_not_stop_the_service_of_the_others(server) {
        let lab = Wanted { domain: "lab".into(), years: Some(6), ..Wanted::default() };
        server.host().await.authority.create_domain(&operator(), &lab).await.unwrap();
        assert_eq!(check(server, "issuers").await.0, Severity::Ok);
        for (left, told) in [(89, "within 90 days"), (29, "within 30 days"), (6, "within 7 days")] {
            let end = server.app().authority.snapshot().issuer("tls-1").unwrap().not_after().unwrap();
            server.clock.advance((end - days(left)).since(server.clock.now()));
            let (severity, detail) = check(server, "issuers").await;
            assert_eq!(severity, Severity::Warning);
            assert!(detail.contains("tls-1 expires") && detail.contains(told) && !detail.contains("lab-1"), "{detail}");
        }
        server.clock.advance(days(8));
        server.restart().await;
        // status of this issuer's CA and other domains go on
        assert_eq!(server.http("/crl/tls-root.crl").await.status, 200);
        assert_eq!(server.http("/crl/tls-1.crl").await.status, 200);
        assert_eq!(server.http("/bundles/tls.pem").await.status, 200);
        assert_eq!(issue(server, "lab-server", "a.lab.example").await.unwrap(), "lab-1");
        let refused = issue(server, "tls-server", "a.lab.example").await.unwrap_err();
        assert!(refused.rule.unwrap().value.contains("tls-1 expired at"));
        let ready = wait::until("/readyz answers 200", async || {
            let reply = server.ops("/readyz?verbose&exclude=clock").await;
            (reply.status == 200).then_some(reply)
        });
        let text = ready.await.text();
        assert!(text.contains("[+]issuer/lab-1 ok") && !text.contains("issuer/tls-1"), "{text}");
        // this replica is ready for the other domains, and no body of it hides that the default domain cannot issue
        assert!(text.contains("[!]domain/tls warning: trust domain tls cannot issue: tls-1 expired at"), "{text}");
        assert!(server.ops("/readyz?exclude=clock").await.text().contains("[!]domain/tls warning: "));
        let public = server.http("/readyz?exclude=clock").await;
        assert!(public.text().contains("[!]domain/tls warning: reason withheld"), "{}", public.text());
        wait::until("status is ready", async || (server.ops("/readyz/status").await.status == 200).then_some(())).await;
        let (severity, detail) = check(server, "issuers").await;
        assert_eq!(severity, Severity::Critical);
        assert!(detail.contains("trust domain tls cannot issue: tls-1 expired at"), "{detail}");
    }

    async fn with_no_issuer_left_only_readyz_fails(server) {
        server.clock.advance(days(1_096));
        server.restart().await;
        let reply = server.ops("/readyz?exclude=clock").await;
        assert_eq!(reply.status, 503);
        assert!(reply.text().contains("[-]issuer failed: no issuer signs certificates"), "{}", reply.text());
        wait::until("status is ready", async || (server.http("/readyz/status").await.status == 200).then_some(())).await;
        wait::until("metrics say that tls cannot issue", async || {
            let text = server.ops("/metrics").await.text();
            text.contains("chancery_domain_can_issue{domain=\"tls\"} 0").then_some(())
        })
        .await;
    }

    async fn a_successor_takes_over_from_an_expired_issuer(server) {
        server.clock.advance(days(900));
        server.host().await.authority.create_issuer(&operator(), &tls(Some(4)), Some("tls-root")).await.unwrap();
        server.clock.advance(days(200));
        server.restart().await;
        assert_eq!(issue(server, "tls-server", "a.lab.example").await.unwrap(), "tls-2");
        assert!(issuer_name(&server.shown().await).contains("Issuing 2"));
        wait::until("/readyz answers 200", async || (server.ops("/readyz?exclude=clock").await.status == 200).then_some(())).await;
        wait::until("status is ready", async || (server.ops("/readyz/status").await.status == 200).then_some(())).await;
        assert_eq!(check(server, "issuers").await.0, Severity::Ok);
        // retired as well, it is no matter for anybody
        server.app().authority.move_issuer(&operator(), "tls-1", IssuerMove::Retire).await.unwrap();
        assert_eq!(server.ops("/readyz?exclude=clock").await.status, 200);
        for name in ["issuers", "crls", "ocsp"] {
            let (severity, detail) = check(server, name).await;
            assert_eq!(severity, Severity::Ok, "{name}: {detail}");
        }
    }

    async fn the_servers_certificate_moves_with_its_root_once_another_is_active(server) {
        let (first, root) = (server.shown().await, server.root_pem().await);
        let host = server.host().await;
        let partner = Wanted { permit: vec!["partner.example".into()], ..tls(Some(9)) };
        host.authority.create_issuer(&operator(), &partner, Some("tls-root")).await.unwrap();
        assert_eq!(host.authority.create_root(&operator(), &tls(None)).await.unwrap(), "tls-root-2");
        assert_eq!(host.authority.create_issuer(&operator(), &tls(None), Some("tls-root-2")).await.unwrap(), "tls-3");
        // the new root stands in the bundle, and nothing else has changed
        let bundle = wait::until("the bundle has two roots", async || {
            let text = server.http("/bundles/tls.pem").await.text();
            (text.matches("BEGIN CERTIFICATE").count() == 2).then_some(text)
        })
        .await;
        server.clock.advance(days(61));
        let renewed = wait::until("it is renewed", async || Some(server.shown().await).filter(|shown| *shown != first)).await;
        assert_eq!((issuer_name(&renewed), server.root_pem().await), (issuer_name(&first), root.clone()));
        let early = host.authority.move_issuer(&operator(), "tls-3", IssuerMove::Activate).await.unwrap_err();
        assert_eq!(early.rule.unwrap().name, "issuer.activation", "its root comes first");
        host.authority.move_issuer(&operator(), "tls-root-2", IssuerMove::Activate).await.unwrap();
        host.authority.move_issuer(&operator(), "tls-3", IssuerMove::Activate).await.unwrap();
        let moved = wait::until("the root has moved", async || Some(server.root_pem().await).filter(|pem| *pem != root)).await;
        assert!(bundle.contains(std::str::from_utf8(&moved).unwrap()), "clients of the bundle know it");
        let address = server.running().addresses.https;
        wait::until("the certificate has moved", async || wire::tls(address, &moved, server.app().clock.now()).await.ok()).await;
        assert_eq!(chancery::server::receipt::root_sha256(server.app()), sha256(&moved));
        server.restart().await;
        assert_eq!(server.root_pem().await, moved);
        assert!(issuer_name(&server.shown().await).contains("Issuing 3"));
        let _kept: Arc<_> = host;
    }
}
