//! REST: one file a resource.

mod bad_input;
mod certificates;
mod idempotency;
mod room;
mod tokens;
