//! RFC 8555 on the wire: shapes, headers, signatures. What may happen is decided by `registration`.

pub mod base64url;
pub mod json;
pub mod jwk;
pub mod jws;
