//! Issuance under faults and under load.

mod faults;
mod rig;
mod together;
