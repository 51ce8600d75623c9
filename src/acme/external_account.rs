//! `externalAccountBinding` of newAccount (RFC 8555 §7.3.4): a JWS by the MAC key of somebody's external account
//! over the account's own public key. Shape, header and payload are judged here; the MAC where the key is known.

use serde_json::{Map, Value};

use super::json;
use super::jwk::Jwk;
use super::jws::Parts;
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::AccountKey;
use crate::model::identifier::shown;
use crate::registration::external_accounts::{BindingRequest, MacAlgorithm};

const WHAT: &str = "the protected header of the external account binding";

/// Absent is `None`. `url` is that of the outer request and `key` the one that signs it.
pub fn requested(members: &Map<String, Value>, url: &str, key: &AccountKey) -> Result<Option<BindingRequest>> {
    let outer = match members.get("externalAccountBinding") {
        None => return Ok(None),
        Some(Value::Object(outer)) => outer,
        Some(_) => return Err(Error::malformed("\"externalAccountBinding\" must be a JSON object")),
    };
    let parts = Parts::from_members(outer)?;
    let (kid, algorithm) = judge(&parts.header, url)?;
    let payload = json::parse_object(&parts.payload, "the payload of the external account binding")?;
    if Jwk::parse(&payload, "")?.thumbprint() != key.thumbprint {
        return refuse("binds another key: its payload is the jwk that signs this request");
    }
    let shown = Value::Object(outer.clone());
    Ok(Some(BindingRequest { kid, algorithm, input: parts.input, mac: parts.signature, shown }))
}

/// The `kid` and the algorithm, when the header says what §7.3.4 wants and nothing else that matters.
fn judge(header: &Map<String, Value>, url: &str) -> Result<(String, MacAlgorithm)> {
    let alg = json::string(header, "alg", WHAT)?;
    let Some(algorithm) = MacAlgorithm::ALL.into_iter().find(|a| Some(a.name()) == alg) else {
        return Err(Error::refused(
            ErrorKind::BadSignatureAlgorithm,
            "eab.alg",
            shown(alg.unwrap_or("nothing")),
            MacAlgorithm::ALL.map(MacAlgorithm::name).join(", "),
            "make the MAC of the external account binding with one of these",
        )
        .explained(format!(
            "the MAC algorithm of the external account binding is {}; it must be {}",
            shown(alg.unwrap_or("missing")),
            MacAlgorithm::ALL.map(MacAlgorithm::name).join(" or ")
        )));
    };
    if header.contains_key("nonce") {
        return refuse("has no \"nonce\"");
    }
    if header.contains_key("jwk") {
        return refuse("names its key by \"kid\" and has no \"jwk\"");
    }
    if json::string(header, "url", WHAT)? != Some(url) {
        return refuse("has the same \"url\" as the outer JWS");
    }
    match json::string(header, "kid", WHAT)? {
        Some(kid) if !kid.is_empty() && kid.len() <= 200 && kid.is_ascii() => Ok((kid.to_owned(), algorithm)),
        _ => refuse("has the key id as \"kid\""),
    }
}

fn refuse<T>(why: &str) -> Result<T> {
    Err(Error::malformed(format!("an external account binding {why} (RFC 8555 §7.3.4)")))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use serde_json::json;

    use super::super::base64url;
    use super::*;

    const URL: &str = "https://ca.test/acme/default/new-account";

    fn key(jwk: &Value) -> AccountKey {
        let jwk = Jwk::parse(jwk.as_object().unwrap(), "").unwrap();
        AccountKey { jwk: jwk.canonical(), thumbprint: jwk.thumbprint(), public_key: Vec::new() }
    }

    fn jwk(byte: u8) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": base64url::encode([byte; 32])})
    }

    fn asked(header: &Value, payload: &Value) -> Map<String, Value> {
        let (protected, payload) = (base64url::encode(header.to_string()), base64url::encode(payload.to_string()));
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        let signature = base64url::encode(hmac::sign(&secret, format!("{protected}.{payload}").as_bytes()));
        let jws = json!({"protected": protected, "payload": payload, "signature": signature});
        json!({"externalAccountBinding": jws}).as_object().unwrap().clone()
    }

    #[test]
    fn the_header_says_what_the_rfc_wants_and_the_payload_is_the_key() {
        let good = json!({"alg": "HS256", "kid": "eab_1", "url": URL});
        let read = requested(&asked(&good, &jwk(3)), URL, &key(&jwk(3))).unwrap().unwrap();
        assert_eq!(read.kid, "eab_1");
        // members in another order and strange ones beside them are the same key
        let other = json!({"x": jwk(3)["x"], "use": "sig", "crv": "Ed25519", "kty": "OKP"});
        assert!(requested(&asked(&good, &other), URL, &key(&jwk(3))).is_ok());
        assert!(requested(&asked(&good, &jwk(4)), URL, &key(&jwk(3))).is_err());
        assert!(requested(&Map::new(), URL, &key(&jwk(3))).unwrap().is_none());
        let named = |alg: &str| {
            let header = json!({"alg": alg, "kid": "eab_1", "url": URL});
            requested(&asked(&header, &jwk(3)), URL, &key(&jwk(3))).unwrap().unwrap().algorithm
        };
        assert_eq!(MacAlgorithm::ALL.map(|a| named(a.name())), MacAlgorithm::ALL);
        let with = |name: &str, value: Value| {
            let mut header = good.clone();
            header[name] = value;
            requested(&asked(&header, &jwk(3)), URL, &key(&jwk(3))).unwrap_err().kind
        };
        for alg in ["none", "HS1", "ES256", "RS256", "hs256", "HS256 "] {
            assert_eq!(with("alg", alg.into()), ErrorKind::BadSignatureAlgorithm, "{alg}");
        }
        for (name, value) in [
            ("nonce", json!("x")),
            ("jwk", jwk(3)),
            ("url", json!("https://ca.test/acme/other/new-account")),
            ("kid", json!("")),
            ("kid", json!(7)),
            ("crit", json!(["exp"])),
            ("b64", json!(false)),
        ] {
            assert_eq!(with(name, value.clone()), ErrorKind::Malformed, "{name} {value}");
        }
    }
}
