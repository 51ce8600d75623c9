//! Whoever can write the rows of accounts, orders and authorizations, and nothing else, gets no certificate by it: each edit
//! is tried over ACME, and what could have given power is found by fsck.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use chancery::access::grants::NewGrant;
use chancery::clock::days;
use chancery::error::ErrorKind;
use chancery::model::acme::AccountKey;
use chancery::model::actor::Actor;
use chancery::model::id::{AccountId, AuthorizationId, EabKeyId, GrantId, OrderId};
use chancery::registration::Origin;
use chancery::registration::external_accounts::{Bounds, NewEabKey};
use chancery::store::engine::q;
use chancery::store::{accounts, authorizations, eab_keys};
use serde_json::{Value, json};

use super::client::{Client, Key, Reply, b64, csr, leaf_der, url};
use super::eab::{bind, external, new_key, stranger};
use super::world::{World, worlds};
use crate::support::stores::plain;

/// One edit. In its statements stand in braces the ids of Mallory, of Mallory's order for a name that is not proved
/// (`pending`) and its authorization (`unproved`), of Mallory's ready order and its authorization (`proof`), of the victim,
/// the victim's ready order (`theirs`) and its authorization (`their_proof`), of a grant, and of nothing (`unused`); the
/// names are `{n}.victim.test` and `{n}.mallory.test`.
struct Attack {
    name: &'static str,
    before: Before,
    edits: &'static [&'static str],
    then: Then,
    /// What fsck names; nothing where the edit gives no power at all.
    found: &'static str,
}

/// What the client itself does, after the rows were copied.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    DeactivatesProof,
    DeactivatesAccount,
    ChangesKey,
    IsRevoked,
}

/// What is tried afterwards.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// Mallory finalizes the order for the name that is not proved.
    FinalizePending,
    /// Mallory finalizes the ready order with a CSR for its name, for the victim's, for a wildcard or for one below.
    FinalizeReady(&'static str),
    /// Mallory finalizes the victim's order.
    FinalizeTheirs,
    /// Whoever has Mallory's key speaks for the victim.
    AsVictim,
    /// The victim, with the first key.
    VictimOrders,
    /// Mallory orders a name of the grant.
    OrderGranted,
}

const fn attack(name: &'static str, then: Then, found: &'static str, edits: &'static [&'static str]) -> Attack {
    Attack { name, before: Before::Nothing, edits, then, found }
}

const fn after(
    before: Before,
    name: &'static str,
    then: Then,
    found: &'static str,
    edits: &'static [&'static str],
) -> Attack {
    Attack { name, before, edits, then, found }
}

const READY: &str = "UPDATE acme_orders SET status = 'ready' WHERE id = {pending}";
const OWN: &str = "{n}.mallory.test";
const KEPT_PROOF: &str = "UPDATE acme_authorizations SET status = 'valid', \
     row_version = (SELECT k.row_version FROM kept_authorizations k WHERE k.id = {proof}), \
     row_mac = (SELECT k.row_mac FROM kept_authorizations k WHERE k.id = {proof}) WHERE id = {proof}";
const KEPT_ACCOUNT: &str = "UPDATE acme_accounts SET status = 'valid', \
     jwk = (SELECT k.jwk FROM kept_accounts k WHERE k.id = {victim}), \
     thumbprint = (SELECT k.thumbprint FROM kept_accounts k WHERE k.id = {victim}), \
     public_key = (SELECT k.public_key FROM kept_accounts k WHERE k.id = {victim}), \
     row_version = (SELECT k.row_version FROM kept_accounts k WHERE k.id = {victim}), \
     row_mac = (SELECT k.row_mac FROM kept_accounts k WHERE k.id = {victim}) WHERE id = {victim}";

const ATTACKS: &[Attack] = &[
    attack("an order is set ready", Then::FinalizePending, "", &[READY]),
    attack(
        "an order is set ready and its links are deleted",
        Then::FinalizePending,
        "",
        &[READY, "DELETE FROM acme_order_authorizations WHERE order_id = {pending}"],
    ),
    attack(
        "an authorization is set valid",
        Then::FinalizePending,
        "{unproved}",
        &["UPDATE acme_authorizations SET status = 'valid' WHERE id = {unproved}", READY],
    ),
    attack(
        "an authorization is set valid with its challenges",
        Then::FinalizePending,
        "{unproved}",
        &[
            "UPDATE acme_authorizations SET status = 'valid', row_version = row_version + 1 WHERE id = {unproved}",
            "UPDATE acme_challenges SET status = 'valid', validated_at = 1 WHERE authorization_id = {unproved}",
            READY,
        ],
    ),
    attack(
        "an authorization is set valid and loses its MAC",
        Then::FinalizePending,
        "{unproved}",
        &[
            "UPDATE acme_authorizations SET status = 'valid', row_version = 0, row_mac = NULL WHERE id = {unproved}",
            READY,
        ],
    ),
    attack(
        "an authorization gets the MAC of another",
        Then::FinalizePending,
        "{unproved}",
        &[
            "UPDATE acme_authorizations SET status = 'valid', row_version = 2, \
             row_mac = (SELECT k.row_mac FROM kept_authorizations k WHERE k.id = {proof}) WHERE id = {unproved}",
            READY,
        ],
    ),
    attack(
        "another account's authorization is linked in",
        Then::FinalizePending,
        "",
        &["UPDATE acme_order_authorizations SET authorization_id = {their_proof} WHERE order_id = {pending}", READY],
    ),
    attack(
        "another account's authorization is taken over",
        Then::FinalizePending,
        "{their_proof}",
        &[
            "UPDATE acme_authorizations SET account_id = {mallory} WHERE id = {their_proof}",
            "UPDATE acme_order_authorizations SET authorization_id = {their_proof} WHERE order_id = {pending}",
            READY,
        ],
    ),
    attack(
        "a proof becomes that of another name",
        Then::FinalizePending,
        "{proof}",
        &[
            "UPDATE acme_authorizations SET value = '{n}.victim.test' WHERE id = {proof}",
            "UPDATE acme_order_authorizations SET authorization_id = {proof} WHERE order_id = {pending}",
            READY,
        ],
    ),
    attack(
        "a proof is made up",
        Then::FinalizePending,
        "{unused}",
        &[
            "INSERT INTO acme_authorizations (id, account_id, order_id, position, status, kind, value, wildcard, subdomains, expires_at, created_at) \
             SELECT {unused}, {mallory}, order_id, position, 'valid', kind, value, wildcard, subdomains, expires_at, created_at \
             FROM kept_authorizations WHERE id = {unproved}",
            "UPDATE acme_order_authorizations SET authorization_id = {unused} WHERE order_id = {pending}",
            READY,
        ],
    ),
    attack(
        "a proof is made up with the MAC of another",
        Then::FinalizePending,
        "{unused}",
        &[
            "INSERT INTO acme_authorizations (id, account_id, order_id, position, status, kind, value, wildcard, subdomains, expires_at, created_at, \
             row_version, row_mac) SELECT {unused}, {mallory}, order_id, position, 'valid', kind, value, wildcard, subdomains, expires_at, created_at, \
             row_version, row_mac FROM kept_authorizations WHERE id = {their_proof}",
            "UPDATE acme_order_authorizations SET authorization_id = {unused} WHERE order_id = {pending}",
            READY,
        ],
    ),
    attack(
        "an order gets another name",
        Then::FinalizeReady("{n}.victim.test"),
        "",
        &[
            "UPDATE acme_orders SET identifiers = (SELECT o.identifiers FROM acme_orders o WHERE o.id = {pending}) WHERE id = {ready}",
        ],
    ),
    attack(
        "a proof covers the names below",
        Then::FinalizeReady("a.{n}.mallory.test"),
        "{proof}",
        &[
            "UPDATE acme_authorizations SET subdomains = TRUE WHERE id = {proof}",
            "UPDATE acme_orders SET identifiers = REPLACE(identifiers, '{n}.mallory', 'a.{n}.mallory') WHERE id = {ready}",
        ],
    ),
    attack(
        "a proof covers a wildcard",
        Then::FinalizeReady("*.{n}.mallory.test"),
        "{proof}",
        &[
            "UPDATE acme_authorizations SET wildcard = TRUE WHERE id = {proof}",
            "UPDATE acme_orders SET identifiers = REPLACE(identifiers, '{n}.mallory', '*.{n}.mallory') WHERE id = {ready}",
        ],
    ),
    attack(
        "a proof lasts longer",
        Then::FinalizeReady(OWN),
        "{proof}",
        &["UPDATE acme_authorizations SET expires_at = expires_at + 1 WHERE id = {proof}"],
    ),
    attack(
        "a proof is younger",
        Then::FinalizeReady(OWN),
        "{proof}",
        &["UPDATE acme_authorizations SET created_at = created_at + 1 WHERE id = {proof}"],
    ),
    attack(
        "a proof is of another order",
        Then::FinalizeReady(OWN),
        "{proof}",
        &["UPDATE acme_authorizations SET order_id = {pending} WHERE id = {proof}"],
    ),
    attack(
        "a proof loses its MAC",
        Then::FinalizeReady(OWN),
        "{proof}",
        &["UPDATE acme_authorizations SET row_mac = NULL WHERE id = {proof}"],
    ),
    attack(
        "a proof has another version",
        Then::FinalizeReady(OWN),
        "{proof}",
        &["UPDATE acme_authorizations SET row_version = row_version + 1 WHERE id = {proof}"],
    ),
    attack(
        "a proof rests on a grant",
        Then::FinalizeReady(OWN),
        "{proof}",
        &["UPDATE acme_challenges SET kind = 'chancery-grant-01' WHERE authorization_id = {proof}"],
    ),
    after(
        Before::DeactivatesProof,
        "a proof that was given up is valid",
        Then::FinalizeReady(OWN),
        "{proof}",
        &[
            "UPDATE acme_authorizations SET status = 'valid' WHERE id = {proof}",
            "UPDATE acme_orders SET status = 'ready', error = NULL WHERE id = {ready}",
        ],
    ),
    after(
        Before::DeactivatesProof,
        "a proof that was given up is put back",
        Then::FinalizeReady(OWN),
        "{proof}",
        &[KEPT_PROOF, "UPDATE acme_orders SET status = 'ready', error = NULL WHERE id = {ready}"],
    ),
    attack(
        "an order was placed a day ago and asks for a start then",
        Then::FinalizeReady(OWN),
        "",
        &[
            "UPDATE acme_orders SET created_at = created_at - 86400000000, not_before = created_at - 86400000000 WHERE id = {ready}",
        ],
    ),
    attack(
        "an order is of another account",
        Then::FinalizeTheirs,
        "",
        &["UPDATE acme_orders SET account_id = {mallory} WHERE id = {theirs}"],
    ),
    attack(
        "an account gets another's key",
        Then::AsVictim,
        "{victim}",
        &[
            "UPDATE acme_accounts SET thumbprint = {unused} WHERE id = {mallory}",
            "UPDATE acme_accounts SET jwk = (SELECT k.jwk FROM kept_accounts k WHERE k.id = {mallory}), \
             thumbprint = (SELECT k.thumbprint FROM kept_accounts k WHERE k.id = {mallory}), \
             public_key = (SELECT k.public_key FROM kept_accounts k WHERE k.id = {mallory}) WHERE id = {victim}",
        ],
    ),
    after(
        Before::DeactivatesAccount,
        "a deactivated account is valid",
        Then::VictimOrders,
        "{victim}",
        &["UPDATE acme_accounts SET status = 'valid' WHERE id = {victim}"],
    ),
    after(
        Before::DeactivatesAccount,
        "a deactivated account is put back",
        Then::VictimOrders,
        "{victim}",
        &[KEPT_ACCOUNT],
    ),
    after(Before::IsRevoked, "a revoked account is put back", Then::VictimOrders, "{victim}", &[KEPT_ACCOUNT]),
    after(Before::ChangesKey, "an account has its first key again", Then::VictimOrders, "{victim}", &[KEPT_ACCOUNT]),
    attack(
        "an account gets a grant",
        Then::OrderGranted,
        "{mallory}",
        &["UPDATE acme_accounts SET grant_id = {grant} WHERE id = {mallory}"],
    ),
    attack(
        "an account gets an external account key",
        Then::OrderGranted,
        "{mallory}",
        &["UPDATE acme_accounts SET grant_id = {grant}, eab_key_id = {unused}, eab = '{}' WHERE id = {mallory}"],
    ),
    attack(
        "an account is made up",
        Then::OrderGranted,
        "{mallory}",
        &[
            "UPDATE acme_accounts SET thumbprint = {unused}, status = 'revoked' WHERE id = {mallory}",
            "INSERT INTO acme_accounts (id, directory, status, jwk, thumbprint, public_key, contact, url, terms_agreed, created_at, created_from, grant_id) \
             SELECT {unused}, directory, status, jwk, thumbprint, public_key, contact, url, terms_agreed, created_at, created_from, {grant} \
             FROM kept_accounts WHERE id = {mallory}",
        ],
    ),
    attack(
        "an account has other limits",
        Then::VictimOrders,
        "{victim}",
        &["UPDATE acme_accounts SET limits = '{}' WHERE id = {victim}"],
    ),
    attack(
        "an account has another URL",
        Then::VictimOrders,
        "{victim}",
        &[
            "UPDATE acme_accounts SET url = (SELECT k.url FROM kept_accounts k WHERE k.id = {mallory}) WHERE id = {victim}",
        ],
    ),
    attack(
        "an account agreed to terms",
        Then::VictimOrders,
        "{victim}",
        &["UPDATE acme_accounts SET terms_url = 'https://terms.test' WHERE id = {victim}"],
    ),
    attack(
        "an account loses its MAC",
        Then::VictimOrders,
        "{victim}",
        &["UPDATE acme_accounts SET row_mac = NULL WHERE id = {victim}"],
    ),
];

/// Two clients, and what each has.
struct Scene<'w> {
    n: usize,
    mallory: Client<'w>,
    victim: Client<'w>,
    pending: Value,
    ready: Value,
    theirs: Value,
    ids: Vec<(&'static str, Vec<u8>, String)>,
}

fn last(url: &Value) -> &str {
    url.as_str().unwrap().rsplit('/').next().unwrap()
}

fn order_id(order: &Value) -> Vec<u8> {
    let finalize = order["finalize"].as_str().unwrap();
    let id = finalize.split('/').find_map(|part| part.parse::<OrderId>().ok());
    id.unwrap().to_vec()
}

async fn scene<'w>(world: &'w World, n: usize, grant: GrantId) -> Scene<'w> {
    let (mallory, victim) = (Client::register(world).await, Client::register(world).await);
    let (own, wanted) = (format!("{n}.mallory.test"), format!("{n}.victim.test"));
    let (_, ready) = mallory.ready_order(&[&own]).await;
    let (_, theirs) = victim.ready_order(&[&wanted]).await;
    let pending = mallory.order(&[&wanted]).await.expect(201).json();
    let mut ids = Vec::new();
    for (name, client) in [("mallory", &mallory), ("victim", &victim)] {
        let id: AccountId = last(&json!(client.kid)).parse().unwrap();
        ids.push((name, id.to_vec(), format!("account:{id}")));
    }
    for (name, order) in [("unproved", &pending), ("proof", &ready), ("their_proof", &theirs)] {
        let id: AuthorizationId = last(&order["authorizations"][0]).parse().unwrap();
        ids.push((name, id.to_vec(), format!("authorization:{id}")));
    }
    for (name, order) in [("pending", &pending), ("ready", &ready), ("theirs", &theirs)] {
        ids.push((name, order_id(order), String::new()));
    }
    let unused = AuthorizationId::new(world.now(), world.store.entropy.as_ref()).unwrap();
    ids.push(("unused", unused.to_vec(), format!("authorization:{unused}")));
    ids.push(("grant", grant.to_vec(), String::new()));
    Scene { n, mallory, victim, pending, ready, theirs, ids }
}

impl Scene<'_> {
    fn filled(&self, text: &str, value: impl Fn(&(&'static str, Vec<u8>, String)) -> String) -> String {
        let text = text.replace("{n}", &self.n.to_string());
        self.ids.iter().fold(text, |text, id| text.replace(&format!("{{{}}}", id.0), &value(id)))
    }

    async fn edit(&self, text: &str) {
        let world = self.mallory.world;
        let hex = |id: &[u8]| id.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        let literal = |id: &[u8]| match world.store.db.is_postgres() {
            true => format!("'\\x{}'::bytea", hex(id)),
            false => format!("x'{}'", hex(id)),
        };
        sql(world, self.filled(text, |(_, id, _)| literal(id))).await;
    }

    async fn begin(&self, before: Before) {
        let end = r#"{"status":"deactivated"}"#;
        let victim: AccountId = last(&json!(self.victim.kid)).parse().unwrap();
        let registration = &self.victim.world.registration;
        match before {
            Before::Nothing => {}
            Before::DeactivatesProof => {
                self.mallory.post(self.ready["authorizations"][0].as_str().unwrap(), end).await.expect(200);
            }
            Before::DeactivatesAccount => drop(self.victim.post(&self.victim.kid, end).await.expect(200)),
            Before::IsRevoked => {
                registration.revoke_account(&Actor::system("test"), victim, "test").await.unwrap();
            }
            Before::ChangesKey => {
                let account = registration.account("default", victim).await.unwrap().unwrap();
                let jwk = Key::new().jwk().to_string();
                let thumbprint = digest(&SHA256, jwk.as_bytes()).as_ref().try_into().unwrap();
                let key = AccountKey { public_key: jwk.clone().into_bytes(), jwk, thumbprint };
                registration.change_key(&Origin::default(), &account, key).await.unwrap().unwrap();
            }
        }
    }

    async fn tried(&self, then: Then) -> Reply {
        let name = |text: &str| self.filled(text, |_| String::new());
        match then {
            Then::FinalizePending => finalize(&self.mallory, &self.pending, &name("{n}.victim.test")).await,
            Then::FinalizeReady(text) => finalize(&self.mallory, &self.ready, &name(text)).await,
            Then::FinalizeTheirs => finalize(&self.mallory, &self.theirs, &name("{n}.victim.test")).await,
            Then::AsVictim => {
                let key = self.mallory.key.copy();
                let thief = Client { world: self.mallory.world, key, kid: self.victim.kid.clone() };
                finalize(&thief, &self.theirs, &name("{n}.victim.test")).await
            }
            Then::VictimOrders => self.victim.order(&["another.victim.test"]).await,
            Then::OrderGranted => self.mallory.order(&["granted.test"]).await,
        }
    }
}

async fn finalize(client: &Client<'_>, order: &Value, name: &str) -> Reply {
    let (csr, _) = csr(&[name]);
    client.post(order["finalize"].as_str().unwrap(), &json!({"csr": b64(csr)}).to_string()).await
}

async fn sql(world: &World, text: String) {
    q(plain(Box::leak(text.into_boxed_str()))).execute(&world.store.db).await.unwrap();
}

async fn grant(world: &World) -> GrantId {
    let key: EabKeyId = external(world, &new_key(&["granted.test"])).await.id;
    eab_keys::look(&world.store, key).await.unwrap().unwrap().grant_id
}

/// What the process remembers of accounts ends.
fn forget(world: &World) {
    world.clock.advance(Duration::from_secs(6));
}

#[tokio::test]
async fn no_edit_of_accounts_orders_and_authorizations_gives_a_certificate() {
    for world in worlds().await {
        world.authority.keep_row_macs().await.unwrap();
        assert!(world.store.row_macs().is_required());
        let grant = grant(&world).await;
        let mut scenes = Vec::new();
        for n in 0..ATTACKS.len() {
            scenes.push(scene(&world, n, grant).await);
        }
        sql(&world, "CREATE TABLE kept_accounts AS SELECT * FROM acme_accounts".into()).await;
        sql(&world, "CREATE TABLE kept_authorizations AS SELECT * FROM acme_authorizations".into()).await;
        assert_eq!(world.authority.fsck().await.unwrap().findings, Vec::<String>::new());
        for (attack, scene) in ATTACKS.iter().zip(&scenes) {
            scene.begin(attack.before).await;
            for text in attack.edits {
                scene.edit(text).await;
            }
        }
        forget(&world);
        for (attack, scene) in ATTACKS.iter().zip(&scenes) {
            let reply = scene.tried(attack.then).await;
            assert!(reply.status >= 400, "{}: {} {}", attack.name, reply.status, reply.text);
            let said = reply.json()["detail"].as_str().unwrap().to_owned();
            let refused = said.contains("it is refused until an operator has looked at it");
            assert!(reply.status < 500, "{}: {said}", attack.name);
            assert!(refused || attack.found.is_empty(), "{}: {said}", attack.name);
        }
        let findings = world.authority.fsck().await.unwrap().findings;
        for (attack, scene) in ATTACKS.iter().zip(&scenes) {
            let named = scene.filled(attack.found, |(_, _, object)| object.clone());
            let found = attack.found.is_empty() || findings.iter().any(|finding| finding.starts_with(&named));
            assert!(found, "{}: {named} in {findings:#?}", attack.name);
        }
        // the job finds as much
        world.authority.look_at_rows().await.unwrap();
        let changed = world.store.row_macs().changed();
        for (attack, scene) in ATTACKS.iter().zip(&scenes) {
            let named = scene.filled(attack.found, |(_, _, object)| object.clone());
            assert!(attack.found.is_empty() || changed.contains_key(&named), "{}: {named}", attack.name);
        }
    }
}

#[tokio::test]
async fn a_name_that_was_changed_before_it_is_tried_is_not_proved() {
    for world in worlds().await {
        world.authority.keep_row_macs().await.unwrap();
        let scene = scene(&world, 0, grant(&world).await).await;
        scene.edit("UPDATE acme_authorizations SET value = '{n}.mallory.test' WHERE id = {unproved}").await;
        let authorization = scene.pending["authorizations"][0].as_str().unwrap();
        let shown = scene.mallory.prove(authorization).await;
        assert_eq!(shown["status"], "invalid", "{shown}");
        let told = shown["challenges"][0]["error"]["detail"].as_str().unwrap();
        assert!(told.contains("was changed in the database"), "{told}");
    }
}

#[tokio::test]
async fn a_proof_that_was_put_back_is_found_without_what_remembers_its_end() {
    for world in worlds().await {
        world.authority.keep_row_macs().await.unwrap();
        let scene = scene(&world, 0, grant(&world).await).await;
        sql(&world, "CREATE TABLE kept_authorizations AS SELECT * FROM acme_authorizations".into()).await;
        sql(&world, "CREATE TABLE kept_accounts AS SELECT * FROM acme_accounts".into()).await;
        scene.begin(Before::DeactivatesProof).await;
        scene.begin(Before::ChangesKey).await;
        scene.edit(KEPT_PROOF).await;
        scene.edit(KEPT_ACCOUNT).await;
        sql(&world, "DELETE FROM row_floors".into()).await;
        for found in [world.authority.fsck().await.unwrap().findings, {
            world.authority.look_at_rows().await.unwrap();
            world.store.row_macs().changed().into_keys().collect()
        }] {
            for object in ["{proof}", "{victim}"] {
                let named = scene.filled(object, |(_, _, object)| object.clone());
                assert!(found.iter().any(|line| line.starts_with(&named)), "{named} in {found:?}");
            }
        }
        forget(&world);
        assert!(scene.tried(Then::VictimOrders).await.text.contains("the audit"));
        // a deleted account is found too
        let bare = Client::register(&world).await;
        let id: AccountId = last(&json!(bare.kid)).parse().unwrap();
        let hex: String = id.to_vec().iter().map(|octet| format!("{octet:02X}")).collect();
        let column = if world.store.db.is_postgres() { "upper(encode(id, 'hex'))" } else { "hex(id)" };
        sql(&world, format!("DELETE FROM acme_accounts WHERE {column} = '{hex}'")).await;
        let findings = world.authority.fsck().await.unwrap().findings;
        assert!(findings.iter().any(|line| line.starts_with(&format!("account:{id} is gone"))), "{findings:?}");
    }
}

#[tokio::test]
async fn rows_of_before_are_sealed_once_and_go_on() {
    for world in worlds().await {
        // no key yet: rows are written without a MAC, as an earlier version does
        let scene = scene(&world, 0, grant(&world).await).await;
        let old = scene.mallory.order(&["old.mallory.test"]).await.expect(201).json();
        world.clock.advance(days(10));
        let fresh = Client::register(&world).await;
        let (_, ready) = fresh.ready_order(&["fresh.test"]).await;
        let open = fresh.order(&["open.test"]).await.expect(201).json();
        world.authority.keep_row_macs().await.unwrap();
        assert!(world.store.row_macs().is_required());
        forget(&world);
        let done = finalize(&fresh, &ready, "fresh.test").await.expect(200).json();
        assert_eq!(done["status"], "valid");
        assert_eq!(fresh.prove(open["authorizations"][0].as_str().unwrap()).await["status"], "valid");
        finalize(&fresh, &open, "open.test").await.expect(200);
        let findings = world.authority.fsck().await.unwrap().findings;
        // nobody published in the days that passed
        assert!(findings.iter().all(|finding| finding.starts_with("the CRL of ")), "{findings:?}");
        // what had expired by then has no MAC, and none of its edits counts
        let id: AuthorizationId = last(&old["authorizations"][0]).parse().unwrap();
        let text = "UPDATE acme_authorizations SET status = 'valid', expires_at = 9000000000000000 WHERE value = 'old.mallory.test'";
        sql(&world, text.into()).await;
        let mut tx = world.store.begin(&Actor::system("test")).await.unwrap();
        let held = authorizations::lock_all(&mut tx, std::iter::once(id)).await.unwrap();
        assert!(held[0].refusal.is_some());
    }
}

#[tokio::test]
async fn a_changed_account_is_ended_or_accepted_by_an_operator() {
    for world in worlds().await {
        world.authority.keep_row_macs().await.unwrap();
        let scene = scene(&world, 0, grant(&world).await).await;
        let victim: AccountId = last(&json!(scene.victim.kid)).parse().unwrap();
        let mallory: AccountId = last(&json!(scene.mallory.kid)).parse().unwrap();
        for id in ["{victim}", "{mallory}"] {
            scene.edit(&format!("UPDATE acme_accounts SET terms_url = 'https://terms.test' WHERE id = {id}")).await;
        }
        forget(&world);
        scene.tried(Then::VictimOrders).await.refused(403, "unauthorized");
        world.authority.accept_row(&Actor::system("test"), &format!("account:{victim}")).await.unwrap();
        forget(&world);
        scene.tried(Then::VictimOrders).await.expect(201);
        world.registration.revoke_account(&Actor::system("test"), mallory, "its row was changed").await.unwrap();
        assert_eq!(accounts::find(&world.store, mallory).await.unwrap_err().kind, ErrorKind::Forbidden);
        let accepted = world.authority.accept_row(&Actor::system("test"), &format!("account:{mallory}")).await;
        assert_eq!(accepted.unwrap_err().kind, ErrorKind::Conflict);
    }
}

#[tokio::test]
async fn a_count_that_was_set_back_is_refused_and_an_older_one_found() {
    for world in worlds().await {
        world.authority.keep_row_macs().await.unwrap();
        let Bounds::Own(bounds) = new_key(&["granted.test"]).bounds else { unreachable!() };
        let bounds = Bounds::Own(NewGrant { max_count: Some(2), ..bounds });
        let key = external(&world, &NewEabKey { bounds, max_accounts: Some(2), ..new_key(&[]) }).await;
        sql(&world, "CREATE TABLE kept_grants AS SELECT * FROM grants".into()).await;
        sql(&world, "CREATE TABLE kept_keys AS SELECT * FROM eab_keys".into()).await;
        let client = key.register(&world).await;
        let order = client.order(&["granted.test"]).await.expect(201).json();
        finalize(&client, &order, "granted.test").await.expect(200);
        assert_eq!(world.authority.fsck().await.unwrap().findings, Vec::<String>::new());

        let order = client.order(&["granted.test"]).await.expect(201).json();
        let stranger = stranger(&world);
        for mac in
            ["", ", count_mac = NULL", ", count_version = 1, count_mac = (SELECT k.row_mac FROM kept_grants k)"]
        {
            sql(&world, format!("UPDATE grants SET used_count = 0{mac}")).await;
            sql(&world, format!("UPDATE eab_keys SET used_accounts = 0{mac}")).await;
            let used = finalize(&client, &order, "granted.test").await.refused(403, "unauthorized").text;
            assert!(used.contains("grant_count:grt_") && used.contains("an operator has looked at it"), "{used}");
            let bound = bind(&stranger, &key.binding(&stranger.key)).await.refused(403, "unauthorized").text;
            assert!(bound.contains("eab_key_count:eab_"), "{bound}");
            let findings = world.authority.fsck().await.unwrap().findings;
            assert_eq!(findings.len(), 2, "{findings:?}");
        }
        for (table, kept, count) in
            [("grants", "kept_grants", "used_count"), ("eab_keys", "kept_keys", "used_accounts")]
        {
            let of_kept = |column: &str| format!("{column} = (SELECT k.{column} FROM {kept} k)");
            let columns = [of_kept(count), of_kept("count_version"), of_kept("count_mac")].join(", ");
            sql(&world, format!("UPDATE {table} SET {columns}")).await;
        }
        let findings = world.authority.fsck().await.unwrap().findings;
        assert!(
            findings.len() == 2 && findings.iter().all(|f| f.contains("the audit says was written last")),
            "{findings:?}"
        );
        world.authority.look_at_rows().await.unwrap();
        finalize(&client, &order, "granted.test").await.refused(403, "unauthorized");
        bind(&stranger, &key.binding(&stranger.key)).await.refused(403, "unauthorized");
    }
}

#[tokio::test]
async fn a_revocation_and_a_blocked_key_that_are_gone_are_found() {
    for world in worlds().await {
        world.authority.keep_row_macs().await.unwrap();
        let client = Client::register(&world).await;
        let (_, pem, _) = client.certificate(&["revoked.test"]).await;
        let asked = json!({"certificate": b64(leaf_der(&pem)), "reason": 1}).to_string();
        client.post(&url("revoke"), &asked).await.expect(200);
        assert_eq!(world.authority.fsck().await.unwrap().findings, Vec::<String>::new());
        for edit in [
            "DELETE FROM blocked_keys",
            "DELETE FROM revocations",
            "UPDATE certificates SET status = 'valid', revoked_at = NULL, reason = NULL",
        ] {
            sql(&world, edit.into()).await;
            let findings = world.authority.fsck().await.unwrap().findings;
            world.authority.look_at_rows().await.unwrap();
            let changed: Vec<_> = world.store.row_macs().changed().into_keys().collect();
            let object = if edit.contains("blocked_keys") { "key:" } else { "certificate:" };
            for found in [findings, changed] {
                assert!(found.iter().any(|line| line.starts_with(object)), "{edit}: {found:?}");
            }
        }
    }
}
