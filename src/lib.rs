//! Chancery: a private certificate authority; the list of rooms, and how the house is built.
#![doc = include_str!("ARCHITECTURE.md")]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::dbg_macro)]

// its macros are for all that follow
#[macro_use]
mod planted;

pub mod access;
pub mod acme;
pub mod api;
pub mod app;
pub mod authority;
pub mod cli;
pub mod client;
pub mod clock;
pub mod dashboard;
pub mod entropy;
pub mod error;
pub mod http;
pub mod jobs;
pub mod keys;
pub mod model;
pub mod pki;
pub mod registration;
pub mod server;
pub mod status;
pub mod store;
pub mod telemetry;
pub mod validation;
pub mod wire;
