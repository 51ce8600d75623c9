//! Requests that were changed at random (E5): inside, in payload and header and signed again by the right key, and
//! outside, in the octets of the envelope. None is a fault of ours, and what has an effect is what says so. The seed is
//! told when it fails; CHANCERY_TEST_SEED repeats a run.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::{Map, Value, json};

use super::client::{Client, Key, Reply, b64, csr, leaf_der, raw, url};
use super::eab::{External, external, new_key};
use super::state::{everything, number};
use super::world::{World, worlds};
use crate::support::dice::Dice;

/// Of each kind on each engine.
const ROUNDS: usize = 5_000;
/// Requests of one cast of accounts, and of one moment.
const CAST: usize = 500;
const AT_ONCE: usize = 20;

fn seeded() -> (u64, Dice) {
    let told = std::env::var("CHANCERY_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = told.unwrap_or(0x8555);
    (seed, Dice::of_seed(seed))
}

/// Who asks, and what there is to ask for.
struct Cast<'w> {
    world: &'w World,
    client: Client<'w>,
    fresh: Key,
    external: External,
    reads: Vec<String>,
    finalize: String,
    leaf: Vec<u8>,
    csr: Vec<u8>,
}

/// One request before it is signed.
struct Draft {
    to: String,
    header: Value,
    payload: Value,
    by: Signs,
    /// Stands in the payload, signed by another: the inner JWS of a key change or a binding.
    inner: Option<(Value, Value)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Signs {
    Account,
    Fresh,
}

impl<'w> Cast<'w> {
    async fn new(world: &'w World) -> Cast<'w> {
        let client = Client::register(world).await;
        let (order_url, order) = client.ready_order(&["a.example.org"]).await;
        let (certificate, pem, _) = client.certificate(&["b.example.org"]).await;
        let authorization = order["authorizations"][0].as_str().unwrap().to_owned();
        let challenge = client.challenge(&authorization, "http-01").await["url"].as_str().unwrap().to_owned();
        let orders = format!("{}/orders", client.kid);
        let reads = vec![
            order_url,
            certificate,
            authorization,
            challenge,
            orders,
            client.kid.clone(),
            url("directory"),
            url("new-nonce"),
        ];
        Cast {
            world,
            fresh: Key::new(),
            external: external(world, &new_key(&["lab.example"])).await,
            reads,
            finalize: order["finalize"].as_str().unwrap().to_owned(),
            leaf: leaf_der(&pem),
            csr: csr(&["a.example.org"]).0,
            client,
        }
    }

    fn draft(&self, dice: &mut Dice) -> Draft {
        let (jwk, fresh) = (self.client.key.jwk(), self.fresh.jwk());
        let (to, payload, by) = match dice.below(9) {
            0 => (
                url("new-order"),
                json!({"identifiers": [{"type": "dns", "value": "a.example.org"}, {"type": "ip", "value": "192.0.2.1"}], "notAfter": "2100-01-01T00:00:00Z"}),
                Signs::Account,
            ),
            1 => (
                url("new-order"),
                json!({"identifiers": [{"type": "dns", "value": "*.c.example.org"}]}),
                Signs::Account,
            ),
            2 => (
                url("new-account"),
                json!({"contact": ["mailto:a@example.org"], "termsOfServiceAgreed": true}),
                Signs::Fresh,
            ),
            3 => (
                self.client.kid.clone(),
                json!({"contact": ["mailto:a@example.org"], "status": "valid"}),
                Signs::Account,
            ),
            4 => (self.finalize.clone(), json!({"csr": b64(&self.csr)}), Signs::Account),
            5 => (url("revoke"), json!({"certificate": b64(&self.leaf), "reason": 4}), Signs::Account),
            6 => (url("key-change"), json!({"account": self.client.kid, "oldKey": jwk}), Signs::Account),
            7 => (url("new-account"), json!({"contact": []}), Signs::Fresh),
            _ => (dice.of(&self.reads).clone(), Value::Null, Signs::Account),
        };
        let nonce = self.world.registration.nonces.mint().unwrap();
        let mut header = json!({"alg": "ES256", "nonce": nonce, "url": to});
        match by {
            Signs::Account => header["kid"] = json!(self.client.kid),
            Signs::Fresh => header["jwk"] = fresh.clone(),
        }
        let inner = if to.ends_with("key-change") {
            Some((json!({"alg": "ES256", "jwk": fresh, "url": to}), payload.clone()))
        } else if payload == json!({"contact": []}) {
            Some((self.external.header(), fresh))
        } else {
            None
        };
        Draft { to, header, payload, by, inner }
    }

    /// With the right keys, whatever the draft says.
    fn sign(&self, draft: &Draft) -> String {
        let payload = match &draft.inner {
            None if draft.payload.is_null() => String::new(),
            None => draft.payload.to_string(),
            Some((header, payload)) if draft.to.ends_with("key-change") => {
                self.fresh.jws(&header.to_string(), &payload.to_string()).to_string()
            }
            Some((header, payload)) => {
                let mut whole = draft.payload.clone();
                if let Some(members) = whole.as_object_mut() {
                    members.insert("externalAccountBinding".into(), self.external.jws(header, &payload.to_string()));
                }
                whole.to_string()
            }
        };
        let key = if draft.by == Signs::Account { &self.client.key } else { &self.fresh };
        key.jws(&draft.header.to_string(), &payload).to_string()
    }
}

/// One of the parts, changed in its structure.
fn change_inside(dice: &mut Dice, draft: &mut Draft) {
    for _ in 0..=dice.below(3) {
        let part = match (&mut draft.inner, dice.below(3)) {
            (Some((header, _)), 0) => header,
            (Some((_, payload)), 1) => payload,
            (None, 0) => &mut draft.header,
            (_, 2) if dice.below(2) == 0 => &mut draft.header,
            _ => &mut draft.payload,
        };
        change(dice, part, 0);
    }
}

fn change(dice: &mut Dice, value: &mut Value, depth: usize) {
    let descend = depth < 4 && dice.below(3) > 0;
    match value {
        Value::Object(members) if !members.is_empty() => {
            let names: Vec<String> = members.keys().cloned().collect();
            let name = dice.of(&names).clone();
            match dice.below(7) {
                _ if descend => change(dice, members.get_mut(&name).unwrap(), depth + 1),
                0 => drop(members.remove(&name)),
                1 => {
                    let value = members.remove(&name).unwrap();
                    members.insert(twist(dice, &name), value);
                }
                2 => {
                    let other = members[dice.of(&names)].clone();
                    members.insert(name, other);
                }
                3 => drop(members.insert(dice.of(&NAMES).to_string(), odd(dice))),
                _ => drop(members.insert(name, odd(dice))),
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let at = dice.below(items.len());
            match dice.below(5) {
                _ if descend => change(dice, &mut items[at], depth + 1),
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                2 => items[at] = json!([items[at]]),
                3 => *items = vec![items[at].clone(); 101],
                _ => items[at] = odd(dice),
            }
        }
        Value::String(text) if dice.below(2) == 0 => *text = twist(dice, text),
        other => *other = odd(dice),
    }
}

/// A text that is nearly this one.
fn twist(dice: &mut Dice, text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    let at = dice.below(letters.len());
    match dice.below(9) {
        0 => letters.truncate(at),
        1 if !letters.is_empty() => drop(letters.remove(at)),
        2 => letters.insert(at, *dice.of(&LETTERS)),
        3 if !letters.is_empty() => letters[at] = *dice.of(&LETTERS),
        4 => return text.to_uppercase(),
        5 => letters.extend_from_within(at..),
        6 => return format!(" {text}"),
        7 => return format!("{text}="),
        _ => letters.reverse(),
    }
    letters.into_iter().collect()
}

const LETTERS: [char; 14] =
    ['\0', '\n', '"', '\\', '%', '*', '.', '/', 'Z', '\u{7f}', '\u{fc}', '\u{202e}', '\u{feff}', '\u{1f510}'];

const NAMES: [&str; 16] = [
    "alg",
    "jwk",
    "kid",
    "nonce",
    "url",
    "crit",
    "b64",
    "identifiers",
    "notBefore",
    "notAfter",
    "contact",
    "onlyReturnExisting",
    "externalAccountBinding",
    "profile",
    "replaces",
    "__proto__",
];

fn odd(dice: &mut Dice) -> Value {
    match dice.below(16) {
        0 => Value::Null,
        1 => true.into(),
        2 => 0.into(),
        3 => (-1).into(),
        4 => u64::MAX.into(),
        5 => json!(1e308),
        6 => json!(""),
        7 => json!([]),
        8 => json!({}),
        9 => "a".repeat(dice.below(5_000)).into(),
        10 => (0..20).fold(json!(1), |inner, _| json!([inner])),
        11 => json!({"type": "dns", "value": "x.example.org"}),
        12 => b64((0..dice.below(300)).map(|_| dice.roll() as u8).collect::<Vec<_>>()).into(),
        13 => json!("2026-13-45T99:99:99Z"),
        14 => json!("\u{0}"),
        _ => dice.of(&NAMES).to_string().into(),
    }
}

/// Octets of the envelope; the result may mean the same.
fn change_outside(dice: &mut Dice, body: &mut Vec<u8>) {
    for _ in 0..=dice.below(4) {
        if body.is_empty() {
            return;
        }
        let (at, other) = (dice.below(body.len()), dice.below(body.len()));
        match dice.below(9) {
            0 => body[at] ^= 1 << dice.below(8),
            1 => drop(body.remove(at)),
            2 => body.insert(at, dice.roll() as u8),
            3 => body.truncate(at),
            4 => body.swap(at, other),
            5 => {
                let slice = body[at.min(other)..at.max(other)].to_vec();
                body.splice(at..at, slice);
            }
            6 => drop(body.drain(at.min(other)..at.max(other))),
            7 => body.insert(at, *dice.of(b" \t\n\r{}[],:\"\\=+/")),
            _ => body[at] = dice.roll() as u8,
        }
    }
}

/// What had an effect, by the word of the answers.
#[derive(Default)]
struct Told {
    accounts: i64,
    orders: i64,
    certificates: i64,
    revocations: i64,
    contacts: bool,
    keys: i64,
    by_status: BTreeMap<u16, usize>,
}

impl Told {
    fn note(&mut self, to: &str, reply: &Reply) {
        *self.by_status.entry(reply.status).or_default() += 1;
        match (reply.status, to.rsplit('/').next().unwrap()) {
            (201, "new-account") => self.accounts += 1,
            (201, "new-order") => self.orders += 1,
            // a cast has one order to finalize; who asked beside may be shown it
            (200, "finalize") => self.certificates = 1,
            (200, "revoke") => self.revocations += 1,
            (200, "key-change") => self.keys += 1,
            (200, id) if id.starts_with("acc_") => self.contacts = true,
            _ => {}
        }
    }
}

/// The rows that only an effect changes.
async fn counted(world: &World) -> [i64; 4] {
    [
        number(world, "SELECT COUNT(*) AS held FROM acme_accounts").await,
        number(world, "SELECT COUNT(*) AS held FROM acme_orders").await,
        number(world, "SELECT COUNT(*) AS held FROM certificates").await,
        number(world, "SELECT COUNT(*) AS held FROM revocations").await,
    ]
}

async fn run(outside: bool) {
    let (seed, mut dice) = seeded();
    for world in worlds().await {
        let mut met: BTreeMap<u16, usize> = BTreeMap::new();
        for _ in 0..ROUNDS / CAST {
            let mut cast = Cast::new(&world).await;
            let (before, rows) = (counted(&world).await, everything(&world).await);
            let mut told = Told::default();
            for _ in 0..CAST / AT_ONCE {
                let mut asked = Vec::new();
                for _ in 0..AT_ONCE {
                    let mut draft = cast.draft(&mut dice);
                    if !outside {
                        change_inside(&mut dice, &mut draft);
                    }
                    let good = cast.sign(&draft);
                    let mut body = good.clone().into_bytes();
                    // one in fifty goes as it is, so that the state under the others moves
                    if outside && dice.below(50) > 0 {
                        change_outside(&mut dice, &mut body);
                    }
                    asked.push((draft.to, good, body));
                }
                let sent =
                    asked.iter().map(|(to, _, body)| raw(&world, "POST", to, "application/jose+json", body.clone()));
                for ((to, good, body), reply) in asked.iter().zip(join_all(sent).await) {
                    let text = String::from_utf8_lossy(body);
                    assert!(reply.status < 500, "seed {seed}: {} of {to}: {text}: {}", reply.status, reply.text);
                    if reply.status >= 400 {
                        reply.problem();
                    } else if outside {
                        // what was accepted says what was signed, beside members that nobody understands
                        let mut accepted: Map<String, Value> = serde_json::from_slice(body).unwrap();
                        accepted.retain(|name, _| ["protected", "payload", "signature"].contains(&name.as_str()));
                        assert_eq!(
                            Value::Object(accepted),
                            serde_json::from_str::<Value>(good).unwrap(),
                            "seed {seed}"
                        );
                    }
                    let moved = told.keys;
                    told.note(to, &reply);
                    if told.keys > moved {
                        cast.client.key = std::mem::replace(&mut cast.fresh, Key::new());
                    }
                }
            }
            let after = counted(&world).await;
            let change: Vec<i64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
            let expected = [told.accounts, told.orders, told.certificates, told.revocations];
            assert_eq!(change, expected, "seed {seed}: {:?}", told.by_status);
            if expected == [0; 4] && !told.contacts && told.keys == 0 {
                assert_eq!(everything(&world).await, rows, "seed {seed}");
            }
            told.by_status.into_iter().for_each(|(status, n)| *met.entry(status).or_default() += n);
        }
        // the dice reach both sides: most is refused, and what stayed good is accepted
        let good: usize = met.iter().filter(|(status, _)| **status < 300).map(|(_, n)| n).sum();
        assert!(good > ROUNDS / 500 && good < ROUNDS / 2, "seed {seed}: {met:?}");
    }
}

#[tokio::test]
async fn e5_ten_thousand_requests_changed_inside_and_signed_again_are_no_fault() {
    run(false).await;
}

#[tokio::test]
async fn e5_ten_thousand_requests_changed_outside_are_no_fault() {
    run(true).await;
}
