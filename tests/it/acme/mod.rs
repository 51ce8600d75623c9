//! ACME against the real router on both engines (reference/acme.md §1; the ids in comments are its).

mod accounts;
mod addresses;
mod ahead;
mod attacks;
mod authorizations;
mod bad_input;
mod caa;
mod challenges;
mod client;
mod compromise;
mod dns01;
mod eab;
mod grants;
mod groups;
mod nonces;
mod orders;
mod refusals;
mod renewals;
mod replaces;
mod revocation;
mod slow;
mod transport;
mod why;
mod world;
