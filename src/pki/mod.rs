//! X.509 as pure functions: bytes in, bytes out. Floor 1.

pub mod algorithm;
pub mod der;
pub mod general_name;
pub mod issuer;
pub mod key_policy;
pub mod name;
pub mod oids;
pub mod pem;
pub mod policy;
pub mod prepared;
pub mod profile;
pub mod request;
mod rsa_weakness;
pub mod signer;
pub mod tbs;
