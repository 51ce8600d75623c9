//! The running server: settings, listeners, its own TLS certificate, start and stop. Floor 7.

pub mod config;
pub mod listen;
pub mod ops;
pub mod settings;
pub mod shutdown;
pub mod tls;
