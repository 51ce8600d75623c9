//! Shared HTTP manners: problem documents, extractors, caller, layers, caching, page links. Floor 5.

pub mod kinds;
pub mod problem;
