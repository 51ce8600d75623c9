//! Whoever can write rows, and nothing else, gets no power in silence: every row that grants something is changed, made up,
//! mixed and put back by SQL, and each time the row is refused where it is used and found by fsck.

use std::collections::BTreeSet;

use chancery::access::grants::NewGrant;
use chancery::access::session::Cookie;
use chancery::access::tokens::NewToken;
use chancery::authority::checks::Severity;
use chancery::clock::hours;
use chancery::error::{Error, ErrorKind, Result};
use chancery::model::actor::{Actor, Role};
use chancery::model::id::{EabKeyId, GrantId, SessionId, TokenId, UserId};
use chancery::model::user::{Session, User, UserName};
use chancery::registration::external_accounts::{Bounds, NewEabKey};
use chancery::store::engine::{Db, q};
use chancery::store::{eab_keys, grants, sessions, users};

use crate::on_both_servers;
use crate::support::server::TestServer;
use crate::support::stores::plain;

/// What is tried, on an object of its own. `$1` is its id, `$2` that of another object of the kind, which has more power.
struct Attack {
    name: &'static str,
    target: Target,
    /// What the CA itself does before, after the rows were copied.
    before: Before,
    edits: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq)]
enum Target {
    Token,
    /// A grant, through a token that is bounded by it.
    Grant,
    User,
    Session,
    EabKey,
    SetupLink,
}

#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    /// Revokes, disables or ends it.
    Withdraw,
    /// The role of a user becomes a lower one.
    Demote,
}

const fn edit(name: &'static str, target: Target, edits: &'static [&'static str]) -> Attack {
    Attack { name, target, before: Before::Nothing, edits }
}

const fn after(before: Before, name: &'static str, target: Target, edits: &'static [&'static str]) -> Attack {
    Attack { name, target, before, edits }
}

const ATTACKS: &[Attack] = &[
    edit("a token gets another role", Target::Token, &["UPDATE tokens SET role = 'admin' WHERE id = $1"]),
    edit("a token lasts longer", Target::Token, &["UPDATE tokens SET expires_at = expires_at + 1 WHERE id = $1"]),
    edit("a token loses its grant", Target::Grant, &["UPDATE tokens SET grant_id = NULL WHERE grant_id = $1"]),
    edit("a token gets another grant", Target::Grant, &["UPDATE tokens SET grant_id = $2 WHERE grant_id = $1"]),
    edit(
        "a token gets another secret",
        Target::Token,
        &[
            "UPDATE tokens SET secret_sha256 = id WHERE id = $1",
            "UPDATE tokens SET secret_sha256 = (SELECT k.secret_sha256 FROM kept_tokens k WHERE k.id = $1) WHERE id = $2",
        ],
    ),
    edit("a token loses its MAC", Target::Token, &["UPDATE tokens SET row_mac = NULL WHERE id = $1"]),
    edit(
        "a token gets the MAC of another",
        Target::Token,
        &[
            "UPDATE tokens SET role = 'admin', row_mac = (SELECT k.row_mac FROM kept_tokens k WHERE k.id = $2) WHERE id = $1",
        ],
    ),
    edit(
        "a token gets another version",
        Target::Token,
        &["UPDATE tokens SET row_version = row_version + 1 WHERE id = $1"],
    ),
    edit("a token gets another form of MAC", Target::Token, &["UPDATE tokens SET row_mac = id WHERE id = $1"]),
    edit(
        "a token is made up",
        Target::Token,
        &[
            "DELETE FROM tokens WHERE id = $1",
            "INSERT INTO tokens (id, name, secret_sha256, role, created_by, created_at, expires_at) \
         SELECT id, name, secret_sha256, 'admin', created_by, created_at, expires_at FROM kept_tokens WHERE id = $1",
        ],
    ),
    edit(
        "a token is made up with the row of another",
        Target::Token,
        &[
            "DELETE FROM tokens WHERE id = $1",
            "INSERT INTO tokens (id, name, secret_sha256, role, created_by, created_at, expires_at, row_version, row_mac) \
         SELECT k.id, a.name, k.secret_sha256, a.role, a.created_by, a.created_at, a.expires_at, a.row_version, a.row_mac \
         FROM kept_tokens k, kept_tokens a WHERE k.id = $1 AND a.id = $2",
        ],
    ),
    after(
        Before::Withdraw,
        "a revocation is undone",
        Target::Token,
        &["UPDATE tokens SET revoked_at = NULL WHERE id = $1"],
    ),
    after(
        Before::Withdraw,
        "a revoked token is put back",
        Target::Token,
        &["DELETE FROM tokens WHERE id = $1", "INSERT INTO tokens SELECT * FROM kept_tokens WHERE id = $1"],
    ),
    edit(
        "a grant gets another scope",
        Target::Grant,
        &["UPDATE grants SET scope = (SELECT k.scope FROM kept_grants k WHERE k.id = $2) WHERE id = $1"],
    ),
    edit("a grant never ends", Target::Grant, &["UPDATE grants SET expires_at = NULL WHERE id = $1"]),
    edit("a grant has no count", Target::Grant, &["UPDATE grants SET max_count = NULL WHERE id = $1"]),
    edit("a grant has a higher count", Target::Grant, &["UPDATE grants SET max_count = 1000 WHERE id = $1"]),
    edit("a grant loses its MAC", Target::Grant, &["UPDATE grants SET row_mac = NULL WHERE id = $1"]),
    after(
        Before::Withdraw,
        "a grant's revocation is undone",
        Target::Grant,
        &[
            "UPDATE grants SET revoked_at = NULL WHERE id = $1",
            "UPDATE tokens SET revoked_at = NULL WHERE grant_id = $1",
        ],
    ),
    after(
        Before::Withdraw,
        "a revoked grant is put back",
        Target::Grant,
        &[
            "DELETE FROM grants WHERE id = $1",
            "INSERT INTO grants SELECT * FROM kept_grants WHERE id = $1",
            "DELETE FROM tokens WHERE grant_id = $1",
            "INSERT INTO tokens SELECT * FROM kept_tokens WHERE grant_id = $1",
        ],
    ),
    edit("a user becomes administrator", Target::User, &["UPDATE users SET role = 'admin' WHERE id = $1"]),
    edit(
        "a user gets another's password",
        Target::User,
        &[
            "UPDATE users SET password_hash = (SELECT k.password_hash || ' ' FROM kept_users k WHERE k.id = $2) WHERE id = $1",
        ],
    ),
    edit("a user loses its MAC", Target::User, &["UPDATE users SET role = 'admin', row_mac = NULL WHERE id = $1"]),
    edit(
        "a user gets the MAC of another",
        Target::User,
        &[
            "UPDATE users SET role = 'admin', row_mac = (SELECT k.row_mac FROM kept_users k WHERE k.id = $2) WHERE id = $1",
        ],
    ),
    edit("a user gets another name", Target::User, &["UPDATE users SET name = 'somebody' WHERE id = $1"]),
    after(
        Before::Withdraw,
        "a user is enabled",
        Target::User,
        &["UPDATE users SET disabled_at = NULL WHERE id = $1"],
    ),
    after(
        Before::Withdraw,
        "a user is put back as it was",
        Target::User,
        &[
            "UPDATE users SET disabled_at = NULL, row_version = 1, row_mac = (SELECT k.row_mac FROM kept_users k WHERE k.id = $1) WHERE id = $1",
        ],
    ),
    after(
        Before::Demote,
        "a role is put back as it was",
        Target::User,
        &["UPDATE users SET role = (SELECT k.role FROM kept_users k WHERE k.id = $1), row_version = 1, \
         row_mac = (SELECT k.row_mac FROM kept_users k WHERE k.id = $1) WHERE id = $1"],
    ),
    edit(
        "a session is of another user",
        Target::Session,
        &["UPDATE sessions SET user_id = (SELECT k.user_id FROM kept_sessions k WHERE k.id = $2) WHERE id = $1"],
    ),
    edit(
        "a session lasts longer",
        Target::Session,
        &["UPDATE sessions SET expires_at = expires_at + 1 WHERE id = $1"],
    ),
    edit("a session loses its MAC", Target::Session, &["UPDATE sessions SET row_mac = NULL WHERE id = $1"]),
    edit(
        "a session is made up",
        Target::Session,
        &[
            "DELETE FROM sessions WHERE id = $1",
            "INSERT INTO sessions (id, user_id, secret_sha256, created_at, last_seen_at, expires_at, address, user_agent, row_version, row_mac) \
         SELECT k.id, a.user_id, k.secret_sha256, a.created_at, a.last_seen_at, a.expires_at, a.address, a.user_agent, a.row_version, a.row_mac \
         FROM kept_sessions k, kept_sessions a WHERE k.id = $1 AND a.id = $2",
        ],
    ),
    after(
        Before::Withdraw,
        "a session that ended is put back",
        Target::Session,
        &["INSERT INTO sessions SELECT * FROM kept_sessions WHERE id = $1"],
    ),
    edit(
        "an EAB key is of another grant",
        Target::EabKey,
        &["UPDATE eab_keys SET grant_id = (SELECT k.grant_id FROM kept_eab_keys k WHERE k.id = $2) WHERE id = $1"],
    ),
    edit(
        "an EAB key lasts longer",
        Target::EabKey,
        &["UPDATE eab_keys SET expires_at = expires_at + 1 WHERE id = $1"],
    ),
    edit(
        "an EAB key registers more accounts",
        Target::EabKey,
        &["UPDATE eab_keys SET max_accounts = NULL WHERE id = $1"],
    ),
    edit(
        "an EAB key gets another's secret",
        Target::EabKey,
        &["UPDATE eab_keys SET sealed = (SELECT k.sealed FROM kept_eab_keys k WHERE k.id = $2) WHERE id = $1"],
    ),
    edit("an EAB key loses its MAC", Target::EabKey, &["UPDATE eab_keys SET row_mac = NULL WHERE id = $1"]),
    after(
        Before::Withdraw,
        "an EAB key's revocation is undone",
        Target::EabKey,
        &["UPDATE eab_keys SET revoked_at = NULL WHERE id = $1"],
    ),
    after(
        Before::Withdraw,
        "a revoked EAB key is put back",
        Target::EabKey,
        &["DELETE FROM eab_keys WHERE id = $1", "INSERT INTO eab_keys SELECT * FROM kept_eab_keys WHERE id = $1"],
    ),
    edit(
        "a set-up link is made up",
        Target::SetupLink,
        &[
            "INSERT INTO setup_links (secret_sha256, created_by, created_at, expires_at) VALUES ($1, 'nobody', 1, 9000000000000000)",
        ],
    ),
];

fn operator() -> Actor {
    Actor::host(0, "test")
}

/// An object of its own: how the audit calls it, its id, and how it is used.
struct Object {
    name: String,
    id: Vec<u8>,
    bearer: String,
    cookie: String,
}

async fn make(server: &TestServer, target: Target, n: usize, role: Role, hash: &str) -> Object {
    let (app, now) = (server.app(), server.app().clock.now());
    let mut object = Object {
        name: String::new(),
        id: vec![u8::try_from(n).unwrap(); 32],
        bearer: String::new(),
        cookie: String::new(),
    };
    let count = if role == Role::Admin { Some(900) } else { Some(3) };
    let bounds = NewGrant {
        name: format!("grant {n}"),
        allow_names: Some(vec![format!("n{n}.test")]),
        subjects: None,
        profiles: None,
        issuers: None,
        expires_in: Some(hours(9)),
        max_count: count,
    };
    match target {
        Target::Token | Target::Grant => {
            let mut new = NewToken { name: format!("token {n}"), role: Some(role), ..NewToken::default() };
            if target == Target::Grant {
                new = NewToken { allow_names: bounds.allow_names, max_count: bounds.max_count, ..new };
            }
            let (token, secret) = app.access.create_token(&operator(), &new).await.unwrap();
            object.bearer = secret.expose().to_owned();
            object.id = token.grant_id.map_or(token.id.to_vec(), GrantId::to_vec);
            object.name = token.grant_id.map_or(format!("token:{}", token.id), |id| format!("grant:{id}"));
        }
        Target::User | Target::Session => {
            let user = User {
                id: UserId::new(now, app.entropy.as_ref()).unwrap(),
                name: UserName::parse(&format!("user{n}")).unwrap(),
                role,
                created_by: "test".into(),
                created_at: now,
                password_changed_at: now,
                last_sign_in_at: None,
                disabled_at: None,
                suspended_at: None,
                failed_sign_ins: 0,
            };
            let cookie = format!("{n:064x}");
            let session = Session {
                id: SessionId::new(now, app.entropy.as_ref()).unwrap(),
                user_id: user.id,
                created_at: now,
                last_seen_at: now,
                expires_at: now + hours(12),
                address: String::new(),
                user_agent: String::new(),
            };
            let mut tx = app.store.begin(&operator()).await.unwrap();
            users::insert(&mut tx, &user, hash).await.unwrap();
            sessions::insert(&mut tx, &session, &chancery::access::secret::sha256(cookie.as_bytes())).await.unwrap();
            tx.commit().await.unwrap();
            object.cookie = cookie;
            (object.id, object.name) = match target {
                Target::User => (user.id.to_vec(), format!("user:{}", user.id)),
                _ => (session.id.to_vec(), format!("session:{}", session.id)),
            };
        }
        Target::EabKey => {
            let new = NewEabKey {
                name: format!("key {n}"),
                directory: app.registration.directories()[0].clone(),
                bounds: Bounds::Own(bounds),
                expires_in: Some(hours(9)),
                max_accounts: count,
            };
            let made = app.registration.create_eab_key(&operator(), &new, None, |_| Ok(String::new())).await;
            let (key, _) = made.unwrap();
            (object.id, object.name) = (key.id.to_vec(), format!("eab_key:{}", key.id));
        }
        Target::SetupLink => object.name = format!("setup_link:{}", chancery::model::serial::to_hex(&object.id)),
    }
    object
}

/// What the object lets somebody do.
async fn used(server: &TestServer, target: Target, object: &Object) -> Result<Option<Role>> {
    let app = server.app();
    app.access.forget();
    match target {
        Target::Token | Target::Grant => {
            app.access.caller(&object.bearer, "test").await.map(|caller| Some(caller.role()))
        }
        Target::User | Target::Session => {
            let cookie = Cookie::parse(&object.cookie).unwrap();
            app.access.signed_in(&cookie, "test").await.map(|signed| signed.map(|signed| signed.user.role))
        }
        Target::EabKey => {
            let id = EabKeyId::try_from(object.id.clone()).unwrap();
            let key = eab_keys::find(&app.store, id).await?.unwrap();
            let grant = grants::find(&app.store, key.grant_id).await?.unwrap();
            Ok((key.revoked_at.is_none() && grant.revoked_at.is_none()).then_some(Role::Requester))
        }
        Target::SetupLink => {
            let secret: [u8; 32] = object.id.clone().try_into().unwrap();
            users::link(&app.store, &secret).await.map(|link| link.map(|_| Role::Admin))
        }
    }
}

async fn withdraw(server: &TestServer, target: Target, object: &Object) {
    let (app, id) = (server.app(), object.id.clone());
    match target {
        Target::Token => drop(app.access.revoke_token(&operator(), TokenId::try_from(id).unwrap()).await.unwrap()),
        Target::Grant => drop(app.access.revoke_grant(&operator(), GrantId::try_from(id).unwrap()).await.unwrap()),
        Target::User => drop(app.access.disable_user(&operator(), UserId::try_from(id).unwrap()).await.unwrap()),
        Target::Session => {
            let signed =
                app.access.signed_in(&Cookie::parse(&object.cookie).unwrap(), "test").await.unwrap().unwrap();
            app.access.sign_out(&signed).await.unwrap();
        }
        Target::EabKey => {
            let id = EabKeyId::try_from(id).unwrap();
            drop(app.registration.revoke_eab_key(&operator(), id, false).await.unwrap());
        }
        Target::SetupLink => {}
    }
}

async fn sql(server: &TestServer, text: &'static str, ids: [&[u8]; 2]) {
    let mut query = q(plain(text));
    for (placeholder, id) in ["$1", "$2"].into_iter().zip(ids) {
        if text.contains(placeholder) {
            query = query.bind(id);
        }
    }
    query.execute(&server.app().store.db).await.unwrap();
}

fn is_refusal(error: &Error) -> bool {
    let sentence = error.detail.contains("it is refused until an operator has looked at it");
    error.kind == ErrorKind::Unauthenticated || error.kind == ErrorKind::Forbidden && sentence
}

/// Who revokes a token makes it an administrator's instead; and the statement that takes this away.
const TRIGGER_ON_SQLITE: (&[&str], &str) = (
    &["CREATE TRIGGER lifted AFTER UPDATE OF revoked_at ON tokens BEGIN \
       UPDATE tokens SET role = 'admin', revoked_at = NULL WHERE id = new.id; END"],
    "DROP TRIGGER lifted",
);
const TRIGGER_ON_POSTGRES: (&[&str], &str) = (
    &[
        "CREATE FUNCTION lift() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN new.role := ''admin''; new.revoked_at := NULL; \
         RETURN new; END'",
        "CREATE TRIGGER lifted BEFORE UPDATE OF revoked_at ON tokens FOR EACH ROW EXECUTE FUNCTION lift()",
    ],
    "DROP TRIGGER lifted ON tokens",
);

const COPIES: [&str; 6] = [
    "CREATE TABLE kept_tokens AS SELECT * FROM tokens",
    "CREATE TABLE kept_grants AS SELECT * FROM grants",
    "CREATE TABLE kept_users AS SELECT * FROM users",
    "CREATE TABLE kept_sessions AS SELECT * FROM sessions",
    "CREATE TABLE kept_eab_keys AS SELECT * FROM eab_keys",
    "CREATE TABLE kept_floors AS SELECT * FROM row_floors",
];

on_both_servers! {
    async fn no_row_that_is_written_by_sql_gives_power_in_silence(server) {
        let hash = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21l$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let mut objects = Vec::new();
        for (n, attack) in ATTACKS.iter().enumerate() {
            let role = if attack.before == Before::Demote { Role::Operator } else { Role::Requester };
            let mine = make(server, attack.target, n, role, hash).await;
            let other = make(server, attack.target, n + 100, Role::Admin, hash).await;
            if attack.target != Target::SetupLink {
                assert!(matches!(used(server, attack.target, &mine).await, Ok(Some(_))), "{}: it works before", attack.name);
            }
            objects.push((mine, other));
        }
        for text in COPIES {
            sql(server, text, [&[], &[]]).await;
        }
        for (attack, (mine, _)) in ATTACKS.iter().zip(&objects) {
            match attack.before {
                Before::Nothing => {}
                Before::Withdraw => withdraw(server, attack.target, mine).await,
                Before::Demote => {
                    let id = UserId::try_from(mine.id.clone()).unwrap();
                    server.app().access.set_role(&operator(), id, Role::Viewer).await.unwrap();
                    sql(server, "INSERT INTO sessions SELECT * FROM kept_sessions WHERE user_id = $1", [&mine.id, &[]]).await;
                }
            }
        }
        assert_eq!(server.app().authority.fsck().await.unwrap().findings.len(), 1, "the session that the test put back");
        for (attack, (mine, other)) in ATTACKS.iter().zip(&objects) {
            for text in attack.edits {
                sql(server, text, [&mine.id, &other.id]).await;
            }
            match used(server, attack.target, mine).await {
                Ok(None) => {}
                Ok(Some(role)) => panic!("{}: it works as {}", attack.name, role.name()),
                Err(error) => assert!(is_refusal(&error), "{}: {}", attack.name, error.chain()),
            }
        }
        let findings = server.app().authority.fsck().await.unwrap().findings;
        let about = |object: &str| findings.iter().any(|finding| finding.starts_with(object));
        let missed: Vec<_> = ATTACKS.iter().zip(&objects).filter(|(attack, (mine, other))| {
            let through = attack.target == Target::Grant && attack.edits[0].contains("tokens SET grant_id");
            !(about(&mine.name) || about(&other.name) || through && about("token:"))
        }).map(|(attack, _)| attack.name).collect();
        assert!(missed.is_empty(), "fsck misses {missed:?} in {findings:#?}");

        // doctor, readiness and the audit say so, the audit once a row
        server.app().authority.look_at_rows().await.unwrap();
        server.app().authority.look_at_rows().await.unwrap();
        let checks = server.app().authority.checks().await;
        assert!(checks.iter().any(|check| check.name == "rows" && check.severity == Severity::Critical));
        let ready = server.ops("/readyz").await;
        assert_eq!(ready.status, 200);
        assert!(ready.text().contains("[!]rows warning: "), "{}", ready.text());
        let events = q(plain("SELECT object FROM audit_events WHERE action = 'row.changed_outside'"));
        let events = events.fetch_all(&server.app().store.db).await.unwrap();
        let told: Vec<String> = events.iter().map(|row| row.get("object").unwrap()).collect();
        assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), told.len(), "each row once: {told:?}");
        assert!(told.contains(&objects[0].0.name));
    }

    async fn a_changed_row_is_refused_with_a_sentence_until_it_is_accepted(server) {
        let object = make(server, Target::Token, 1, Role::Viewer, "").await;
        sql(server, "UPDATE tokens SET role = 'auditor' WHERE id = $1", [&object.id, &[]]).await;
        server.app().access.forget();
        let bearer = format!("Bearer {}", object.bearer);
        let refused = server.https("GET", "/api/v1/certificates", &[("Authorization", &bearer)], b"").await;
        assert_eq!(refused.status, 403);
        let said = refused.text();
        assert!(said.contains(&format!("{} was changed in the database", object.name)), "{said}");
        let accepted = server.app().authority.accept_row(&operator(), &object.name).await.unwrap();
        assert!(accepted.columns.contains(&("role", "auditor".to_owned())), "{accepted:?}");
        assert!(accepted.columns.iter().all(|(name, _)| !name.contains("secret")), "{accepted:?}");
        server.app().access.forget();
        let taken = server.https("GET", "/api/v1/certificates", &[("Authorization", &bearer)], b"").await;
        assert_eq!(taken.status, 200);
        assert!(server.app().authority.fsck().await.unwrap().findings.is_empty());
        let unknown = server.app().authority.accept_row(&operator(), "token:tok_0").await.unwrap_err();
        assert_eq!(unknown.kind, ErrorKind::NotFound);
        let good = server.app().authority.accept_row(&operator(), &object.name).await.unwrap_err();
        assert_eq!(good.kind, ErrorKind::Conflict, "{}", good.detail);
    }

    async fn a_changed_row_can_be_revoked_and_is_accepted_no_more(server) {
        let object = make(server, Target::Token, 1, Role::Viewer, "").await;
        sql(server, "UPDATE tokens SET role = 'admin' WHERE id = $1", [&object.id, &[]]).await;
        withdraw(server, Target::Token, &object).await;
        assert_eq!(used(server, Target::Token, &object).await.unwrap_err().kind, ErrorKind::Forbidden);
        let accepted = server.app().authority.accept_row(&operator(), &object.name).await;
        assert_eq!(accepted.unwrap_err().kind, ErrorKind::Conflict);
    }

    async fn a_revoked_token_that_was_put_back_is_not_accepted(server) {
        let object = make(server, Target::Token, 1, Role::Admin, "").await;
        sql(server, COPIES[0], [&[], &[]]).await;
        withdraw(server, Target::Token, &object).await;
        sql(server, "DELETE FROM tokens WHERE id = $1", [&object.id, &[]]).await;
        sql(server, "INSERT INTO tokens SELECT * FROM kept_tokens WHERE id = $1", [&object.id, &[]]).await;
        for floor_too in [false, true] {
            if floor_too {
                sql(server, "DELETE FROM row_floors WHERE row_id = $1", [&object.id, &[]]).await;
            }
            let accepted = server.app().authority.accept_row(&operator(), &object.name).await.unwrap_err();
            assert_eq!(accepted.kind, ErrorKind::Conflict);
            assert!(accepted.detail.contains("was revoked, disabled, removed or ended"), "{}", accepted.detail);
        }
    }

    async fn what_a_trigger_writes_gets_no_mac(server) {
        let object = make(server, Target::Token, 1, Role::Viewer, "").await;
        let db = &server.app().store.db;
        let (made, gone) = if db.is_postgres() { TRIGGER_ON_POSTGRES } else { TRIGGER_ON_SQLITE };
        for text in made {
            sql(server, text, [&[], &[]]).await;
        }
        let id = TokenId::try_from(object.id.clone()).unwrap();
        let revoked = server.app().access.revoke_token(&operator(), id).await.unwrap_err();
        assert!(revoked.to_string().contains("trigger") || revoked.detail.contains("trigger"), "{revoked:?}");
        assert_eq!(used(server, Target::Token, &object).await.unwrap(), Some(Role::Viewer));
        sql(server, gone, [&[], &[]]).await;
        withdraw(server, Target::Token, &object).await;
        assert_eq!(used(server, Target::Token, &object).await.unwrap_err().kind, ErrorKind::Unauthenticated);
    }

    async fn an_older_row_whose_floor_was_deleted_is_found_by_the_audit(server) {
        let object = make(server, Target::Token, 1, Role::Admin, "").await;
        let gone = make(server, Target::Token, 2, Role::Admin, "").await;
        sql(server, COPIES[0], [&[], &[]]).await;
        withdraw(server, Target::Token, &object).await;
        sql(server, "DELETE FROM tokens WHERE id = $1", [&object.id, &[]]).await;
        sql(server, "INSERT INTO tokens SELECT * FROM kept_tokens WHERE id = $1", [&object.id, &[]]).await;
        sql(server, "DELETE FROM row_floors WHERE row_id = $1", [&object.id, &[]]).await;
        sql(server, "DELETE FROM tokens WHERE id = $1", [&gone.id, &[]]).await;
        let findings = server.app().authority.fsck().await.unwrap().findings;
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings.iter().any(|f| f.starts_with(&format!("{} is another row than the audit says", object.name))));
        assert!(findings.iter().any(|f| f.starts_with(&format!("{} is gone from the database", gone.name))));
        // what the job finds is refused from then on
        server.app().authority.look_at_rows().await.unwrap();
        assert_eq!(server.app().store.row_macs().changed().len(), 2);
        assert_eq!(used(server, Target::Token, &object).await.unwrap_err().kind, ErrorKind::Forbidden);
    }

    async fn rows_of_an_earlier_version_are_taken_once_it_no_longer_runs(server) {
        let object = make(server, Target::Token, 1, Role::Viewer, "").await;
        server.stop().await;
        let db = match server.database_url() {
            Some(url) => Db::open_postgres(url, 1, "chancery rep_01JEARLIER").await.unwrap(),
            None => Db::open_sqlite(&server.data().join("chancery.db")).await.unwrap(),
        };
        for text in [
            "DELETE FROM shared_secrets WHERE name LIKE '%row-macs%'",
            "UPDATE tokens SET row_mac = NULL",
            "UPDATE profiles SET row_mac = NULL",
            "UPDATE issuers SET row_mac = NULL",
        ] {
            q(plain(text)).execute(&db).await.unwrap();
        }
        std::fs::remove_file(server.data().join("anchor.json")).unwrap();
        if server.database_url().is_none() {
            db.close().await;
        }
        server.start_again().await;
        assert_eq!(used(server, Target::Token, &object).await.unwrap(), Some(Role::Viewer));
        if server.database_url().is_some() {
            // the connection stands for a server of the earlier version
            assert!(!server.app().store.row_macs().is_required());
            let checks = server.app().authority.checks().await;
            let rows = checks.iter().find(|check| check.name == "rows").unwrap();
            assert!(rows.severity == Severity::Warning && rows.detail.contains("while an earlier version runs"), "{rows:?}");
            db.close().await;
            while !server.app().store.row_macs().is_required() {
                server.app().authority.keep_row_macs().await.unwrap();
                tokio::task::yield_now().await;
            }
        }
        assert!(server.app().store.row_macs().is_required());
        assert_eq!(used(server, Target::Token, &object).await.unwrap(), Some(Role::Viewer));
        sql(server, "UPDATE tokens SET row_mac = NULL WHERE id = $1", [&object.id, &[]]).await;
        assert_eq!(used(server, Target::Token, &object).await.unwrap_err().kind, ErrorKind::Forbidden);
    }

    async fn a_locked_server_answers_503_where_it_needs_the_key(server) {
        let object = make(server, Target::Token, 1, Role::Admin, "").await;
        let bearer = format!("Bearer {}", object.bearer);
        server.restart_with(&[("CHANCERY_LOCKED", "true")]).await;
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        let new = br#"{"name":"another","role":"viewer"}"#;
        let made = server.https("POST", "/api/v1/tokens", &headers, new).await;
        assert_eq!(made.status, 503, "{}", made.text());
        assert!(made.text().contains("the server is locked"), "{}", made.text());
        assert_eq!(server.https("GET", "/api/v1/certificates", &headers, b"").await.status, 200);
        server.restart_with(&[("CHANCERY_LOCKED", "false")]).await;
        assert_eq!(server.https("POST", "/api/v1/tokens", &headers, new).await.status, 201);
    }

    async fn a_deleted_mark_is_noticed_and_frees_no_row(server) {
        let object = make(server, Target::Token, 1, Role::Viewer, "").await;
        sql(server, "DELETE FROM shared_secrets WHERE name LIKE 'row-macs%'", [&[], &[]]).await;
        sql(server, "UPDATE tokens SET role = 'admin' WHERE id = $1", [&object.id, &[]]).await;
        assert_eq!(used(server, Target::Token, &object).await.unwrap_err().kind, ErrorKind::Forbidden);
        server.restart().await;
        assert_eq!(used(server, Target::Token, &object).await.unwrap_err().kind, ErrorKind::Unavailable);
        let rollback = server.app().store.rollback().expect("it is remembered outside of the database");
        assert!(rollback.findings.iter().any(|f| f.contains("rows must have MACs in ")));
    }
}
