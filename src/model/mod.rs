//! Records and rules without IO. Floor 0: every room may use it.

pub mod acme;
pub mod actor;
pub mod anchor;
pub mod attempt;
pub mod audit;
pub mod blocked_key;
pub mod certificate;
pub mod clock_votes;
pub mod crl;
pub mod eab;
pub mod grant;
pub mod id;
pub mod identifier;
pub mod issuer;
pub mod key;
pub mod limits;
pub mod names;
pub mod network;
pub mod reason;
pub mod renewal;
pub mod revocation;
pub mod serial;
pub mod text;
pub mod token;
pub mod user;
pub mod validity;
