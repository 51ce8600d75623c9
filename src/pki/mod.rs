//! X.509 as pure functions: bytes in, bytes out. Floor 1.

pub mod algorithm;
pub mod der;
pub mod oids;
pub mod signer;
