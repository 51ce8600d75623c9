//! The CRL of a CA elsewhere, fetched from a server that answers well and badly. What is refused says why, and never
//! takes the place of what was good.

use std::sync::{Arc, Mutex};

use chancery::authority::hierarchy::import::Import;
use chancery::clock::{days, hours, minutes};
use chancery::pki::{der, oids, pem};
use chancery::store::foreign_crls::{self, ForeignCrl};

use super::actor;
use super::corporate::{Ca, List, Shape};
use crate::on_both_servers;
use crate::support::server::TestServer;
use crate::validation::support::{Target, redirect};

/// A corporate root, an issuer of it that was imported, and the server that has the root's CRL.
struct Corporate {
    root: Ca,
    issuing: Ca,
    answer: Arc<Mutex<Vec<u8>>>,
    target: Target,
}

impl Corporate {
    async fn import(server: &mut TestServer) -> Corporate {
        // no background work: each fetch is the test's own
        server.restart_with(&[("CHANCERY_ONLY", "web"), ("CHANCERY_ACME__ALLOW_LOOPBACK", "true")]).await;
        let answer: Arc<Mutex<Vec<u8>>> = Arc::default();
        let shown = answer.clone();
        let target = Target::answering(move |_| shown.lock().unwrap().clone()).await;
        let root = Ca::root("Corp Root", &Shape::default());
        let point = distribution_point(&format!("http://127.0.0.1:{}/corp.crl", target.port()));
        let shape = Shape { path_len: Some(0), more: vec![("2.5.29.31", false, point)], ..Shape::default() };
        let issuing = root.below("Corp Issuing", &shape);
        let certificates = vec![issuing.der(), root.der()];
        let key = issuing.pkcs8();
        let import = Import { domain: "corp".into(), name: None, certificates, key, status_url: None, crl: None };
        server.app().authority.import_issuer(&actor(), import).await.unwrap();
        Corporate { root, issuing, answer, target }
    }

    /// One fetch with this answer; what is stored after it.
    async fn fetched(&self, server: &TestServer, answer: Vec<u8>) -> ForeignCrl {
        *self.answer.lock().unwrap() = answer;
        let before = self.target.connections();
        server.app().fetch_foreign_crls().await.unwrap();
        assert_eq!(self.target.connections(), before + 1, "it was due");
        server.app().fetch_foreign_crls().await.unwrap();
        assert_eq!(self.target.connections(), before + 1, "and is not due at once again");
        foreign_crls::list(&server.app().store).await.unwrap().remove(0)
    }
}

fn distribution_point(url: &str) -> Vec<u8> {
    let name = der::constructed(der::context_constructed(0), &[&der::tlv(der::context(6), url.as_bytes())]);
    der::sequence(&[&der::sequence(&[&der::constructed(der::context_constructed(0), &[&name])])])
}

fn http(media: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// An IssuingDistributionPoint with one member, critical.
fn point(member: Vec<u8>) -> Vec<u8> {
    der::extension(&oids::ISSUING_DISTRIBUTION_POINT, true, &der::sequence(&[&member]))
}

on_both_servers! {
    async fn what_a_crl_server_answers_badly_is_refused_and_nothing_is_lost(server) {
        let corporate = Corporate::import(server).await;
        let (clock, root) = (server.clock.clone(), &corporate.root);
        let now = || server.app().store.now();
        let fine = |list: List| http("application/pkix-crl", &root.list(&list));
        let good = root.list(&List::at(now(), 5));
        let first = corporate.fetched(server, http("application/pkix-crl", &good)).await;
        assert_eq!((first.der, first.failure.as_str()), (good.clone(), ""));

        let stranger = Ca::root("Other Root", &Shape::default());
        let twin = Ca::root("Corp Root", &Shape::default());
        let html = b"<html>CANARY: sign in first</html>";
        let delta = der::extension(&oids::DELTA_CRL_INDICATOR, true, &der::unsigned(&[5]));
        let strange = der::extension(&oids::EXPIRED_CERTS_ON_CRL, true, &der::generalized_time(now()));
        let cut = || { let mut bytes = fine(List::at(now(), 6)); bytes.truncate(bytes.len() - 7); bytes };
        type Made<'a> = Box<dyn Fn() -> Vec<u8> + 'a>;
        let cases: Vec<(&str, Made<'_>, &str)> = vec![
            ("a page instead", Box::new(|| http("text/html", html)), "no CRL in DER or PEM"),
            ("garbage", Box::new(|| http("application/pkix-crl", &[0x30, 0x82, 0xff])), "no CRL in DER or PEM"),
            ("nothing", Box::new(|| http("application/pkix-crl", b"")), "no CRL in DER or PEM"),
            ("a CRL and more behind it", Box::new(|| http("application/pkix-crl", &[root.list(&List::at(now(), 6)), vec![0]].concat())), "no CRL in DER or PEM"),
            ("PEM of a certificate", Box::new(|| http("application/x-pem-file", pem::encode(pem::CERTIFICATE, &root.der()).as_bytes())), "no CRL in DER or PEM"),
            ("an announced size above the limit", Box::new(|| b"HTTP/1.1 200 OK\r\nContent-Length: 40000000\r\n\r\n".to_vec()), "longer than 33554432 bytes"),
            ("an end before the end", Box::new(cut), "before it sent the whole body"),
            ("silence", Box::new(Vec::new), "closed the connection"),
            ("a status", Box::new(|| b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()), "404"),
            ("a redirect into the network of the cloud", Box::new(|| redirect(302, "http://169.254.169.254/latest")), "302"),
            ("another CA", Box::new(|| http("application/pkix-crl", &stranger.list(&List::at(now(), 6)))), "is not signed by Corp Root"),
            ("another key of the same name", Box::new(|| http("application/pkix-crl", &twin.list(&List::at(now(), 6)))), "is not signed by Corp Root"),
            ("an older number", Box::new(|| fine(List::at(now(), 4))), "has number 4, and number 5 is known"),
            ("an older time", Box::new(|| fine(List { this_update: first.this_update - hours(1), next_update: Some(now() + hours(1)), ..List::at(now(), 5) })), "is known already"),
            ("an expired one", Box::new(|| fine(List { this_update: now() - minutes(2), next_update: Some(now() - minutes(1)), ..List::at(now(), 6) })), "expired at"),
            ("one without an end", Box::new(|| fine(List { next_update: None, ..List::at(now(), 6) })), "has no nextUpdate"),
            ("one from the future", Box::new(|| fine(List { next_update: Some(now() + days(3)), ..List::at(now() + hours(1), 6) })), "is from the future"),
            ("a delta CRL", Box::new(|| fine(List { more: vec![delta.clone()], ..List::at(now(), 6) })), "is a delta CRL"),
            ("an indirect CRL", Box::new(|| fine(List { more: vec![point(der::tlv(der::context(4), &[0xff]))], ..List::at(now(), 6) })), "does not cover CA certificates"),
            ("one of users alone", Box::new(|| fine(List { more: vec![point(der::tlv(der::context(1), &[0xff]))], ..List::at(now(), 6) })), "does not cover CA certificates"),
            ("one of some reasons", Box::new(|| fine(List { more: vec![point(der::tlv(der::context(3), &[1, 0x60]))], ..List::at(now(), 6) })), "does not cover CA certificates"),
            ("a critical extension that nobody knows", Box::new(|| fine(List { more: vec![strange.clone()], ..List::at(now(), 6) })), "has a critical extension"),
        ];
        for (what, answer, why) in &cases {
            // every case: the failure before it is ten minutes old, or the good one an hour
            clock.advance(hours(1));
            let after = corporate.fetched(server, answer()).await;
            assert!(after.failure.contains(why), "{what}: {}", after.failure);
            assert!(!after.failure.contains("CANARY") && !after.failure.contains("key authorization"), "{what}: {}", after.failure);
            assert_eq!(after.der, good, "{what}: the good one is lost");
        }
        let bundle = server.http("/bundles/corp.crl.pem").await;
        assert!(String::from_utf8(bundle.body).unwrap().contains(&pem::encode("X509 CRL", &good)));

        // a critical extension that is known, of CA certificates alone, in PEM, with another type: all fine
        clock.advance(hours(1));
        let only_cas = point(der::tlv(der::context(2), &[0xff]));
        let serial = chancery::pki::ca_certificate::CaCertificate::read(&corporate.issuing.der()).unwrap().serial().unwrap();
        let list = List { more: vec![only_cas], serials: vec![serial.octets().to_vec()], ..List::at(now(), 7) };
        let newer = root.list(&list);
        let text = format!("Corp's CRL\n{}", pem::encode("X509 CRL", &newer));
        let after = corporate.fetched(server, http("text/plain", text.as_bytes())).await;
        assert_eq!((after.der, after.failure.as_str()), (newer, ""));
        server.app().refresh().await.unwrap();
        let snapshot = server.app().authority.snapshot();
        assert!(snapshot.issuer("corp-1").unwrap().revoked_at.is_some(), "what it lists counts");
    }

    async fn a_crl_of_an_address_that_is_denied_is_not_fetched(server) {
        let corporate = Corporate::import(server).await;
        server.restart_with(&[("CHANCERY_ACME__ALLOW_LOOPBACK", "false")]).await;
        server.app().fetch_foreign_crls().await.unwrap();
        assert_eq!(corporate.target.connections(), 0);
        let row = foreign_crls::list(&server.app().store).await.unwrap().remove(0);
        assert!(row.der.is_empty() && row.failure.contains("127.0.0.1"), "{}", row.failure);
        let checks = server.app().authority.checks().await;
        let lists = checks.iter().find(|check| check.name == "domain lists").unwrap();
        assert!(lists.detail.contains("the CRL of Corp Root") && lists.detail.contains("127.0.0.1"), "{}", lists.detail);
    }
}
