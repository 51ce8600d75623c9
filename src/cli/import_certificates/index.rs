//! The database of `openssl ca`, index.txt, which EasyRSA keeps too: one line a certificate, its columns divided by tabs
//! (status, expiry, revocation, serial, file, subject).

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::identifier::shown;
use crate::model::reason::RevocationReason;
use crate::model::revocation::NewRevocation;
use crate::model::serial::parse_hex;

/// The revoked certificates of one index by serial, without zeros before it: when each expires, and its revocation.
pub type Revoked = HashMap<Vec<u8>, Row>;

#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Two CAs in one folder may have used one serial: the expiry tells their certificates apart.
    pub expires: Timestamp,
    pub revoked: (Timestamp, NewRevocation),
}

/// The rows of status R. Those of other states say nothing that the certificate does not say.
pub fn read(text: &str) -> Result<Revoked> {
    let mut revoked = HashMap::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |what: &str| {
            let line: String = line.chars().take(60).collect();
            Error::malformed(format!("line {} of index.txt {what}: \"{}\"", n + 1, shown(&line)))
        };
        let columns: Vec<&str> = line.split('\t').collect();
        let [status, expires, revocation, serial, ..] = columns.as_slice() else {
            return Err(wrong("has no four columns divided by tabs"));
        };
        match *status {
            "V" | "E" => continue,
            "R" => {}
            _ => return Err(wrong("has a status other than V, R and E")),
        }
        let padded = if serial.len() % 2 == 1 { format!("0{serial}") } else { (*serial).to_owned() };
        let octets = parse_hex(&padded).ok_or_else(|| wrong("has a serial that is not hexadecimal"))?;
        let expires = time(expires).ok_or_else(|| wrong("has an expiry that is no time"))?;
        let revocation =
            read_revocation(revocation).ok_or_else(|| wrong("has a revocation that is no time and reason"))?;
        revoked.insert(magnitude(&octets), Row { expires, revoked: revocation });
    }
    Ok(revoked)
}

/// A serial without zeros before it.
pub fn magnitude(octets: &[u8]) -> Vec<u8> {
    octets.iter().copied().skip_while(|octet| *octet == 0).collect()
}

/// `231002030405Z,keyCompromise`; `keyTime` and `CAkeyTime` have the time of the compromise behind them.
fn read_revocation(text: &str) -> Option<(Timestamp, NewRevocation)> {
    let mut parts = text.split(',');
    let at = time(parts.next()?)?;
    let Some(reason) = parts.next() else { return Some((at, RevocationReason::Unspecified.into())) };
    let since = || parts.clone().next().and_then(time);
    let new = match reason {
        "keyTime" => NewRevocation::new(RevocationReason::KeyCompromise, since()),
        "CAkeyTime" => NewRevocation::new(RevocationReason::CaCompromise, since()),
        "holdInstruction" => RevocationReason::CertificateHold.into(),
        // of a delta CRL, which this CA never was
        "removeFromCRL" => RevocationReason::Unspecified.into(),
        name => RevocationReason::from_name(name).ok()?.into(),
    };
    Some((at, new))
}

/// UTCTime or GeneralizedTime in UTC.
fn time(text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z')?;
    let century = match digits.len() {
        14 => "",
        12 if digits.get(..2)? >= "50" => "19",
        12 => "20",
        _ => return None,
    };
    let whole = format!("{century}{digits}");
    let part = |from: usize, to: usize| whole.get(from..to);
    Timestamp::parse_rfc3339(&format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_every_kind_are_read() {
        let text = "V\t330101000000Z\t\t01\tunknown\t/CN=a\n\
                    R\t330101000000Z\t231002030405Z\t02\tunknown\t/CN=b\n\
                    R\t20510101000000Z\t231002030405Z,keyCompromise\t0A03\tunknown\t/CN=c\n\
                    R\t330101000000Z\t231002030405Z,keyTime,20230901000000Z\tABC\tunknown\t/CN=d\n\
                    R\t330101000000Z\t231002030405Z,holdInstruction,holdInstructionReject\t05\tunknown\t/CN=e\n\
                    E\t200101000000Z\t\t06\tunknown\t/CN=f\n\n";
        let rows = read(text).unwrap();
        let reason = |serial: &[u8]| rows.get(serial).unwrap().revoked.1.reason;
        assert_eq!(rows.len(), 4);
        assert_eq!(reason(&[2]), RevocationReason::Unspecified);
        assert_eq!(reason(&[0x0a, 3]), RevocationReason::KeyCompromise);
        assert_eq!(reason(&[5]), RevocationReason::CertificateHold);
        let (at, new) = rows[&vec![0x0a, 0xbc]].revoked;
        assert_eq!(at.to_string(), "2023-10-02T03:04:05Z");
        assert_eq!(new.invalidity_date.unwrap().to_string(), "2023-09-01T00:00:00Z");
        assert_eq!(rows[&vec![0x0a, 3]].expires.to_string(), "2051-01-01T00:00:00Z");
    }

    #[test]
    fn a_line_that_is_none_is_refused_with_its_number() {
        for line in [
            "R",
            "X\ta\tb\tc",
            "R\t330101000000Z\tnever\t01",
            "R\t330101000000Z\t231002030405Z,boredom\t01",
            "R\tnever\t231002030405Z\t01",
            "R\t330101000000Z\t231002030405Z\tzz",
            "V 330101000000Z",
        ] {
            let error = read(&format!("V\t330101000000Z\t\t01\tunknown\t/CN=a\n{line}\n")).unwrap_err();
            assert!(error.detail.contains("line 2 of index.txt"), "{}", error.detail);
        }
    }
}
