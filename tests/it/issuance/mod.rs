//! Issuance under faults and under load.

mod accounts;
mod batches;
mod checkpoints;
mod compromise;
mod crls;
mod faults;
mod ocsp;
mod fsck;
mod recovery;
pub mod rig;
mod together;
