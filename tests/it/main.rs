//! The integration tests: one binary, one module a resource.

mod api;
mod pki;
mod store;
mod support;
mod validation;
