//! Issuance under faults and under load.

mod accounts;
mod checkpoints;
mod compromise;
mod faults;
mod fsck;
mod recovery;
pub mod rig;
mod together;
