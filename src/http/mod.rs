//! Shared HTTP manners: problem documents, extractors, caller, layers, caching, pages. Floor 5.

pub mod assets;
mod bodies;
pub mod caller;
pub mod client_address;
mod drain;
pub mod error_page;
pub mod extract;
mod forwarded;
pub mod host;
pub mod hsts;
pub mod html;
pub mod kinds;
pub mod layers;
pub mod page;
pub mod problem;
pub mod refusals;
mod scan;
