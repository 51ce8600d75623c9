//! The running server: settings, listeners, its own TLS certificate, start and stop. Floor 7.

pub mod config;
pub mod settings;
