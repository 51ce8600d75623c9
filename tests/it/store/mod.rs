//! The store on both engines.

mod conformance;
