//! The running server over its sockets: metrics, health, its own certificate, start and stop.

mod acme_wire;
mod checkpoint_targets;
mod clocks;
mod connections;
mod crl_http;
mod durability;
mod edge;
mod expiry;
mod full_disk;
mod health;
mod hierarchy_macs;
mod history;
mod housekeeping;
mod lifecycle;
mod logs;
mod memory;
mod metrics;
mod own_certificate;
mod proxies;
mod row_macs;
mod side_by_side;
mod upgrade;
mod upgraded_key_ids;
