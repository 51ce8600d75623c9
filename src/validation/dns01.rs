//! dns-01 (RFC 8555 §8.4): a TXT record at `_acme-challenge.NAME` holds base64url(SHA-256(key authorization)), as one
//! of any number. Aliases are followed, within bounds; the answer is never from a cache.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::attempt::{Attempt, StepKind};
use super::error::ValidationError;
use super::key_authorization::check_token;
use super::resolver::DnsFailure;
use crate::model::identifier::Identifier;

const METHOD: &str = "dns-01";

pub(super) async fn prove(
    attempt: &mut Attempt<'_>,
    identifier: &Identifier,
    token: &str,
    key_authorization: &str,
) -> Result<(), ValidationError> {
    check_token(token)?;
    if !key_authorization.strip_prefix(token).is_some_and(|rest| rest.len() > 1 && rest.starts_with('.')) {
        return Err(ValidationError::BadToken);
    }
    let Identifier::Dns(name) = identifier else {
        return Err(ValidationError::UnsupportedIdentifier { identifier: identifier.to_string(), method: METHOD });
    };
    // a wildcard is proved at its base
    let place = format!("_acme-challenge.{}", name.base());
    let resolver = attempt.resolver.clone();
    let answer = attempt.within(resolver.texts(&place)).await.unwrap_or(Err(DnsFailure::Timeout));
    let found = match answer {
        Ok(found) => found,
        Err(failure) => {
            attempt.note(StepKind::Resolve, format!("TXT {place}: {failure}"));
            return Err(ValidationError::TxtLookup { name: place, failure });
        }
    };
    attempt.note(StepKind::Resolve, format!("TXT {place}: {} records", found.len()));
    let expected = URL_SAFE_NO_PAD.encode(digest(&SHA256, key_authorization.as_bytes()));
    if found.iter().any(|text| text == expected.as_bytes()) {
        return Ok(());
    }
    Err(ValidationError::TxtValue { name: place, expected, found: found.len() })
}
