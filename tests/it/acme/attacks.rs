//! The JOSE attack list (J20–J34): one table, run over the three places where a JWS stands: outer (by `kid` and by
//! `jwk`), inside a key change, and as an external account binding. Everything is refused by a problem document of its
//! kind, and nothing changes; the untouched JWS of the same place is then accepted, so that the refusals mean something.

use aws_lc_rs::hmac;
use openssl::bn::{BigNum, BigNumContext};
use openssl::pkey::PKey;
use serde_json::{Value, json};

use super::client::{Client, Key, Reply, b64, send, url};
use super::eab::{External, external, new_key};
use super::signers::{Signer, other_s};
use super::state::everything;
use super::world::{World, worlds};
use crate::support::wait;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// newOrder by an account.
    ByKid,
    /// newAccount by a key of its own.
    ByJwk,
    KeyChange,
    Binding,
}

const PLACES: [Place; 4] = [Place::ByKid, Place::ByJwk, Place::KeyChange, Place::Binding];

/// A place with everything good about it: an attack changes one thing.
struct At<'w> {
    place: Place,
    world: &'w World,
    /// An account; for a new one it holds the key that will sign.
    client: Client<'w>,
    /// Signs the JWS under attack, except a binding.
    key: Key,
    external: External,
    header: Value,
    payload: String,
    victim: Client<'w>,
    other_external: External,
}

impl<'w> At<'w> {
    async fn new(place: Place, world: &'w World) -> At<'w> {
        let client = Client::register(world).await;
        let victim = Client::register(world).await;
        let external = external(world, &new_key(&["lab.example"])).await;
        let other_external = super::eab::external(world, &new_key(&["other.example"])).await;
        let key = if place == Place::ByKid { client.key.copy() } else { Key::new() };
        let (header, payload) = match place {
            Place::ByKid => (
                json!({"alg": "ES256", "kid": client.kid, "url": url("new-order")}),
                json!({"identifiers": [{"type": "dns", "value": "a.example.org"}]}).to_string(),
            ),
            Place::ByJwk => (json!({"alg": "ES256", "jwk": key.jwk(), "url": url("new-account")}), contact()),
            Place::KeyChange => (
                json!({"alg": "ES256", "jwk": key.jwk(), "url": url("key-change")}),
                json!({"account": client.kid, "oldKey": client.key.jwk()}).to_string(),
            ),
            Place::Binding => (
                json!({"alg": "HS256", "kid": external.id.to_string(), "url": url("new-account")}),
                key.jwk().to_string(),
            ),
        };
        let mut at = At { place, world, client, key, external, header, payload, victim, other_external };
        at.fresh();
        at
    }

    /// Only an outer JWS has a nonce.
    fn fresh(&mut self) {
        if matches!(self.place, Place::ByKid | Place::ByJwk) {
            self.header["nonce"] = self.world.registration.nonces.mint().unwrap().into();
        }
    }

    fn mac(&self) -> bool {
        self.place == Place::Binding
    }

    fn sign(&self, input: &str) -> Vec<u8> {
        if !self.mac() {
            return self.key.signature(input);
        }
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.external.secret), input.as_bytes()).as_ref().to_vec()
    }

    /// Exactly these texts, rightly signed.
    fn raw(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Value {
        self.signed(header, payload, |input| self.sign(input))
    }

    fn signed(
        &self,
        header: impl AsRef<[u8]>,
        payload: impl AsRef<[u8]>,
        sign: impl FnOnce(&str) -> Vec<u8>,
    ) -> Value {
        let (protected, payload) = (b64(header), b64(payload));
        let signature = sign(&format!("{protected}.{payload}"));
        json!({"protected": protected, "payload": payload, "signature": b64(signature)})
    }

    fn good(&self) -> Value {
        self.raw(self.header.to_string(), &self.payload)
    }

    /// The header with these members changed (null takes one away).
    fn header_with(&self, changes: Value) -> String {
        let mut header = self.header.clone();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => header.as_object_mut().unwrap().remove(name),
                value => header.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        header.to_string()
    }

    fn with(&self, changes: Value) -> Option<String> {
        Some(self.raw(self.header_with(changes), &self.payload).to_string())
    }

    /// The good JWS with this signature.
    fn by(&self, sign: impl FnOnce(&str) -> Vec<u8>) -> Option<String> {
        Some(self.signed(self.header.to_string(), &self.payload, sign).to_string())
    }

    /// The JWS itself with one member changed.
    fn outside(&self, name: &str, value: Value) -> Option<String> {
        let mut jws = self.good();
        match value {
            Value::Null => drop(jws.as_object_mut().unwrap().remove(name)),
            value => jws[name] = value,
        }
        Some(jws.to_string())
    }

    /// With this key in place of the one that signs.
    fn with_key(&self, alg: &str, jwk: Value) -> Option<String> {
        match self.place {
            Place::ByKid => None,
            Place::ByJwk | Place::KeyChange => self.with(json!({"alg": alg, "jwk": jwk})),
            Place::Binding => Some(self.raw(self.header.to_string(), jwk.to_string()).to_string()),
        }
    }

    /// By this key entirely, the signature as `spoil` leaves it.
    fn by_signer(&self, signer: &Signer, spoil: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Option<String> {
        if !matches!(self.place, Place::ByJwk | Place::KeyChange) {
            return None;
        }
        let header = self.header_with(json!({"alg": signer.alg, "jwk": signer.jwk}));
        Some(self.signed(header, &self.payload, |input| spoil(signer.sign(input))).to_string())
    }

    /// `"name": value` once more in front of an object.
    fn twice(&self, text: &str, name: &str) -> String {
        format!("{{\"{name}\":\"x\",{}", &text[1..])
    }

    async fn send(&self, jws: &str) -> Reply {
        match self.place {
            Place::ByKid => send(self.world, &url("new-order"), jws).await,
            Place::ByJwk => send(self.world, &url("new-account"), jws).await,
            Place::KeyChange => self.client.post(&url("key-change"), jws).await,
            Place::Binding => {
                let registering = Client { world: self.world, key: self.key.copy(), kid: String::new() };
                let payload = format!("{{\"externalAccountBinding\":{jws}}}");
                registering.post_jwk(&url("new-account"), &payload).await
            }
        }
    }
}

fn contact() -> String {
    json!({"contact": ["mailto:a@example.org"]}).to_string()
}

/// `wants`: the one type for a JWS that is signed by a key; a binding, whose key is a secret, may say unauthorized.
struct Attack {
    what: &'static str,
    wants: &'static str,
    make: Box<Make>,
}

type Make = dyn Fn(&At<'_>) -> Option<String>;

fn attack(what: &'static str, wants: &'static str, make: impl Fn(&At<'_>) -> Option<String> + 'static) -> Attack {
    Attack { what, wants, make: Box::new(make) }
}

const ALG: &str = "badSignatureAlgorithm";
const KEY: &str = "badPublicKey";
const BAD: &str = "malformed";

/// Rows of one id over all places on both engines.
async fn run(rows: fn() -> Vec<Attack>) {
    let rows = rows();
    for world in worlds().await {
        for place in PLACES {
            let mut at = At::new(place, &world).await;
            let before = everything(&world).await;
            let mut ran = 0;
            for row in &rows {
                at.fresh();
                let Some(jws) = (row.make)(&at) else { continue };
                ran += 1;
                let (reply, what) = (at.send(&jws).await, format!("{} as {place:?}", row.what));
                assert!((400..500).contains(&reply.status), "{what}: {} {}", reply.status, reply.text);
                let problem = reply.problem();
                let fits = problem == row.wants
                    || at.mac() && [BAD, ALG, KEY, "unauthorized"].contains(&problem.as_str())
                    // whoever is not the one who signed
                    || row.wants == BAD && problem == "accountDoesNotExist" && place == Place::ByKid;
                assert!(fits, "{what}: {problem}, not {}: {}", row.wants, reply.text);
                assert!(reply.headers.contains_key("replay-nonce"), "{what}");
                if problem == ALG {
                    let allowed = if at.mac() {
                        json!(["HS256", "HS384", "HS512"])
                    } else {
                        json!(["ES256", "ES384", "ES512", "EdDSA", "RS256"])
                    };
                    assert_eq!(reply.json()["algorithms"], allowed, "{what}");
                }
            }
            assert!(ran > 0 || place != Place::ByJwk, "no row ran as {place:?}");
            assert_eq!(everything(&world).await, before, "as {place:?} something changed");
            at.fresh();
            let accepted = at.send(&at.good().to_string()).await;
            assert!([200, 201].contains(&accepted.status), "{place:?}: {}", accepted.text);
        }
    }
}

macro_rules! rows {
    ($(fn $test:ident = [$($row:expr,)+];)+) => {$(
        #[tokio::test]
        async fn $test() {
            run(|| vec![$($row,)+]).await;
        }
    )+};
}

rows! {
    fn j20_no_algorithm_and_no_signature_are_refused = [
        attack("alg none", ALG, |at| at.with(json!({"alg": "none"}))),
        attack("alg None", ALG, |at| at.with(json!({"alg": "None"}))),
        attack("alg nOnE", ALG, |at| at.with(json!({"alg": "nOnE"}))),
        attack("alg empty", ALG, |at| at.with(json!({"alg": ""}))),
        attack("alg missing", BAD, |at| at.with(json!({"alg": null}))),
        attack("alg none without a signature", BAD, |at| {
            let mut jws = at.raw(at.header_with(json!({"alg": "none"})), &at.payload);
            jws["signature"] = "".into();
            Some(jws.to_string())
        }),
        attack("empty signature", BAD, |at| at.outside("signature", "".into())),
        attack("missing signature", BAD, |at| at.outside("signature", Value::Null)),
        attack("half a signature", BAD, |at| at.by(|input| { let s = at.sign(input); s[..s.len() / 2].to_vec() })),
        attack("a longer signature", BAD, |at| at.by(|input| [at.sign(input), vec![0]].concat())),
        attack("a signature of zeros", BAD, |at| at.by(|input| vec![0; at.sign(input).len()])),
    ];
    fn j21_hmac_with_the_public_key_is_refused = [
        attack("MAC by the point", ALG, |at| hmac_by(at, at.key.point().to_vec())),
        attack("MAC by the coordinates", ALG, |at| hmac_by(at, at.key.point()[1..].to_vec())),
        attack("MAC by x alone", ALG, |at| hmac_by(at, at.key.point()[1..33].to_vec())),
        attack("MAC by the JWK", ALG, |at| hmac_by(at, at.key.jwk().to_string().into())),
        attack("MAC by DER", ALG, |at| hmac_by(at, spki(&at.key))),
        attack("MAC by PEM", ALG, |at| hmac_by(at, pem(&at.key))),
        attack("MAC by PEM without its last line end", ALG, |at| {
            let text = pem(&at.key);
            hmac_by(at, text[..text.len() - 1].to_vec())
        }),
        attack("MAC by nothing", ALG, |at| hmac_by(at, Vec::new())),
    ];
    fn j22_an_algorithm_that_is_not_the_keys_is_refused = [
        attack("ES384 on P-256", BAD, |at| at.with(json!({"alg": "ES384"}))),
        attack("ES512 on P-256", BAD, |at| at.with(json!({"alg": "ES512"}))),
        attack("RS256 on P-256", BAD, |at| at.with(json!({"alg": "RS256"}))),
        attack("EdDSA on P-256", BAD, |at| at.with(json!({"alg": "EdDSA"}))),
        attack("PS256", ALG, |at| at.with(json!({"alg": "PS256"}))),
        attack("RS1", ALG, |at| at.with(json!({"alg": "RS1"}))),
        attack("ES256K", ALG, |at| at.with(json!({"alg": "ES256K"}))),
        attack("ES256 on P-384", BAD, |at| at.with_key("ES256", Signer::ec("ES384").jwk)),
        attack("ES256 on Ed25519", BAD, |at| at.with_key("ES256", Signer::eddsa().jwk)),
        attack("ES256 on RSA", BAD, |at| at.with_key("ES256", Signer::rs256(2048).jwk)),
        attack("PS256 on RSA", ALG, |at| at.with_key("PS256", Signer::rs256(2048).jwk).filter(|_| !at.mac())),
        attack("alg of the jwk contradicts the header", BAD, |at| {
            let mut jwk = at.key.jwk();
            jwk["alg"] = "RS256".into();
            at.with_key("ES256", jwk).filter(|_| !at.mac())
        }),
    ];
    fn j23_a_signature_by_another_key_is_refused = [
        attack("signed by another key", BAD, |at| at.by(|input| {
            if at.mac() {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &at.other_external.secret);
                hmac::sign(&key, input.as_bytes()).as_ref().to_vec()
            } else {
                Key::new().signature(input)
            }
        })),
        attack("the jwk of another", BAD, |at| at.with_key("ES256", at.victim.key.jwk())),
        attack("the kid of another", BAD, |at| match at.place {
            Place::ByKid => at.with(json!({"kid": at.victim.kid})),
            Place::Binding => at.with(json!({"kid": at.other_external.id.to_string()})),
            Place::ByJwk | Place::KeyChange => None,
        }),
        attack("for the account of another", BAD, |at| (at.place == Place::KeyChange).then(|| {
            let payload = json!({"account": at.victim.kid, "oldKey": at.victim.key.jwk()}).to_string();
            at.raw(at.header.to_string(), payload).to_string()
        })),
        attack("another payload under the signature", BAD, |at| at.outside("payload", b64("{}").into())),
        attack("another header under the signature", BAD, |at| {
            at.outside("protected", b64(at.header_with(json!({"x": 1}))).into())
        }),
    ];
    fn j24_b64_is_refused = [
        attack("b64 false", BAD, |at| at.with(json!({"b64": false}))),
        attack("b64 true", BAD, |at| at.with(json!({"b64": true}))),
        attack("b64 false, critical", BAD, |at| at.with(json!({"b64": false, "crit": ["b64"]}))),
        attack("a payload that is not encoded", BAD, |at| {
            let protected = b64(at.header_with(json!({"b64": false, "crit": ["b64"]})));
            let signature = b64(at.sign(&format!("{protected}.{}", at.payload)));
            Some(json!({"protected": protected, "payload": at.payload, "signature": signature}).to_string())
        }),
    ];
    fn j25_critical_members_are_refused = [
        attack("crit empty", BAD, |at| at.with(json!({"crit": []}))),
        attack("crit a text", BAD, |at| at.with(json!({"crit": "alg"}))),
        attack("crit null", BAD, |at| Some(at.raw(format!("{{\"crit\":null,{}", &at.header.to_string()[1..]), &at.payload).to_string())),
        attack("crit names alg", BAD, |at| at.with(json!({"crit": ["alg"]}))),
        attack("crit names what is absent", BAD, |at| at.with(json!({"crit": ["exp"]}))),
        attack("crit names what is there", BAD, |at| at.with(json!({"crit": ["exp"], "exp": 4_000_000_000_u64}))),
        attack("crit of numbers", BAD, |at| at.with(json!({"crit": [1]}))),
    ];
    fn j26_a_member_twice_is_refused = [
        attack("payload twice", BAD, |at| Some(at.twice(&at.good().to_string(), "payload"))),
        attack("protected twice", BAD, |at| Some(at.twice(&at.good().to_string(), "protected"))),
        attack("signature twice", BAD, |at| Some(at.twice(&at.good().to_string(), "signature"))),
        attack("alg twice", BAD, |at| Some(at.raw(at.twice(&at.header.to_string(), "alg"), &at.payload).to_string())),
        attack("url twice", BAD, |at| Some(at.raw(at.twice(&at.header.to_string(), "url"), &at.payload).to_string())),
        attack("kid or jwk twice", BAD, |at| {
            let name = if at.header.get("kid").is_some() { "kid" } else { "jwk" };
            Some(at.raw(at.twice(&at.header.to_string(), name), &at.payload).to_string())
        }),
        attack("nonce twice", BAD, |at| at.header.get("nonce").map(|_| {
            at.raw(at.twice(&at.header.to_string(), "nonce"), &at.payload).to_string()
        })),
        attack("alg twice, once escaped", BAD, |at| {
            Some(at.raw(at.twice(&at.header.to_string(), "\\u0061lg"), &at.payload).to_string())
        }),
        attack("a strange member twice", BAD, |at| {
            let header = at.header_with(json!({"zzz": 1}));
            Some(at.raw(at.twice(&header, "zzz"), &at.payload).to_string())
        }),
        attack("a member of the jwk twice", BAD, |at| {
            let (jwk, good) = (at.key.jwk().to_string(), at.header.to_string());
            match at.place {
                Place::ByKid => None,
                Place::Binding => Some(at.raw(good, at.twice(&jwk, "x")).to_string()),
                _ => Some(at.raw(good.replace(&jwk, &at.twice(&jwk, "x")), &at.payload).to_string()),
            }
        }),
        attack("a member of the payload twice", BAD, |at| {
            let name = ["identifiers", "contact", "oldKey", "x"][PLACES.iter().position(|p| *p == at.place).unwrap()];
            Some(at.raw(at.header.to_string(), at.twice(&at.payload, name)).to_string())
        }),
    ];
    fn j27_other_spellings_of_json_are_refused = [
        attack("Alg", BAD, |at| at.with(json!({"alg": null, "Alg": at.header["alg"]}))),
        attack("URL", BAD, |at| at.with(json!({"url": null, "URL": at.header["url"]}))),
        attack("KID or JWK", BAD, |at| match at.header.get("kid") {
            Some(kid) => at.with(json!({"kid": null, "KID": kid})),
            None => at.with(json!({"jwk": null, "JWK": at.header["jwk"]})),
        }),
        attack("Payload", BAD, |at| at.outside("payload", Value::Null).map(|t| t.replace("}", ",\"Payload\":\"e30\"}"))),
        attack("U+0000 in a header", BAD, |at| at.with(json!({"x": "\u{0}"}))),
        attack("a NUL octet behind the header", BAD, |at| Some(at.raw(format!("{}\0", at.header), &at.payload).to_string())),
        attack("a byte order mark", BAD, |at| Some(at.raw(format!("\u{feff}{}", at.header), &at.payload).to_string())),
        attack("UTF-16", BAD, |at| {
            let wide: Vec<u8> = at.header.to_string().encode_utf16().flat_map(u16::to_le_bytes).collect();
            Some(at.raw(wide, &at.payload).to_string())
        }),
        attack("Latin-1", BAD, |at| Some(at.raw([&b"{\"x\":\"\xe4\","[..], &at.header.to_string().as_bytes()[1..]].concat(), &at.payload).to_string())),
        attack("octets behind the header", BAD, |at| Some(at.raw(format!("{} x", at.header), &at.payload).to_string())),
        attack("two headers", BAD, |at| Some(at.raw(format!("{0}{0}", at.header), &at.payload).to_string())),
        attack("octets behind the JWS", BAD, |at| Some(format!("{} x", at.good()))),
        attack("two JWS", BAD, |at| Some(format!("{0}{0}", at.good()))),
        attack("a comment", BAD, |at| Some(format!("/**/{}", at.good()))),
        attack("a header that is a list", BAD, |at| Some(at.raw(format!("[{}]", at.header), &at.payload).to_string())),
        attack("a header that is a text", BAD, |at| Some(at.raw("\"x\"", &at.payload).to_string())),
        attack("an empty header", BAD, |at| Some(at.raw("", &at.payload).to_string())),
        attack("a deep header", BAD, |at| Some(at.raw(format!("{}{}", "[".repeat(9_000), "]".repeat(9_000)), &at.payload).to_string())),
        attack("alg a number", BAD, |at| at.with(json!({"alg": 7}))),
        attack("url a list", BAD, |at| at.with(json!({"url": [at.header["url"]]}))),
        attack("kid or jwk a number", BAD, |at| at.with(if at.header.get("kid").is_some() { json!({"kid": 1}) } else { json!({"jwk": 1}) })),
        attack("protected a number", BAD, |at| at.outside("protected", 1.into())),
        attack("payload a number", BAD, |at| at.outside("payload", 1.into())),
        attack("signature null", BAD, |at| Some(at.outside("signature", Value::Null)?.replace('}', ",\"signature\":null}"))),
    ];
    fn j28_weak_rsa_keys_are_refused = [
        attack("1024 bits", KEY, |at| at.with_key("RS256", Signer::rs256(1024).jwk)),
        attack("1023 bits", KEY, |at| at.with_key("RS256", modulus(&[vec![0x5a; 1], vec![0xc5; 127]].concat()))),
        attack("2047 bits", KEY, |at| at.with_key("RS256", Signer::rs256(2047).jwk)),
        attack("16384 bits", KEY, |at| at.with_key("RS256", modulus(&[0xc5; 2048]))),
        attack("e = 1", KEY, |at| exponent(at, &[1])),
        attack("e = 2", KEY, |at| exponent(at, &[2])),
        attack("e = 3", KEY, |at| exponent(at, &[3])),
        attack("e = 0", KEY, |at| exponent(at, &[0])),
        attack("no e", KEY, |at| exponent(at, &[])),
        attack("e above 2^32", KEY, |at| exponent(at, &[1, 0, 0, 0, 1])),
        attack("e above 2^64", KEY, |at| exponent(at, &[1, 0, 0, 0, 0, 0, 0, 0, 1])),
        attack("an even modulus", KEY, |at| at.with_key("RS256", modulus(&[vec![0xc5; 255], vec![0xc4]].concat()))),
        attack("a modulus that 3 divides", KEY, |at| at.with_key("RS256", modulus(&divisible()))),
        attack("primes close together", KEY, |at| at.with_key("RS256", modulus(&close_primes()))),
        attack("a ROCA fingerprint", KEY, |at| at.with_key("RS256", modulus(&roca()))),
        attack("no modulus", KEY, |at| at.with_key("RS256", json!({"kty": "RSA", "e": "AQAB"}))),
    ];
    fn j29_points_and_signatures_in_other_forms_are_refused = [
        attack("off the curve", KEY, |at| {
            let mut point = at.key.point().to_vec();
            point[64] ^= 1;
            at.with_key("ES256", p256(&point[1..33], &point[33..]))
        }),
        attack("the point at infinity", KEY, |at| at.with_key("ES256", p256(&[0; 32], &[0; 32]))),
        attack("no coordinates", KEY, |at| at.with_key("ES256", p256(&[], &[]))),
        attack("x of 31 octets", KEY, |at| at.with_key("ES256", p256(&at.key.point()[2..33], &at.key.point()[33..]))),
        attack("x of 33 octets", KEY, |at| at.with_key("ES256", p256(&[&[0], &at.key.point()[1..33]].concat(), &at.key.point()[33..]))),
        attack("above the prime", KEY, |at| at.with_key("ES256", p256(&[0xff; 32], &at.key.point()[33..]))),
        attack("a compressed point", KEY, |at| {
            let x = [&[2], &at.key.point()[1..33]].concat();
            at.with_key("ES256", json!({"kty": "EC", "crv": "P-256", "x": b64(x)}))
        }),
        attack("secp256k1", KEY, |at| {
            let point = at.key.point();
            at.with_key("ES256", json!({"kty": "EC", "crv": "secp256k1", "x": b64(&point[1..33]), "y": b64(&point[33..])}))
        }),
        attack("P-521 in 65 octets", KEY, |at| at.with_key("ES512", json!({"kty": "EC", "crv": "P-521", "x": b64([1; 65]), "y": b64([1; 65])}))),
        attack("a signature in DER", BAD, |at| at.by(|input| if at.mac() { vec![0x30; 70] } else { in_der(&at.key.signature(input)) })),
        attack("r = 0", BAD, |at| at.by(|input| { let mut s = at.sign(input); s[..32].fill(0); if at.mac() { s.fill(0) }; s })),
        attack("s = 0", BAD, |at| at.by(|input| { let mut s = at.sign(input); let h = s.len() / 2; s[h..].fill(0); s })),
        attack("r = n", BAD, |at| at.by(|input| { let mut s = at.sign(input); s[..32].copy_from_slice(&ORDER); s })),
    ];
    fn j30_private_keys_are_refused = [
        attack("d", KEY, |at| private(at, "d")),
        attack("p", KEY, |at| private(at, "p")),
        attack("dp", KEY, |at| private(at, "dp")),
        attack("oth", KEY, |at| private(at, "oth")),
        attack("k", KEY, |at| private(at, "k")),
        attack("a symmetric key", KEY, |at| at.with_key("ES256", json!({"kty": "oct", "k": b64([7; 32])}))),
        attack("no key", KEY, |at| at.with_key("ES256", json!({}))),
        attack("kty in lower case", KEY, |at| { let mut jwk = at.key.jwk(); jwk["kty"] = "ec".into(); at.with_key("ES256", jwk) }),
    ];
    fn j32_weak_forms_of_ed25519_are_refused = [
        attack("a point of order 1", KEY, |at| at.with_key("EdDSA", ed25519(&[&[1][..], &[0; 31]].concat()))),
        attack("a point of order 2", KEY, |at| at.with_key("EdDSA", ed25519(&[&[0xec][..], &[0xff; 30], &[0x7f]].concat()))),
        attack("a point of order 4", KEY, |at| at.with_key("EdDSA", ed25519(&[0; 32]))),
        attack("a point of order 8", KEY, |at| at.with_key("EdDSA", ed25519(&ORDER_8))),
        attack("a point that is not canonical", KEY, |at| at.with_key("EdDSA", ed25519(&[&[0xee][..], &[0xff; 30], &[0x7f]].concat()))),
        attack("31 octets", KEY, |at| at.with_key("EdDSA", ed25519(&[7; 31]))),
        attack("Ed448", KEY, |at| at.with_key("EdDSA", json!({"kty": "OKP", "crv": "Ed448", "x": b64([7; 57])}))),
        attack("X25519", KEY, |at| at.with_key("EdDSA", json!({"kty": "OKP", "crv": "X25519", "x": b64([7; 32])}))),
        attack("alg Ed448", ALG, |at| at.with(json!({"alg": "Ed448"}))),
        attack("S that is not reduced", BAD, |at| at.by_signer(&Signer::eddsa(), plus_order)),
        attack("R of order 1", BAD, |at| at.by_signer(&Signer::eddsa(), |s| [&[1][..], &[0; 31], &s[32..]].concat())),
    ];
}

fn hmac_by(at: &At<'_>, secret: Vec<u8>) -> Option<String> {
    let header = at.header_with(json!({"alg": "HS256"}));
    let sign =
        |input: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), input.as_bytes()).as_ref().to_vec();
    Some(at.signed(header, &at.payload, sign).to_string())
}

fn spki(key: &Key) -> Vec<u8> {
    let prefix = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    [&prefix[..], key.point()].concat()
}

fn pem(key: &Key) -> Vec<u8> {
    PKey::public_key_from_der(&spki(key)).unwrap().public_key_to_pem().unwrap()
}

fn modulus(n: &[u8]) -> Value {
    json!({"kty": "RSA", "n": b64(n), "e": "AQAB"})
}

fn exponent(at: &At<'_>, e: &[u8]) -> Option<String> {
    let mut jwk = modulus(&[0xc5; 256]);
    jwk["e"] = b64(e).into();
    at.with_key("RS256", jwk)
}

/// An odd number of 2048 bits that 3 divides.
fn divisible() -> Vec<u8> {
    let mut n = vec![0xc5; 256];
    while n.iter().fold(0, |rest, b| (rest << 8 | u32::from(*b)) % 3) != 0 {
        n[255] += 2;
    }
    n
}

/// The product of a prime of 1024 bits and the next one.
fn close_primes() -> Vec<u8> {
    let (mut p, mut context, mut n) = (BigNum::new().unwrap(), BigNumContext::new().unwrap(), BigNum::new().unwrap());
    p.generate_prime(1024, false, None, None).unwrap();
    let mut q = &p + &BigNum::from_u32(2).unwrap();
    while !q.is_prime(8, &mut context).unwrap() {
        q.add_word(2).unwrap();
    }
    n.checked_mul(&p, &q, &mut context).unwrap();
    n.to_vec()
}

/// 65537 modulo every prime up to 167, as a ROCA modulus lies in its subgroup, and divisible by none below 1000.
fn roca() -> Vec<u8> {
    let primes = (3u32..1000).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0));
    let (mut m, mut n) = (BigNum::from_u32(2).unwrap(), BigNum::new().unwrap());
    primes.clone().take_while(|p| *p <= 167).for_each(|p| m.mul_word(p).unwrap());
    // a multiple of that product next to a random number of 2048 bits
    let (mut near, mut k) = (BigNum::new().unwrap(), BigNum::new().unwrap());
    near.rand(2048, openssl::bn::MsbOption::TWO_ONES, false).unwrap();
    k.checked_div(&near, &m, &mut BigNumContext::new().unwrap()).unwrap();
    loop {
        n.checked_mul(&k, &m, &mut BigNumContext::new().unwrap()).unwrap();
        n.add_word(65537).unwrap();
        if n.num_bits() == 2048 && primes.clone().all(|p| n.mod_word(p).unwrap() != 0) {
            return n.to_vec();
        }
        k.add_word(1).unwrap();
    }
}

fn p256(x: &[u8], y: &[u8]) -> Value {
    json!({"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y)})
}

fn ed25519(x: &[u8]) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": b64(x)})
}

fn in_der(signature: &[u8]) -> Vec<u8> {
    let part = |bytes: &[u8]| BigNum::from_slice(bytes).unwrap();
    let pair = openssl::ecdsa::EcdsaSig::from_private_components(part(&signature[..32]), part(&signature[32..]));
    pair.unwrap().to_der().unwrap()
}

fn private(at: &At<'_>, name: &str) -> Option<String> {
    let mut jwk = at.key.jwk();
    jwk[name] = b64([7; 32]).into();
    at.with_key("ES256", jwk)
}

/// S + L: the same signature in a form that is not reduced (RFC 8032 §5.1.7).
fn plus_order(mut signature: Vec<u8>) -> Vec<u8> {
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    signature
}

/// The order of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7,
    0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

const ORDER_8: [u8; 32] = [
    0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac,
    0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
];

#[tokio::test]
async fn j30_keys_behind_urls_are_never_fetched() {
    let asked = crate::validation::support::Target::answering(|_| Vec::new()).await;
    let base = format!("http://127.0.0.1:{}", asked.port());
    for world in worlds().await {
        for place in PLACES {
            let at = At::new(place, &world).await;
            let header = at.header_with(json!({
                "jku": format!("{base}/jwks"), "x5u": format!("{base}/chain"), "x5c": ["AAAA"], "x5t": "AAAA", "typ": "JWT",
            }));
            // members that nobody made critical are ignored (RFC 7515 §4)
            let reply = at.send(&at.raw(header, &at.payload).to_string()).await;
            assert!([200, 201].contains(&reply.status), "{place:?}: {}", reply.text);
        }
    }
    assert_eq!(asked.connections(), 0);
    // the listener counts: a connection of ours is seen
    tokio::net::TcpStream::connect(("127.0.0.1", asked.port())).await.unwrap();
    wait::until("the listener counts", async || (asked.connections() == 1).then_some(())).await;
}

#[tokio::test]
async fn j31_one_key_is_one_account_however_it_is_written() {
    for world in worlds().await {
        let signer = Signer::rs256(2048);
        let register = async |jwk: String| {
            let nonce = world.registration.nonces.mint().unwrap();
            let header = format!(r#"{{"alg":"RS256","jwk":{jwk},"nonce":"{nonce}","url":"{}"}}"#, url("new-account"));
            send(&world, &url("new-account"), &signer.jws(&header, "{}").to_string()).await
        };
        let (n, e) = (signer.jwk["n"].as_str().unwrap(), signer.jwk["e"].as_str().unwrap());
        let made = register(format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#)).await.expect(201);
        let padded = b64([&[0][..], &b64_decode(n)].concat());
        for jwk in [
            format!(r#"{{"e":"{e}","n":"{n}","kty":"RSA"}}"#),
            format!(r#"{{ "n" : "{n}", "kty" : "RSA", "e" : "{e}", "use" : "sig", "kid" : "x", "alg" : "RS256" }}"#),
            format!(r#"{{"kty":"RSA","n":"{padded}","e":"{e}"}}"#),
            format!(r#"{{"kty":"RSA","n":"{n}","e":"AAEAAQ"}}"#),
            format!(r#"{{"kty":"\u0052SA","n":"{n}","e":"{e}"}}"#),
        ] {
            let again = register(jwk.clone()).await.expect(200);
            assert_eq!(again.header("location"), made.header("location"), "{jwk}");
        }
        assert_eq!(super::state::number(&world, "SELECT COUNT(*) AS held FROM acme_accounts").await, 1);
    }
}

fn b64_decode(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[tokio::test]
async fn j33_what_was_sent_once_does_nothing_again() {
    for world in worlds().await {
        for place in PLACES {
            let mut at = At::new(place, &world).await;
            let jws = at.good().to_string();
            // the whole request, byte for byte
            let (to, body) = match place {
                Place::ByKid => (url("new-order"), jws.clone()),
                Place::ByJwk => (url("new-account"), jws.clone()),
                Place::KeyChange => {
                    (url("key-change"), outer(&at.client.key, json!({"kid": at.client.kid}), &at, &jws))
                }
                Place::Binding => {
                    let payload = format!("{{\"externalAccountBinding\":{jws}}}");
                    (url("new-account"), outer(&at.key, json!({"jwk": at.key.jwk()}), &at, &payload))
                }
            };
            assert!([200, 201].contains(&send(&world, &to, &body).await.status), "{place:?}");
            let once = everything(&world).await;
            for _ in 0..2 {
                let again = send(&world, &to, &body).await;
                match place {
                    // signed by the key that the account has no longer
                    Place::KeyChange => again.refused(400, "malformed"),
                    _ => again.refused(400, "badNonce"),
                };
            }
            // the same JWS elsewhere, and the inner one in another outer one
            match place {
                Place::ByKid => {
                    let (_, order) = at.client.ready_order(&["b.example.org"]).await;
                    let before = everything(&world).await;
                    let finalize = order["finalize"].as_str().unwrap();
                    at.fresh();
                    send(&world, finalize, &at.good().to_string()).await.refused(403, "unauthorized");
                    assert_eq!(everything(&world).await, before);
                }
                Place::ByJwk => assert_eq!(everything(&world).await, once),
                Place::KeyChange => {
                    let moved = Client { world: &world, key: at.key.copy(), kid: at.client.kid.clone() };
                    moved.post(&to, &jws).await.refused(400, "malformed");
                    at.victim.post(&to, &jws).await.refused(400, "malformed");
                    assert_eq!(everything(&world).await, once);
                }
                Place::Binding => {
                    let thief = Client { world: &world, key: Key::new(), kid: String::new() };
                    let payload = format!("{{\"externalAccountBinding\":{jws}}}");
                    thief.post_jwk(&to, &payload).await.refused(400, "malformed");
                    assert_eq!(everything(&world).await, once);
                }
            }
        }
    }
}

/// The request around an inner JWS.
fn outer(key: &Key, who: Value, at: &At<'_>, payload: &str) -> String {
    let to = if at.place == Place::KeyChange { url("key-change") } else { url("new-account") };
    let mut header = json!({"alg": "ES256", "nonce": at.world.registration.nonces.mint().unwrap(), "url": to});
    header.as_object_mut().unwrap().extend(who.as_object().unwrap().clone());
    key.jws(&header.to_string(), payload).to_string()
}

#[tokio::test]
async fn j34_the_other_form_of_a_signature_has_no_second_effect() {
    for world in worlds().await {
        for place in [Place::ByKid, Place::ByJwk] {
            let at = At::new(place, &world).await;
            let good = at.good();
            let mut other = good.clone();
            other["signature"] = b64(other_s(&b64_decode(good["signature"].as_str().unwrap()), "ES256")).into();
            at.send(&good.to_string()).await.expect(201);
            let once = everything(&world).await;
            at.send(&other.to_string()).await.refused(400, "badNonce");
            assert_eq!(everything(&world).await, once);
            // by itself it is good: neither form is preferred (RFC 7518 §3.4)
            let fresh = At::new(place, &world).await;
            let mut high = fresh.good();
            high["signature"] = b64(other_s(&b64_decode(high["signature"].as_str().unwrap()), "ES256")).into();
            fresh.send(&high.to_string()).await.expect(201);
        }
        // the inner one's other form moves a key once, as the outer nonce is spent once and the old key is gone
        let at = At::new(Place::KeyChange, &world).await;
        let mut other = at.good();
        other["signature"] = b64(other_s(&b64_decode(other["signature"].as_str().unwrap()), "ES256")).into();
        at.send(&at.good().to_string()).await.expect(200);
        at.send(&other.to_string()).await.refused(400, "malformed");
        // a MAC has one form: spare bits in its base64url are refused
        let at = At::new(Place::Binding, &world).await;
        let mut other = at.good();
        let mac = other["signature"].as_str().unwrap().to_owned();
        let last = mac.chars().last().unwrap();
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
        other["signature"] = format!("{}{next}", &mac[..mac.len() - 1]).into();
        at.send(&other.to_string()).await.refused(400, "malformed");
    }
}
