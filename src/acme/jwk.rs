//! JSON Web Keys of accounts (RFC 7517, 7518 §6, 8037): parsed into one canonical form, so that one key has one
//! thumbprint (RFC 7638) however its members were ordered or padded. A key with private members is refused.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value};

use super::{base64url, json};
use crate::error::{Error, ErrorKind, Result};
use crate::model::key::KeyAlgorithm;
use crate::pki::key_policy;

/// A public key as a client wrote it, in canonical members. Which keys are good enough is `pki::key_policy`'s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Jwk {
    /// Big-endian magnitudes without leading zeros.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Coordinates of exactly the curve's length.
    Ec {
        curve: Curve,
        x: Vec<u8>,
        y: Vec<u8>,
    },
    Ed25519([u8; 32]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    pub const fn name(self) -> &'static str {
        match self {
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
            Curve::P521 => "P-521",
        }
    }

    pub const fn algorithm(self) -> KeyAlgorithm {
        match self {
            Curve::P256 => KeyAlgorithm::P256,
            Curve::P384 => KeyAlgorithm::P384,
            Curve::P521 => KeyAlgorithm::P521,
        }
    }

    pub const fn octets(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
            Curve::P521 => 66,
        }
    }
}

const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

impl Jwk {
    /// From the `jwk` member. `alg` inside it, when present, must be the header's.
    pub fn parse(members: &Map<String, Value>, header_alg: &str) -> Result<Self> {
        if let Some(name) = PRIVATE.iter().find(|name| members.contains_key(**name)) {
            return Err(bad_key(format!(
                "the jwk holds the private member \"{name}\": that key is disclosed now; make a new one and send its public members only"
            )));
        }
        if json::string(members, "alg", "the jwk")?.is_some_and(|alg| !header_alg.is_empty() && alg != header_alg) {
            return Err(Error::malformed("\"alg\" inside the jwk contradicts the protected header"));
        }
        match json::string(members, "kty", "the jwk")? {
            Some("RSA") => Self::rsa(members),
            Some("EC") => Self::ec(members),
            Some("OKP") => Self::okp(members),
            _ => Err(bad_key("the jwk's \"kty\" must be RSA, EC or OKP")),
        }
    }

    fn rsa(members: &Map<String, Value>) -> Result<Self> {
        let magnitude = |name| -> Result<Vec<u8>> {
            let bytes = octets(members, name)?;
            // RFC 7518 §2 forbids leading zeros; clients send them, and the canonical form has none
            let start = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len());
            Ok(bytes.get(start..).unwrap_or_default().to_vec())
        };
        let (n, e) = (magnitude("n")?, magnitude("e")?);
        // bounded before anything computes with it: 16384-bit keys are a way to burn our CPU
        if n.len() > 512 || n.len() < 256 || e.is_empty() || e.len() > 8 {
            return Err(bad_key(format!(
                "an RSA account key has 2048 to 4096 bits and the exponent 65537; this one has {} bits",
                n.len() * 8
            )));
        }
        Ok(Jwk::Rsa { n, e })
    }

    fn ec(members: &Map<String, Value>) -> Result<Self> {
        let curve = match json::string(members, "crv", "the jwk")? {
            Some("P-256") => Curve::P256,
            Some("P-384") => Curve::P384,
            Some("P-521") => Curve::P521,
            _ => return Err(bad_key("the jwk's \"crv\" must be P-256, P-384 or P-521")),
        };
        let (x, y) = (octets(members, "x")?, octets(members, "y")?);
        if x.len() != curve.octets() || y.len() != curve.octets() {
            return Err(bad_key(format!(
                "coordinates on {} have exactly {} octets, leading zeros included (RFC 7518 §6.2.1)",
                curve.name(),
                curve.octets()
            )));
        }
        Ok(Jwk::Ec { curve, x, y })
    }

    fn okp(members: &Map<String, Value>) -> Result<Self> {
        match json::string(members, "crv", "the jwk")? {
            Some("Ed25519") => {}
            _ => return Err(bad_key("the jwk's \"crv\" must be Ed25519 for kty OKP")),
        }
        let x: [u8; 32] =
            octets(members, "x")?.try_into().map_err(|_| bad_key("an Ed25519 key has exactly 32 octets"))?;
        Ok(Jwk::Ed25519(x))
    }

    /// The members that RFC 7638 §3.2 names, in lexicographic order, without blanks.
    pub fn canonical(&self) -> String {
        let b64 = |bytes: &[u8]| base64url::encode(bytes);
        match self {
            Jwk::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, b64(e), b64(n)),
            Jwk::Ec { curve, x, y } => {
                format!(r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#, curve.name(), b64(x), b64(y))
            }
            Jwk::Ed25519(x) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, b64(x)),
        }
    }

    /// SubjectPublicKeyInfo in DER; the point is checked to lie on its curve.
    pub fn spki(&self) -> Result<Vec<u8>> {
        let made = match self {
            Jwk::Rsa { n, e } => key_policy::spki_from_rsa(n, e),
            Jwk::Ec { curve, x, y } => key_policy::spki_from_ec(curve.algorithm(), x, y),
            Jwk::Ed25519(x) => key_policy::spki_from_ed25519(x),
        };
        made.map_err(Error::from)
    }

    /// SHA-256 over the canonical form.
    pub fn thumbprint(&self) -> [u8; 32] {
        let mut thumbprint = [0; 32];
        thumbprint.copy_from_slice(digest(&SHA256, self.canonical().as_bytes()).as_ref());
        thumbprint
    }

    /// The stored canonical form read back.
    pub fn from_canonical(text: &str) -> Result<Self> {
        let members = json::parse_object(text.as_bytes(), "a stored jwk")?;
        Jwk::parse(&members, "").map_err(|e| Error::inconsistent("a stored account key is no jwk").because(e))
    }
}

fn octets(members: &Map<String, Value>, name: &str) -> Result<Vec<u8>> {
    let text = json::string(members, name, "the jwk")?
        .ok_or_else(|| bad_key(format!("the jwk has no member \"{name}\"")))?;
    base64url::decode(text, &format!("member \"{name}\" of the jwk"))
}

fn bad_key(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadKey, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwk(text: &str) -> Result<Jwk> {
        Jwk::parse(&json::parse_object(text.as_bytes(), "t").unwrap(), "RS256")
    }

    #[test]
    fn thumbprint_is_that_of_rfc_7638_in_any_order_and_padding() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let plain =
            jwk(&format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"RS256","kid":"2011-04-29"}}"#)).unwrap();
        assert_eq!(base64url::encode(plain.thumbprint()), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        let mut padded = vec![0u8];
        padded.extend(base64url::decode(n, "n").unwrap());
        let other = format!(r#"{{"e":"AAEAAQ","n":"{}","kty":"RSA"}}"#, base64url::encode(padded));
        assert_eq!(jwk(&other).unwrap(), plain);
        assert_eq!(Jwk::from_canonical(&plain.canonical()).unwrap(), plain);
    }

    #[test]
    fn private_members_and_wrong_lengths_are_refused() {
        let short = base64url::encode([1u8; 31]);
        let right = base64url::encode([1u8; 32]);
        for bad in [
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{right}","y":"{right}","d":"{right}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{short}","y":"{right}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-521","x":"{right}","y":"{right}"}}"#),
            format!(r#"{{"kty":"EC","crv":"secp256k1","x":"{right}","y":"{right}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{short}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed448","x":"{right}"}}"#),
            format!(r#"{{"kty":"oct","k":"{right}"}}"#),
            format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, base64url::encode([0x81u8; 128])),
            format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, base64url::encode([0x81u8; 2048])),
        ] {
            assert_eq!(jwk(&bad).unwrap_err().kind, ErrorKind::BadKey, "{bad}");
        }
        assert!(jwk(&format!(r#"{{"kty":"EC","crv":"P-256","x":"{right}=","y":"{right}"}}"#)).is_err());
    }
}
