//! Issuance under faults and under load.

mod accounts;
mod faults;
mod fsck;
mod recovery;
mod rig;
mod together;
