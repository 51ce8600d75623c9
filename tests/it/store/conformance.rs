//! Both engines keep the same semantics: every statement prepares, and each difference that the house lists is
//! shown to be none, or to be handled.

use chancery::authority::hierarchy::initialise;
use chancery::error::ErrorKind;
use chancery::model::actor::Actor;
use chancery::model::audit::{AuditEvent, ChainedEvent};
use chancery::model::certificate::CertificateFilter;
use chancery::model::grant::Grant;
use chancery::model::id::GrantId;
use chancery::model::identifier::Identifier;
use chancery::store::crls::{self, NewCrl};
use chancery::store::domain_crls::{self, DomainCrlAhead, DomainCrlHead};
use chancery::store::engine::{Db, q};
use chancery::store::faults::CommitFault;
use chancery::store::nonces::{self, Epoch, Shown};
use chancery::store::{audit, certificates, grants, guards, hierarchy, migrate};
use serde_json::json;

use super::large_rows::large_crl;
use crate::support::rows::{certificate, named, open_grant};
use crate::support::stores::{START, all_keys, founded, plain};

crate::on_both_engines! {
    async fn every_statement_prepares(at) {
        let statements = chancery::store::statements();
        assert!(statements.len() > 100, "only {}", statements.len());
        for sql in statements {
            if let Err(error) = at.store.db.prepare(&sql).await {
                panic!("{}: {}", sql.name, error.chain());
            }
        }
    }

    async fn migrating_twice_is_harmless(at) {
        founded(&at.store).await;
        migrate::run(&at.store.db).await.unwrap();
        assert!(hierarchy::installation(&at.store).await.unwrap().is_some());
    }

    async fn a_newer_schema_is_refused(at) {
        at.sql("UPDATE _sqlx_migrations SET version = 9999 WHERE version = (SELECT MAX(version) FROM _sqlx_migrations)").await;
        let error = migrate::run(&at.store.db).await.unwrap_err();
        assert!(error.rule.is_some_and(|r| r.name == "database.schema" && r.value.contains("9999")));
    }

    async fn a_migration_of_another_content_is_refused(at) {
        q(plain("UPDATE _sqlx_migrations SET checksum = $1")).bind(vec![7; 48]).execute(&at.store.db).await.unwrap();
        let error = migrate::run(&at.store.db).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config, "{error}");
    }

    async fn two_initialisations_at_once_make_one_hierarchy(at) {
        let others = [at.restarted().await, at.restarted().await, at.restarted().await];
        let (keys, founding) = all_keys();
        let race = |n: usize| initialise(&others[n], keys.as_ref(), &founding);
        let (a, b, c) = tokio::join!(race(0), race(1), race(2));
        let made = [a.unwrap(), b.unwrap(), c.unwrap()];
        assert_eq!(made.iter().filter(|made| **made).count(), 1, "{made:?}");
        assert_eq!(hierarchy::issuers(&at.store).await.unwrap().len(), 2);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM installation").await, 1);
    }

    async fn a_unique_violation_is_a_conflict(at) {
        let insert = plain("INSERT INTO serials (serial, certificate_id) VALUES ($1, $2)");
        let reserve = || q(insert).bind(vec![1u8]).bind(vec![2u8]);
        reserve().execute(&at.store.db).await.unwrap();
        assert_eq!(reserve().execute(&at.store.db).await.unwrap_err().kind, ErrorKind::Conflict);
    }

    async fn a_failed_statement_ends_the_transaction_on_postgres_and_a_savepoint_saves_it(at) {
        let insert = |serial: u8| {
            q(plain("INSERT INTO serials (serial, certificate_id) VALUES ($1, $2)")).bind(vec![serial]).bind(vec![9u8])
        };
        let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
        insert(1).execute(&mut tx).await.unwrap();
        tx.raw().savepoint().await.unwrap();
        assert_eq!(insert(1).execute(&mut tx).await.unwrap_err().kind, ErrorKind::Conflict);
        tx.raw().undo().await.unwrap();
        insert(4).execute(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM serials").await, 2);

        let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
        insert(1).execute(&mut tx).await.unwrap_err();
        let after = insert(6).execute(&mut tx).await;
        assert_eq!(after.is_err(), at.is_postgres(), "why groups are retried row by row");
    }

    async fn a_dropped_transaction_leaves_nothing(at) {
        let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
        let insert = plain("INSERT INTO serials (serial, certificate_id) VALUES ($1, $2)");
        q(insert).bind(vec![1u8]).bind(vec![2u8]).execute(&mut tx).await.unwrap();
        tx.audit(AuditEvent::done("test.made", "", json!({})));
        drop(tx);
        at.store.begin(&Actor::system("test")).await.unwrap().commit().await.unwrap();
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM serials").await, 0);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events").await, 0);
    }

    async fn u_0000_is_refused_on_both_engines_alike(at) {
        // Postgres refuses it in text and SQLite takes it: the engine lets none through
        let insert = q(plain("INSERT INTO domains (id, slug, name, created_at) VALUES ($1, $2, $3, $4)"));
        let stored = insert.bind(vec![1u8; 16]).bind("nul").bind("a\0b").bind(START).execute(&at.store.db).await;
        assert_eq!(stored.unwrap_err().kind, ErrorKind::Malformed);
        let filter = CertificateFilter { name: Some("a\0b".into()), ..Default::default() };
        let found = certificates::list(&at.store, &filter, None, 10, START).await;
        assert_eq!(found.unwrap_err().kind, ErrorKind::Malformed);
        let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
        let mut group = [certificate(&at.store), certificate(&at.store)];
        group[1].certificate.subject = "CN=\0".into();
        assert_eq!(certificates::intend(tx.raw(), &group).await.unwrap_err().kind, ErrorKind::Malformed);
        for name in ["a\0b.test", "a.test\0", "\0"] {
            assert!(Identifier::guess(name).is_err());
        }
    }

    async fn names_are_compared_as_bytes_and_in_any_case(at) {
        for name in ["a-b.example.test", "ab.example.test", "a.b.example.test", "xn--bcher-kva.example.test", "zz.test"] {
            let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
            certificates::intend(tx.raw(), &[named(&at.store, &[name])]).await.unwrap();
            tx.commit().await.unwrap();
        }
        let find = async |text: &str| {
            let filter = CertificateFilter { name: Some(text.into()), ..Default::default() };
            let list = certificates::list(&at.store, &filter, None, 50, START).await.unwrap();
            let mut names: Vec<_> = list.iter().map(|c| c.names[0].value()).collect();
            names.sort();
            names
        };
        assert_eq!(find("AB.Example.TEST").await, ["ab.example.test"]);
        // a linguistic collation skips hyphens and dots, and would find all three
        assert_eq!(find("a-*").await, ["a-b.example.test"]);
        assert_eq!(find("a*").await, ["a-b.example.test", "a.b.example.test", "ab.example.test"]);
        assert_eq!(find("*.example.test").await.len(), 4);
        assert_eq!(find("*.b.example.test").await, ["a.b.example.test"]);
        assert_eq!(find("example.test").await, Vec::<String>::new());
        // the wildcards of LIKE mean nothing
        assert_eq!(find("a_b.example.test").await, Vec::<String>::new());
        assert_eq!(find("%").await, Vec::<String>::new());
    }

    async fn a_group_with_a_serial_that_exists_fails_whole_and_goes_row_by_row(at) {
        let first = certificate(&at.store);
        let group = [certificate(&at.store), first.clone(), certificate(&at.store)];
        let write = async |rows: &[certificates::Intent]| {
            let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
            certificates::intend(tx.raw(), rows).await?;
            tx.commit().await
        };
        write(std::slice::from_ref(&first)).await.unwrap();
        assert_eq!(write(&group).await.unwrap_err().kind, ErrorKind::Conflict);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM certificates").await, 1, "nothing of the group stays");
        let mut good = 0;
        for row in &group {
            good += u32::from(write(std::slice::from_ref(row)).await.is_ok());
        }
        assert_eq!(good, 2);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM serials").await, 3);
    }

    async fn audit_chains_are_continuous_under_concurrent_transactions(at) {
        let other = at.restarted().await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..40u32 {
            let store = if n % 2 == 0 { at.store.clone() } else { other.clone() };
            if n % 7 == 0 {
                let fault = if n % 2 == 0 { CommitFault::Fails } else { CommitFault::LosesReply };
                store.commits().plan("test.made", fault);
            }
            tasks.spawn(async move {
                let mut tx = store.begin(&Actor::system("test")).await.unwrap();
                for part in 0..=(n % 3) {
                    tx.audit(AuditEvent::done("test.made", format!("thing:{n}"), json!({"part": part})));
                }
                tx.commit().await.is_ok()
            });
        }
        let good = tasks.join_all().await.into_iter().filter(|ok| *ok).count();
        assert_eq!(good, 34, "six were told that they failed");
        let rows = audit::chain_rows(&at.store, &(Vec::new(), -1, -1), 1_000).await.unwrap();
        let events: Vec<_> = rows.into_iter().map(|row| row.event.unwrap()).collect();
        assert!(events.len() > 60);
        let mut before: Option<&ChainedEvent> = None;
        for event in &events {
            assert_eq!(event.hash, event.compute_hash());
            match before.filter(|b| (b.writer, b.lane) == (event.writer, event.lane)) {
                Some(b) => assert_eq!((event.seq, event.previous), (b.seq + 1, b.hash)),
                None => assert_eq!((event.seq, event.previous), (1, [0; 32])),
            }
            before = Some(event);
        }
    }

    async fn the_last_uses_of_a_grant_are_taken_once(at) {
        let id = GrantId::from_bytes([7; 16]);
        let grant = Grant { max_count: Some(3), ..open_grant(7) };
        grants::insert(&at.store, &grant).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let store = at.store.clone();
            tasks.spawn(async move {
                let mut tx = store.begin(&Actor::system("test")).await.unwrap();
                let taken = guards::use_grant(&mut tx, id, START).await.unwrap();
                tx.commit().await.unwrap();
                taken
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|taken| *taken).count(), 3);
        assert_eq!(grants::find(&at.store, id).await.unwrap().unwrap().used_count, 3);
    }

    async fn a_nonce_is_spent_once_on_any_replica(at) {
        let other = at.restarted().await;
        nonces::insert_epoch(&at.store, &Epoch { number: 5, key: [1; 32] }, START).await.unwrap();
        let shown = |nonce: &[u8], epoch| Shown { nonce: nonce.to_vec(), epoch, expires_at: START };
        // the same nonces at once in two groups, in another order, and one of them twice in a group
        let (one, two) = (shown(b"one", 5), shown(b"two", 5));
        let (here, there) = ([one.clone(), two.clone(), one.clone()], [two, one]);
        let (here, there) = tokio::join!(nonces::spend(&at.store, &here), nonces::spend(&other, &there));
        let (here, there) = (here.unwrap(), there.unwrap());
        let times = |all: &[bool]| all.iter().filter(|good| **good).count();
        assert_eq!(times(&[here[0], here[2], there[1]]), 1, "{here:?} {there:?}");
        assert_eq!(times(&[here[1], there[0]]), 1, "{here:?} {there:?}");
        let lost = [shown(b"of a lost epoch", 6), shown(b"three", 5)];
        assert_eq!(nonces::spend(&other, &lost).await.unwrap(), [false, true]);
        assert!(nonces::latest(&other).await.unwrap() == nonces::find(&other, 5).await.unwrap());
        assert_eq!(nonces::forget(&other, START + std::time::Duration::from_secs(1)).await.unwrap(), 3);
    }

    async fn a_large_crl_is_stored_whole_or_not_at_all(at) {
        founded(&at.store).await;
        let issuer = hierarchy::issuers(&at.store).await.unwrap()[0].id;
        let (first, second) = (large_crl(&at.store, issuer, 1), large_crl(&at.store, issuer, 2));
        let (id, octets) = (first.id, first.bytes.clone());
        let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
        crls::insert(&mut tx, large_crl(&at.store, issuer, 1)).await.unwrap();
        drop(tx);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM crls WHERE entries = 77").await, 0, "it was rolled back");

        let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
        crls::insert(&mut tx, first).await.unwrap();
        crls::insert_ahead(&mut tx, second, at.store.now()).await.unwrap();
        let again = NewCrl { bytes: vec![7; 400_000].into(), ..large_crl(&at.store, issuer, 2) };
        crls::insert_ahead(&mut tx, again, at.store.now()).await.unwrap();
        tx.commit().await.unwrap();
        let heads = crls::latest(&at.store, issuer, at.store.now()).await.unwrap();
        let stored: Vec<_> = heads.iter().filter(|crl| crl.entries == 77).collect();
        assert_eq!(stored.len(), 2);
        for crl in stored {
            let read = crls::bytes(&at.store, crl).await.unwrap().unwrap();
            assert!(read == octets, "{} octets, sealed: {}", read.len(), crl.sealed);
        }
        // as an older binary reads it
        let row = q(plain("SELECT der, created_at FROM crls WHERE id = $1")).bind(id.to_vec()).fetch_one(&at.store).await.unwrap();
        assert!(row.get::<Vec<u8>>("der").unwrap() == octets);
        assert_eq!(row.time("created_at").unwrap(), at.store.now());

        let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
        let twice = NewCrl { id, ..large_crl(&at.store, issuer, 3) };
        assert_eq!(crls::insert(&mut tx, twice).await.unwrap_err().kind, ErrorKind::Conflict);
    }

    async fn a_large_domain_list_replaces_the_one_that_its_maker_read(at) {
        founded(&at.store).await;
        let issuer = hierarchy::issuers(&at.store).await.unwrap()[0].id;
        let now = at.store.now();
        let list = |counter| DomainCrlHead { domain: "tls".into(), counter, issuer_id: issuer, content: String::new(), this_update: now,
            next_update: now + std::time::Duration::from_secs(60), entries: 77, created_at: now, size: 0, ahead: None };
        at.sql("DELETE FROM domain_crls").await;
        let octets = large_crl(&at.store, issuer, 1).bytes.to_vec();
        for (before, counter, der, stored) in [
            (None, 1, vec![1], true),
            (Some(1), 2, octets.clone(), true),
            (Some(1), 3, octets.clone(), false),
            (Some(2), 4, octets.clone(), true),
        ] {
            let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
            assert_eq!(domain_crls::replace(&mut tx, before, &list(counter), der.into()).await.unwrap(), stored, "{counter}");
            let ahead = DomainCrlAhead { starts_at: now, this_update: now, next_update: now, entries: 77, size: 0 };
            domain_crls::replace_ahead(&mut tx, "tls", counter, Some((ahead, octets.clone()))).await.unwrap();
            tx.commit().await.unwrap();
        }
        let head = domain_crls::find(&at.store, "tls").await.unwrap().unwrap();
        assert_eq!((head.counter, head.content.as_str(), head.created_at), (4, "", now));
        for ahead in [None, head.ahead] {
            assert!(domain_crls::bytes(&at.store, &head, ahead).await.unwrap().unwrap() == octets, "{ahead:?}");
        }
        assert!(head.ahead.is_some());
    }
}

#[test]
fn both_folders_have_the_same_migrations() {
    let list = |engine: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(engine);
        let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let (sqlite, postgres) = (list("sqlite"), list("postgres"));
    assert_eq!(sqlite, postgres);
    assert_eq!(sqlite.len(), migrate::STEPS, "each file is in the binary");
}

#[tokio::test]
async fn a_database_out_of_reach_is_unavailable() {
    let nowhere = Db::open_postgres("postgres://nobody@127.0.0.1:1/none", 1, "chancery").await;
    assert_eq!(nowhere.unwrap_err().kind, ErrorKind::Unavailable);
    let nowhere = Db::open_sqlite(std::path::Path::new("/nonexistent/chancery.db")).await;
    assert_eq!(nowhere.unwrap_err().kind, ErrorKind::Unavailable);
}
