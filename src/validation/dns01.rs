//! dns-01 (RFC 8555 §8.4): a TXT record at `_acme-challenge.NAME` holds base64url(SHA-256(key authorization)), as one
//! of any number. Aliases are followed, within bounds; the answer is never from a cache.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::attempt::{Attempt, StepKind};
use super::claim::Claim;
use super::error::ValidationError;
use super::resolver::DnsFailure;

const METHOD: &str = "dns-01";

pub(super) async fn prove(attempt: &mut Attempt<'_>, claim: &Claim<'_>) -> Result<(), ValidationError> {
    let place = format!("_acme-challenge.{}", claim.dns_base(METHOD)?);
    look_for(attempt, claim, place).await
}

/// The same at another place.
pub(super) async fn look_for(
    attempt: &mut Attempt<'_>,
    claim: &Claim<'_>,
    place: String,
) -> Result<(), ValidationError> {
    claim.check()?;
    let found = match texts(attempt, &place).await {
        Ok(found) => found,
        Err(failure) => return Err(ValidationError::TxtLookup { name: place, failure }),
    };
    let expected = URL_SAFE_NO_PAD.encode(digest(&SHA256, claim.key_authorization.as_bytes()));
    if found.iter().any(|text| planted!("any-text-record-proves", !text.is_empty(), text == expected.as_bytes())) {
        return Ok(());
    }
    Err(ValidationError::TxtValue { name: place, expected, found: found.len() })
}

/// The TXT records of a name, with a line in the timeline.
pub(super) async fn texts(attempt: &mut Attempt<'_>, place: &str) -> Result<Vec<Vec<u8>>, DnsFailure> {
    let resolver = attempt.resolver.clone();
    let answer = attempt.within(resolver.texts(place)).await.unwrap_or(Err(DnsFailure::Timeout));
    let asked = resolver.asked().await;
    match &answer {
        Ok(found) => {
            let values = values(found);
            attempt.note(StepKind::Resolve, format!("TXT {place}: {} records ({asked}){values}", found.len()));
        }
        Err(failure) => attempt.note(StepKind::Resolve, format!("TXT {place}: {failure} ({asked})")),
    }
    answer
}

/// The first three that have the shape of an answer, such as one of an order before; what else stands there is not ours
/// to repeat.
fn values(found: &[Vec<u8>]) -> String {
    let answer =
        |text: &&Vec<u8>| text.len() == 43 && text.iter().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b));
    let ours: Vec<_> =
        found.iter().filter(answer).map(|text| format!("\"{}\"", String::from_utf8_lossy(text))).collect();
    let other = found.len() - ours.len();
    let mut told: Vec<String> = ours.into_iter().take(3).collect();
    if other > 0 {
        told.push(format!("{other} of another shape"));
    }
    if told.is_empty() { String::new() } else { format!(": {}", told.join(", ")) }
}
