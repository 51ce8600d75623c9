//! Key authorizations (RFC 8555 §8.1): what every method of this room looks for.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::ValidationError;

/// `token.thumbprint`; both are base64url without padding, the thumbprint is the SHA-256 one of RFC 7638.
pub fn key_authorization(token: &str, thumbprint: &str) -> Result<String, ValidationError> {
    check_token(token)?;
    if URL_SAFE_NO_PAD.decode(thumbprint).is_ok_and(|bytes| bytes.len() == 32) {
        Ok(format!("{token}.{thumbprint}"))
    } else {
        Err(ValidationError::BadToken)
    }
}

/// Strict base64url of 16 to 96 bytes: no padding, no other alphabet, no stray bits. The token goes into a path.
pub fn check_token(token: &str) -> Result<(), ValidationError> {
    let strict = URL_SAFE_NO_PAD.decode(token).is_ok_and(|bytes| (16..=96).contains(&bytes.len()));
    if strict { Ok(()) } else { Err(ValidationError::BadToken) }
}
