//! Issuance under faults and under load.

mod accounts;
mod batches;
mod changed_lists;
mod changed_revocations;
mod checkpoints;
mod compromise;
mod crl_windows;
mod crls;
mod faults;
mod fsck;
mod large_crls;
mod lifetimes;
mod moved_issuers;
pub mod ocsp;
mod races;
mod raised;
mod recovery;
pub mod rig;
mod set_back;
mod tampering;
mod together;
