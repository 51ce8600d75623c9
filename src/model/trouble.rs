//! What a running server cannot do outside of the database: kept in its row, so that commands on the host can tell it.

use serde::{Deserialize, Serialize};

/// Empty when all is well.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerTrouble {
    /// Where the anchor cannot be written, with the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Failure>,
    /// Targets that audit checkpoints do not reach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checkpoints: Vec<Failure>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub place: String,
    pub why: String,
}
