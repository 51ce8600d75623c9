//! The running server: settings, listeners, its own TLS certificate, start and stop. Floor 7.

pub mod assemble;
mod background;
pub mod checkpoint_targets;
pub mod claim;
pub mod config;
mod crowd;
pub mod limits;
pub mod listen;
mod metrics;
mod names;
pub mod notify;
pub mod open;
mod operator_certificate;
pub mod ops;
mod own_certificate;
pub mod proxies;
mod proxy_protocol;
mod readiness;
pub mod receipt;
mod routes;
pub mod running;
pub mod settings;
pub mod shutdown;
mod stall;
pub mod startup;
pub mod tls;
pub mod webhook;
