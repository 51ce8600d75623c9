//! Issuance under faults and under load.

mod faults;
mod fsck;
mod rig;
mod together;
