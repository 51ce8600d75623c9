//! REST: one file a resource.

mod authorities;
mod bad_bodies;
mod bad_input;
mod bounded;
mod certificates;
mod csrs;
mod document;
mod examples;
mod grants;
mod idempotency;
mod keys;
mod limits;
mod pages;
mod pkcs12;
mod profiles;
mod renewals;
pub mod room;
mod subject;
mod text;
mod tokens;

pub use room::csr;
