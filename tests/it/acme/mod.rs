//! ACME against the real router on both engines (reference/acme.md §1; the ids in comments are its).

mod accounts;
mod attacks;
mod client;
mod compromise;
mod nonces;
mod orders;
mod refusals;
mod revocation;
mod transport;
mod world;
