//! The integration tests: one binary, one module a resource.

#[test]
fn t() {}
