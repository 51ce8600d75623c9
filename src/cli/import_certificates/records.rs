//! What other CAs give out of their databases: Vault's answers in JSON, and the tables of step-ca line by line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::index::magnitude;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::reason::RevocationReason;
use crate::model::revocation::NewRevocation;
use crate::pki::pem;

pub type Revocation = (Timestamp, NewRevocation);

/// What a file of records holds.
#[derive(Debug, Default)]
pub struct Records {
    /// Certificates in DER, each with its revocation where the record has it.
    pub certificates: Vec<(Vec<u8>, Option<Revocation>)>,
    /// Revocations by serial, without zeros before it.
    pub revoked: Vec<(Vec<u8>, Revocation)>,
}

/// One JSON document or several: Vault's `read -format=json pki/cert/SERIAL`, or rows of step-ca's revoked_x509_certs.
pub fn read_json(text: &str) -> Result<Records> {
    let mut records = Records::default();
    for document in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let document = document.map_err(|e| Error::malformed(format!("it is not JSON: {e}")))?;
        match document {
            Value::Array(all) => all.iter().try_for_each(|one| take(&mut records, one))?,
            one => take(&mut records, &one)?,
        }
    }
    Ok(records)
}

fn take(records: &mut Records, one: &Value) -> Result<()> {
    if one.is_string() {
        return Err(Error::malformed(
            "it lists serials only; give what `vault read -format=json pki/cert/SERIAL` says of each of them",
        ));
    }
    let data = if one["data"].is_object() { &one["data"] } else { one };
    if let Some(text) = data["certificate"].as_str() {
        // Vault keeps no reason
        let revoked = data["revocation_time"].as_i64().filter(|secs| *secs > 0);
        let revoked = revoked.map(|secs| (Timestamp::from_secs(secs), RevocationReason::Unspecified.into()));
        records.certificates.extend(pem::certificates(text)?.into_iter().map(|der| (der, revoked)));
        return Ok(());
    }
    match step_revocation(data) {
        Some(revoked) => records.revoked.push(revoked),
        None => {
            return Err(Error::malformed(
                "it is neither Vault's answer with a member \"certificate\" nor a row of step-ca's revoked_x509_certs with \
                 \"Serial\" and \"RevokedAt\"",
            ));
        }
    }
    Ok(())
}

/// step-ca writes serials as decimal numbers.
fn step_revocation(row: &Value) -> Option<(Vec<u8>, Revocation)> {
    let serial: num_bigint::BigUint = row["Serial"].as_str()?.parse().ok()?;
    let at = Timestamp::parse_rfc3339(row["RevokedAt"].as_str()?)?;
    let code = row["ReasonCode"].as_i64().unwrap_or(0);
    let reason = RevocationReason::from_code(code).unwrap_or(RevocationReason::Unspecified);
    Some((magnitude(&serial.to_bytes_be()), (at, reason.into())))
}

/// One value a line in hexadecimal or base64, as a database prints the tables of step-ca: certificates in DER (x509_certs)
/// or revocations in JSON (revoked_x509_certs). None: the text has another form.
pub fn read_lines(text: &str) -> Option<Records> {
    let mut records = Records::default();
    for line in lines(text) {
        let value = value(line)?;
        match value.first()? {
            b'{' => take(&mut records, &serde_json::from_slice(&value).ok()?).ok()?,
            _ => records.certificates.push((value, None)),
        }
    }
    Some(records).filter(|records| !records.certificates.is_empty() || !records.revoked.is_empty())
}

/// Whether a text begins with a row of revoked_x509_certs.
pub fn begins_with_a_revocation(text: &str) -> bool {
    lines(text).next().and_then(value).is_some_and(|value| value.first() == Some(&b'{'))
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// A value in hexadecimal, with or without the mark of a database before it, or in base64.
fn value(line: &str) -> Option<Vec<u8>> {
    let marks = ["\\\\x", "\\x", "0x", "0X"];
    let line = marks.iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line);
    match line.starts_with("30") || line.starts_with("7b") || line.starts_with("7B") {
        true => octets(line),
        false => STANDARD.decode(line).ok(),
    }
}

fn octets(digits: &str) -> Option<Vec<u8>> {
    let pair = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).ok().filter(|two| two.len() == 2)?, 16).ok();
    digits.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_step_and_lists_of_vault() {
        let rows = "{\"Serial\":\"259\",\"ReasonCode\":1,\"RevokedAt\":\"2023-10-02T03:04:05.9Z\"}\n\
                    {\"Serial\":\"7\",\"RevokedAt\":\"2023-10-02T03:04:05Z\",\"Reason\":\"\"}";
        let records = read_json(rows).unwrap();
        assert_eq!(records.revoked[0].0, [1, 3]);
        assert_eq!(records.revoked[0].1.1.reason, RevocationReason::KeyCompromise);
        assert_eq!(records.revoked[1].1.1.reason, RevocationReason::Unspecified);
        assert!(read_json("[\"17:67\"]").unwrap_err().detail.contains("serials only"));
        for wrong in ["{}", "{", "5", "{\"Serial\":\"x\",\"RevokedAt\":\"2023-10-02T03:04:05Z\"}"] {
            assert!(read_json(wrong).is_err(), "{wrong}");
        }
        assert_eq!(read_lines("\\x3003\n").unwrap().certificates[0].0, [0x30, 3]);
        // psql prints revocations as it prints certificates
        let row = "{\"Serial\":\"259\",\"RevokedAt\":\"2023-10-02T03:04:05Z\"}";
        let hex: String = row.bytes().map(|b| format!("{b:02x}")).collect();
        for line in [format!("\\x{hex}"), hex.to_uppercase(), STANDARD.encode(row)] {
            assert_eq!(read_lines(&line).unwrap().revoked[0].0, [1, 3], "{line}");
            assert!(begins_with_a_revocation(&line), "{line}");
        }
        assert!(!begins_with_a_revocation("\\x3003\n") && !begins_with_a_revocation(""));
        assert!(read_lines(&STANDARD.encode("{}")).is_none());
        let long = format!("3082{}", "ab".repeat(2_000));
        assert_eq!(read_lines(&long).unwrap().certificates[0].0.len(), 2_002);
        assert!(read_lines("30820").is_none() && read_lines("30zz").is_none());
        assert!(read_lines("plain words\n").is_none() && read_lines("\n").is_none());
    }
}
