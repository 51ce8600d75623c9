//! What the tests share: stores on both engines, rows in them, and what stands above.

pub mod acme_key;
pub mod acme_rows;
pub mod dice;
pub mod drip;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod race;
pub mod rows;
pub mod server;
pub mod stores;
pub mod wait;
pub mod wire;
