//! The CA's checks of itself in JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the CA knows of its own health.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Checks {
    /// The worst of them: `ok`, `warning` or `critical`.
    pub status: String,
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// Such as `crls`.
    pub name: String,
    /// `ok`, `warning` or `critical`.
    pub status: String,
    /// What was found, and with a problem what to do.
    pub detail: String,
}
