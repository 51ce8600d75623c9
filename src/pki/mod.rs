//! X.509 as pure functions: bytes in, bytes out. Floor 1.

pub mod algorithm;
pub mod certificate_facts;
pub mod crl;
pub mod crl_facts;
pub mod der;
pub mod extension;
pub mod general_name;
pub mod issuer;
pub mod key_policy;
pub mod lint;
pub mod name;
pub mod name_constraints;
pub mod ocsp_facts;
pub mod ocsp_request;
pub mod ocsp_response;
pub mod oids;
pub mod pem;
pub mod policy;
pub mod prepared;
pub mod profile;
pub mod profile_config;
mod profile_rules;
mod profile_shipped;
pub mod request;
mod rsa_weakness;
pub mod signer;
pub mod tbs;
