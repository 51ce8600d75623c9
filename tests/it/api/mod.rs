//! REST: one file a resource.

mod bad_input;
mod certificates;
mod document;
mod examples;
mod idempotency;
mod room;
mod subject;
mod tokens;
