//! A problem document (RFC 9457) as the client reads it.

use serde::Deserialize;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    #[serde(skip)]
    pub status: u16,
    pub r#type: String,
    pub code: String,
    pub detail: String,
    pub instance: String,
    pub rule: String,
    pub fix: String,
}

impl Problem {
    /// Reads a body; one that is no problem document still gives a sentence.
    pub fn read(status: u16, body: &[u8]) -> Problem {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) if !problem.detail.is_empty() => Problem { status, ..problem },
            _ => Problem {
                status,
                detail: format!("the server answered {status} without a problem document"),
                ..Problem::default()
            },
        }
    }
}
