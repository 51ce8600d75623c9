//! Validation against servers on loopback that misbehave in every way that acme.md §4 and security.md T1 list.

mod addresses;
pub mod alpn;
mod caa;
mod directory_rules;
mod dns;
mod dns_methods;
mod download;
mod hostile;
mod http01;
mod limits;
mod redirects;
pub mod support;
mod tls_alpn01;
