//! What the tests share: stores on both engines, rows in them, and what stands above.

pub mod acme_rows;
pub mod postgres;
pub mod rows;
pub mod stores;
