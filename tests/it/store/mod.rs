//! The store on both engines: statements, repositories, concurrency.

mod accounts;
mod attempts;
mod audit;
mod conformance;
mod connections;
mod jobs;
mod large_rows;
mod migrations;
mod orders;
mod outages;
mod postgres;
mod schema_objects;
mod tokens;
