//! A row of the tables keys, issuers or profiles that makes no sense, by SQL or by a failing disk: the server starts, what needs
//! the row is refused in a sentence that names it, the rest works, and doctor and fsck are critical.

use chancery::authority::checks::Severity;
use chancery::authority::issue::Issued;
use chancery::error::Result;
use chancery::model::actor::Actor;
use chancery::store::engine::q;

use crate::issuance::rig::{Rig, issuance};
use crate::on_both_servers;
use crate::support::server::TestServer;
use crate::support::stores::plain;

async fn sql(server: &TestServer, text: &'static str) {
    assert_eq!(q(plain(text)).execute(&server.app().store).await.unwrap(), 1, "{text}");
}

async fn issue(server: &TestServer, profile: &str) -> Result<Issued> {
    let new = chancery::authority::issue::Issuance { profile: profile.into(), ..issuance(Default::default()) };
    server.app().authority.issue(&Actor::host(0, "test"), new).await
}

/// Doctor and fsck name the row, and the server answers.
async fn is_told(server: &TestServer, words: &str) {
    assert_eq!(server.ops("/livez").await.status, 200);
    assert_eq!(server.http("/root.pem").await.status, 200);
    let checks = server.app().authority.checks().await;
    let told = checks.iter().any(|check| check.severity == Severity::Critical && check.detail.contains(words));
    assert!(told, "{words}: {checks:?}");
    let findings = server.app().authority.fsck().await.unwrap().findings;
    assert!(findings.iter().any(|finding| finding.contains(words)), "{words}: {findings:?}");
}

async fn is_refused(server: &TestServer, profile: &str, words: &str) {
    let refused = issue(server, profile).await.unwrap_err();
    assert!(refused.detail.contains(words), "{words}: {refused}");
}

on_both_servers! {
    async fn a_profile_that_makes_no_sense_is_refused_and_the_others_work(server) {
        for (text, profile) in [
            ("UPDATE profiles SET config = 'garbage' WHERE slug = 'tls-server'", "tls-server"),
            ("UPDATE profiles SET config = '{}' WHERE slug = 'tls-server'", "tls-server"),
        ] {
            sql(server, text).await;
            server.restart().await;
            // its MAC does not fit, so it is not even read
            let words = "was changed in the database";
            is_refused(server, profile, words).await;
            is_told(server, words).await;
            issue(server, "tls-short").await.map_or_else(|error| assert!(!error.detail.contains("cannot be used"), "{error}"), drop);
        }
    }

    async fn an_issuer_that_makes_no_sense_signs_nothing(server) {
        sql(server, "UPDATE issuers SET role = 'garbage' WHERE slug = 'tls-1'").await;
        server.restart().await;
        let words = "the row tls-1 of the table issuers cannot be used: issuer tls-1 has an unknown role";
        is_refused(server, "tls-server", words).await;
        is_told(server, words).await;
        sql(server, "UPDATE issuers SET role = 'issuing' WHERE slug = 'tls-1'").await;
        server.restart().await;
        issue(server, "tls-server").await.unwrap();
    }

    async fn a_key_that_makes_no_sense_signs_nothing(server) {
        let of_issuer = "UPDATE keys SET algorithm = 'garbage' WHERE id = (SELECT key_id FROM issuers WHERE slug = 'tls-1')";
        sql(server, of_issuer).await;
        server.restart().await;
        is_refused(server, "tls-server", "the row tls-1 of the table issuers cannot be used: its key key_").await;
        is_told(server, "of the table keys cannot be used: a key has an unknown algorithm").await;
    }

    async fn a_key_that_cannot_be_opened_signs_nothing_and_status_goes_on(server) {
        let crl = server.http("/crl/tls-1.crl").await;
        sql(server, "UPDATE keys SET sealed = public_key WHERE id = (SELECT key_id FROM issuers WHERE slug = 'tls-1')").await;
        server.restart().await;
        let words = "of the table keys cannot be used";
        is_refused(server, "tls-server", words).await;
        is_told(server, words).await;
        let now = server.http("/crl/tls-1.crl").await;
        assert_eq!((now.status, now.body.len()), (crl.status, crl.body.len()));
    }
}

crate::on_both_engines! {
    async fn a_profile_without_a_mac_that_makes_no_sense_is_refused_too(at) {
        let rig = Rig::on(at).await;
        let words = "the row tls-server of the table profiles cannot be used: it is not its JSON";
        at.sql("UPDATE profiles SET config = 'garbage' WHERE slug = 'tls-server'").await;
        rig.authority.reload().await.unwrap();
        let refused = rig.issue(issuance(Default::default())).await.unwrap_err();
        assert!(refused.detail.contains(words), "{refused}");
        let checks = rig.authority.checks().await;
        assert!(checks.iter().any(|check| check.severity == Severity::Critical && check.detail.contains(words)), "{checks:?}");
        let findings = rig.authority.fsck().await.unwrap().findings;
        assert!(findings.iter().any(|finding| finding.contains(words)), "{findings:?}");
    }
}
