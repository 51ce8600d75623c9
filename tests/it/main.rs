//! The integration tests: one binary, one module a resource.

mod acme;
mod api;
mod cli;
mod dashboard;
mod hierarchy;
mod issuance;
mod pki;
mod server;
mod store;
mod support;
mod validation;
