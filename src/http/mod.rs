//! Shared HTTP manners: problem documents, extractors, caller, layers, caching, page links. Floor 5.

pub mod caller;
pub mod error_page;
pub mod extract;
pub mod kinds;
pub mod layers;
pub mod page;
pub mod problem;
pub mod refusals;
mod scan;
