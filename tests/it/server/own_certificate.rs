//! The server's own TLS certificate: renewed without a restart, one a replica, replaced when it was revoked, or an
//! operator's in its place.

use std::time::Duration;

use chancery::clock::{Clock, days};
use chancery::model::actor::Actor;
use chancery::model::reason::RevocationReason;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::support::server::TestServer;
use crate::support::{wait, wire};

fn not_after(der: &[u8]) -> i64 {
    X509Certificate::from_der(der).unwrap().1.validity().not_after.timestamp()
}

/// Looks at what is shown until it is another certificate than `old`.
async fn next_shown(server: &TestServer, old: &[u8]) -> Vec<u8> {
    // the server looks at its clock once a second
    wait::until("another certificate is shown", async || Some(server.shown().await).filter(|shown| shown != old))
        .await
}

crate::on_both_servers! {
    async fn it_is_renewed_in_time_and_connections_that_are_open_go_on(server) {
        let first = server.shown().await;
        let mut open = server.tls().await;
        wire::keep_alive(&mut open, "/version").await;
        server.clock.advance(days(61));
        let second = next_shown(server, &first).await;
        assert_eq!(not_after(&second) - not_after(&first), 61 * 86_400);
        assert_eq!(wire::keep_alive(&mut open, "/version").await.status, 200);
        // what was renewed is what a restart shows
        server.restart().await;
        assert_eq!(server.shown().await, second);
    }

    async fn a_revoked_one_is_replaced(server) {
        let first = server.shown().await;
        let app = server.app().clone();
        let known = app.authority.certificates(&Default::default(), None, 10).await.unwrap();
        let own = known.into_iter().find(|c| c.requester == "system/own-tls").unwrap();
        let actor = Actor::system("test");
        app.authority.revoke(&actor, own.id, RevocationReason::KeyCompromise).await.unwrap();
        server.drain_jobs().await;
        server.clock.advance(Duration::from_secs(61));
        let second = next_shown(server, &first).await;
        let key = |der: &[u8]| X509Certificate::from_der(der).unwrap().1.public_key().raw.to_vec();
        assert_ne!(key(&first), key(&second), "a compromised key is not used again");
    }
}

/// Writes a self-signed certificate for localhost and its key; the certificate in PEM.
fn write_pair(folder: &std::path::Path) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
    made.cert.pem().into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_certificate_is_shown_instead_and_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let first = write_pair(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key) = (path("tls.crt"), path("tls.key"));
    let settings = [("CHANCERY_TLS__CERTIFICATE", certificate.as_str()), ("CHANCERY_TLS__KEY", key.as_str())];
    let server = TestServer::start(None, &settings).await;
    let address = server.running().addresses.https;
    let trusts = async |root: &[u8]| wire::tls(address, root, server.clock.now()).await.is_ok();
    assert!(trusts(&first).await);
    let issued = server.app().authority.certificates(&Default::default(), None, 50).await.unwrap();
    assert!(issued.iter().all(|c| c.requester != "system/own-tls"), "none is issued that nobody shows");

    // a key that does not fit: the old pair goes on
    let other = rcgen::KeyPair::generate().unwrap();
    std::fs::write(folder.path().join("tls.key"), other.serialize_pem()).unwrap();
    wait::pause(Duration::from_millis(2_500)).await;
    assert!(trusts(&first).await, "half of a change is not shown");
    let second = write_pair(folder.path());
    wait::until("the new pair is shown", async || trusts(&second).await.then_some(())).await;
    server.end().await;
}

#[test]
fn an_operators_certificate_that_cannot_be_used_is_a_wrong_setting() {
    use crate::support::process::{chancery, code, told};
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path());
    std::fs::write(folder.path().join("tls.key"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let serve = |pairs: &[(&str, &str)]| {
        let mut command = chancery(folder.path());
        command.arg("serve").envs(["", "_HTTP", "_OPS"].map(|l| (format!("CHANCERY_LISTEN{l}"), "127.0.0.1:0")));
        command.envs(pairs.iter().copied()).output().unwrap()
    };
    let both = serve(&[("CHANCERY_TLS__CERTIFICATE", "tls.crt"), ("CHANCERY_TLS__KEY", "tls.key")]);
    assert_eq!(code(&both), 2, "{}", told(&both));
    assert!(told(&both).contains("tls.crt and tls.key do not make a TLS certificate"), "{}", told(&both));
    let gone = serve(&[("CHANCERY_TLS__CERTIFICATE", "none.crt"), ("CHANCERY_TLS__KEY", "tls.key")]);
    assert_eq!(code(&gone), 2, "{}", told(&gone));
    let half = serve(&[("CHANCERY_TLS__CERTIFICATE", "tls.crt")]);
    assert!(code(&half) == 2 && told(&half).contains("belong together"), "{}", told(&half));
}
