//! The checks of `chancery doctor`: what an operator should know before users do.

use crate::app::App;
use crate::clock::days;
use crate::error::Result;
use crate::model::issuer::IssuerRole;
use crate::pki::signer::{KeyPurpose, KeyStore};

/// One check: what was found, and the problem with its fix if there is one.
#[derive(Debug)]
pub struct Answer {
    pub name: &'static str,
    pub found: String,
    pub problem: Option<String>,
}

pub async fn examine(app: &App) -> Vec<Answer> {
    vec![database(app).await, unlock_key(app), issuers(app), intents(app).await]
}

async fn database(app: &App) -> Answer {
    let reached = app.authority.reload().await;
    let found = format!("{} answers", app.store.db.engine());
    Answer { name: "database", found, problem: reached.err().map(|e| format!("{}; check --database-url", e.detail)) }
}

fn unlock_key(app: &App) -> Answer {
    let problem = (!app.keys.can_open(KeyPurpose::Issuer))
        .then(|| "not loaded: nothing can be issued; start without --locked".to_owned());
    Answer { name: "unlock key", found: "it is the one of this database".into(), problem }
}

/// Issuers sign until a fifth of their life is left; then a successor must exist.
fn issuers(app: &App) -> Answer {
    let (mut found, mut late) = (Vec::new(), Vec::new());
    let now = app.clock.now();
    for (slug, loaded) in &app.authority.snapshot().issuers {
        let Some(newest) = loaded.certificates.first() else {
            late.push(format!("{slug} has no certificate"));
            continue;
        };
        let left = newest.not_after.since(now);
        let life = newest.not_after.since(newest.not_before);
        found.push(format!("{slug} until {}", newest.not_after));
        if left < (life / 5).max(days(30)) && loaded.issuer.role == IssuerRole::Issuing {
            late.push(format!("{slug} ends at {}: plan its successor now", newest.not_after));
        }
    }
    let problem = (!late.is_empty()).then(|| late.join("; "));
    Answer { name: "issuers", found: found.join(", "), problem }
}

async fn intents(app: &App) -> Answer {
    let counts = async || -> Result<i64> {
        Ok(app.authority.certificate_counts().await?.iter().filter(|c| c.2 == "intended").map(|c| c.3).sum())
    };
    match counts().await {
        Ok(open) => Answer { name: "intents", found: format!("{open} without outcome"), problem: None },
        Err(error) => Answer { name: "intents", found: String::new(), problem: Some(error.detail) },
    }
}
