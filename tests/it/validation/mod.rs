//! Validation against servers on loopback that misbehave in every way that acme.md §4 and security.md T1 list.

mod addresses;
mod dns;
mod http01;
mod limits;
mod redirects;
pub mod support;
