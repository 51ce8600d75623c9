//! JSON shapes shared by server, client and OpenAPI. Members are snake_case, times RFC 3339 UTC, ids a prefix and a
//! ULID. Unknown members of requests are refused; clients ignore unknown members of answers. Floor 1.

pub mod acme;
pub mod acme_lists;
pub mod audit;
pub mod audit_file;
pub mod certificates;
pub mod grants;
pub mod hierarchy;
pub mod imports;
pub mod keys;
pub mod page;
pub mod problem;
pub mod profiles;
pub mod renewals;
pub mod system;
pub mod tokens;
