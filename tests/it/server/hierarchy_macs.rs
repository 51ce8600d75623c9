//! Whoever can write rows alone gets no certificate and no root into a bundle: rows of profiles, ACME directories, issuers,
//! their certificates and CA certificates of others are changed by SQL, and each time nothing is gained and fsck finds it.

use chancery::model::actor::Actor;
use chancery::store::engine::q;

use crate::issuance::rig::issuance;
use crate::on_both_servers;
use crate::support::server::TestServer;
use crate::support::stores::plain;

/// What is tried; `$1` is a certificate of the attacker. `undo` puts the rows back.
struct Attack {
    name: &'static str,
    gain: Gain,
    edit: &'static str,
    undo: &'static str,
}

/// What it would give.
#[derive(Clone, Copy, PartialEq)]
enum Gain {
    /// Certificates by profile tls-server of issuer tls-1.
    Certificate,
    /// A directory that answers.
    Directory,
    /// A root in the bundle.
    Bundle,
}

const fn attack(gain: Gain, name: &'static str, edit: &'static str, undo: &'static str) -> Attack {
    Attack { name, gain, edit, undo }
}

const PROFILES: &str = "UPDATE profiles SET config = (SELECT k.config FROM kept_profiles k WHERE k.id = profiles.id), \
    revision = (SELECT k.revision FROM kept_profiles k WHERE k.id = profiles.id), \
    row_version = (SELECT k.row_version FROM kept_profiles k WHERE k.id = profiles.id), \
    row_mac = (SELECT k.row_mac FROM kept_profiles k WHERE k.id = profiles.id)";
const DIRECTORIES: &str = "UPDATE acme_directories SET config = (SELECT k.config FROM kept_directories k WHERE k.id = acme_directories.id), \
    row_version = (SELECT k.row_version FROM kept_directories k WHERE k.id = acme_directories.id), \
    row_mac = (SELECT k.row_mac FROM kept_directories k WHERE k.id = acme_directories.id)";
const ISSUERS: &str = "UPDATE issuers SET name = (SELECT k.name FROM kept_issuers k WHERE k.id = issuers.id), \
    role = (SELECT k.role FROM kept_issuers k WHERE k.id = issuers.id), key_id = (SELECT k.key_id FROM kept_issuers k WHERE k.id = issuers.id), \
    parent_id = (SELECT k.parent_id FROM kept_issuers k WHERE k.id = issuers.id), state = (SELECT k.state FROM kept_issuers k WHERE k.id = issuers.id), \
    is_default = (SELECT k.is_default FROM kept_issuers k WHERE k.id = issuers.id), former = (SELECT k.former FROM kept_issuers k WHERE k.id = issuers.id), \
    status_url = (SELECT k.status_url FROM kept_issuers k WHERE k.id = issuers.id), \
    row_version = (SELECT k.row_version FROM kept_issuers k WHERE k.id = issuers.id), row_mac = (SELECT k.row_mac FROM kept_issuers k WHERE k.id = issuers.id)";
const CERTIFICATES: &str = "UPDATE issuer_certificates SET der = (SELECT k.der FROM kept_certificates k WHERE k.id = issuer_certificates.id), \
    not_after = (SELECT k.not_after FROM kept_certificates k WHERE k.id = issuer_certificates.id), \
    row_mac = (SELECT k.row_mac FROM kept_certificates k WHERE k.id = issuer_certificates.id)";

const ATTACKS: &[Attack] = &[
    attack(
        Gain::Certificate,
        "a profile is changed",
        "UPDATE profiles SET config = config || ' ' WHERE slug = 'tls-server'",
        PROFILES,
    ),
    attack(
        Gain::Certificate,
        "a profile has the content of a directory",
        "UPDATE profiles SET config = (SELECT k.config FROM kept_directories k WHERE k.slug = 'default') WHERE slug = 'tls-server'",
        PROFILES,
    ),
    attack(
        Gain::Certificate,
        "a profile has no MAC",
        "UPDATE profiles SET row_mac = NULL WHERE slug = 'tls-server'",
        PROFILES,
    ),
    attack(
        Gain::Certificate,
        "a profile has the MAC of a directory",
        "UPDATE profiles SET row_mac = (SELECT k.row_mac FROM kept_directories k WHERE k.slug = 'default') WHERE slug = 'tls-server'",
        PROFILES,
    ),
    attack(
        Gain::Certificate,
        "a profile has another revision",
        "UPDATE profiles SET revision = 9 WHERE slug = 'tls-server'",
        PROFILES,
    ),
    attack(
        Gain::Certificate,
        "a profile has another version",
        "UPDATE profiles SET row_version = 9 WHERE slug = 'tls-server'",
        PROFILES,
    ),
    attack(
        Gain::Directory,
        "a directory is changed",
        "UPDATE acme_directories SET config = config || ' '",
        DIRECTORIES,
    ),
    attack(Gain::Directory, "a directory has no MAC", "UPDATE acme_directories SET row_mac = NULL", DIRECTORIES),
    attack(
        Gain::Directory,
        "a directory has another version",
        "UPDATE acme_directories SET row_version = 9",
        DIRECTORIES,
    ),
    attack(
        Gain::Directory,
        "a directory has the MAC of a profile",
        "UPDATE acme_directories SET row_mac = (SELECT k.row_mac FROM kept_profiles k WHERE k.slug = 'tls-server')",
        DIRECTORIES,
    ),
    attack(
        Gain::Certificate,
        "an issuer has another name",
        "UPDATE issuers SET name = 'X' WHERE slug = 'tls-1'",
        ISSUERS,
    ),
    attack(Gain::Bundle, "an issuer is a root", "UPDATE issuers SET role = 'root' WHERE slug = 'tls-1'", ISSUERS),
    attack(
        Gain::Certificate,
        "an issuer is no default",
        "UPDATE issuers SET is_default = FALSE WHERE slug = 'tls-1'",
        ISSUERS,
    ),
    attack(
        Gain::Certificate,
        "an issuer was the default",
        "UPDATE issuers SET former = 'default' WHERE slug = 'tls-1'",
        ISSUERS,
    ),
    attack(
        Gain::Certificate,
        "an issuer has another key",
        "UPDATE issuers SET key_id = (SELECT k.key_id FROM kept_issuers k WHERE k.slug = 'tls-root') WHERE slug = 'tls-1'",
        ISSUERS,
    ),
    attack(
        Gain::Certificate,
        "an issuer has no parent",
        "UPDATE issuers SET parent_id = NULL WHERE slug = 'tls-1'",
        ISSUERS,
    ),
    attack(
        Gain::Certificate,
        "an issuer points elsewhere",
        "UPDATE issuers SET status_url = 'http://x.test' WHERE slug = 'tls-1'",
        ISSUERS,
    ),
    attack(
        Gain::Certificate,
        "an issuer has no MAC",
        "UPDATE issuers SET row_mac = NULL WHERE slug = 'tls-1'",
        ISSUERS,
    ),
    attack(
        Gain::Certificate,
        "an issuer has the MAC of its root",
        "UPDATE issuers SET row_mac = (SELECT k.row_mac FROM kept_issuers k WHERE k.slug = 'tls-root') WHERE slug = 'tls-1'",
        ISSUERS,
    ),
    attack(
        Gain::Certificate,
        "a root has no MAC",
        "UPDATE issuers SET row_mac = NULL WHERE slug = 'tls-root'",
        ISSUERS,
    ),
    attack(
        Gain::Bundle,
        "a root has another certificate",
        "UPDATE issuer_certificates SET der = $1 WHERE issuer_id = (SELECT k.id FROM kept_issuers k WHERE k.slug = 'tls-root')",
        CERTIFICATES,
    ),
    attack(
        Gain::Bundle,
        "a root has one more certificate",
        "INSERT INTO issuer_certificates (id, issuer_id, certificate_id, der, not_before, not_after, created_at) \
         VALUES ((SELECT k.id FROM kept_issuers k WHERE k.slug = 'tls-root'), (SELECT k.id FROM kept_issuers k WHERE k.slug = 'tls-root'), \
         (SELECT k.id FROM kept_issuers k WHERE k.slug = 'tls-root'), $1, 0, 9000000000000000, 0)",
        "DELETE FROM issuer_certificates WHERE id = issuer_id",
    ),
    attack(
        Gain::Certificate,
        "an issuer's certificate lasts longer",
        "UPDATE issuer_certificates SET not_after = not_after + 1 WHERE issuer_id = (SELECT k.id FROM kept_issuers k WHERE k.slug = 'tls-1')",
        CERTIFICATES,
    ),
    attack(
        Gain::Certificate,
        "certificates of issuers have no MAC",
        "UPDATE issuer_certificates SET row_mac = NULL",
        CERTIFICATES,
    ),
    attack(
        Gain::Bundle,
        "a root of others is added",
        "INSERT INTO anchors (domain, fingerprint, der, not_before, not_after, created_at, standing) \
         VALUES ('tls', $1, $1, 0, 9000000000000000, 0, 'added')",
        "DELETE FROM anchors",
    ),
    attack(
        Gain::Bundle,
        "a root of others is added with the MAC of another row",
        "INSERT INTO anchors (domain, fingerprint, der, not_before, not_after, created_at, standing, row_version, row_mac) \
         VALUES ('tls', $1, $1, 0, 9000000000000000, 0, 'added', 1, (SELECT k.row_mac FROM kept_certificates k WHERE k.issuer_id = (SELECT i.id FROM kept_issuers i WHERE i.slug = 'tls-root')))",
        "DELETE FROM anchors",
    ),
];

const COPIES: [&str; 4] = [
    "CREATE TABLE kept_profiles AS SELECT * FROM profiles",
    "CREATE TABLE kept_directories AS SELECT * FROM acme_directories",
    "CREATE TABLE kept_issuers AS SELECT * FROM issuers",
    "CREATE TABLE kept_certificates AS SELECT * FROM issuer_certificates",
];

async fn sql(server: &TestServer, text: &'static str, der: &[u8]) {
    let query = q(plain(text));
    let query = if text.contains("$1") { query.bind(der) } else { query };
    query.execute(&server.app().store.db).await.unwrap();
}

async fn gains(server: &TestServer, gain: Gain, roots: &[Vec<u8>]) -> bool {
    let app = server.app();
    // what cannot be read at all is no gain: the process goes on with what it read before
    let (read, served) = (app.authority.reload().await, app.registration.reload().await);
    match gain {
        Gain::Certificate => {
            let issued = app.authority.issue(&Actor::host(0, "test"), issuance(Default::default())).await;
            issued.is_ok() && read.is_ok()
        }
        Gain::Directory => served.is_ok() && app.registration.directory("default").is_ok(),
        Gain::Bundle => app.authority.snapshot().roots("tls").iter().any(|der| !roots.iter().any(|own| own == der)),
    }
}

/// Moves a lifetime, or puts back the row of before with its MAC.
const LIFETIMES: [&str; 4] = [
    "UPDATE issuer_lifetimes SET crl_lifetime = 31536000000000",
    "UPDATE issuer_lifetimes SET row_mac = NULL",
    "UPDATE issuer_lifetimes SET crl_lifetime = (SELECT k.crl_lifetime FROM kept_lifetimes k), row_version = (SELECT k.row_version FROM kept_lifetimes k), \
     row_mac = (SELECT k.row_mac FROM kept_lifetimes k)",
    "UPDATE issuer_lifetimes SET issuer_id = (SELECT id FROM issuers WHERE slug = 'tls-root')",
];

on_both_servers! {
    async fn a_lifetime_that_is_written_by_sql_does_not_hold(server) {
        use chancery::clock::days;
        use chancery::model::status_lifetimes::{LifetimesChange, StatusLifetimes};
        let authority = &server.app().authority;
        let actor = Actor::host(0, "test");
        let of = |slug: &'static str| async move {
            authority.reload().await.unwrap();
            authority.snapshot().issuer(slug).unwrap().lifetimes
        };
        for (life, text) in [(300, "CREATE TABLE kept_lifetimes AS SELECT * FROM issuer_lifetimes"), (2, "CREATE TABLE right_lifetimes AS SELECT * FROM issuer_lifetimes")] {
            authority.set_lifetimes(&actor, "tls-1", LifetimesChange { crl: Some(Some(days(life))), ocsp: None }).await.unwrap();
            assert_eq!(of("tls-1").await.crl, days(life));
            sql(server, text, &[]).await;
        }
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
        for edit in LIFETIMES {
            sql(server, edit, &[]).await;
            assert_eq!((of("tls-1").await, of("tls-root").await), (StatusLifetimes::DEFAULT, StatusLifetimes::DEFAULT), "{edit}");
            let findings = authority.fsck().await.unwrap().findings;
            assert!(findings.iter().any(|finding| finding.contains("issuer_lifetimes:")), "{edit}: {findings:?}");
            sql(server, "DELETE FROM issuer_lifetimes", &[]).await;
            sql(server, "INSERT INTO issuer_lifetimes SELECT * FROM right_lifetimes", &[]).await;
            assert_eq!(of("tls-1").await.crl, days(2), "{edit}: put right");
        }
        authority.look_at_rows().await.unwrap();
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn no_row_of_the_hierarchy_that_is_written_by_sql_gives_power(server) {
        let der = rcgen::generate_simple_self_signed(vec!["root.test".to_owned()]).unwrap().cert.der().to_vec();
        let roots: Vec<Vec<u8>> = server.app().authority.snapshot().roots("tls").iter().map(|der| der.to_vec()).collect();
        assert!(gains(server, Gain::Certificate, &roots).await && gains(server, Gain::Directory, &roots).await);
        for text in COPIES {
            sql(server, text, &der).await;
        }
        for attack in ATTACKS {
            sql(server, attack.edit, &der).await;
            assert!(!gains(server, attack.gain, &roots).await, "{}", attack.name);
            let findings = server.app().authority.fsck().await.unwrap().findings;
            let found = |finding: &String| finding.contains("by something other than Chancery");
            assert!(findings.iter().any(found), "{}: {findings:?}", attack.name);
            sql(server, attack.undo, &der).await;
            assert!(gains(server, Gain::Certificate, &roots).await, "{}: undone", attack.name);
        }
        assert!(gains(server, Gain::Directory, &roots).await);
        let findings = server.app().authority.fsck().await.unwrap().findings;
        assert!(findings.is_empty(), "{findings:?}");
    }
}
