//! The running server: settings, listeners, its own TLS certificate, start and stop. Floor 7.

pub mod assemble;
mod background;
pub mod config;
pub mod listen;
mod names;
pub mod notify;
pub mod open;
pub mod ops;
mod own_certificate;
pub mod receipt;
pub mod running;
pub mod settings;
pub mod shutdown;
pub mod tls;
