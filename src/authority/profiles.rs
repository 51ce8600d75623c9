//! Profiles as data: each change is a revision that stays, and is made on the revision that was read. What
//! contradicts itself is never stored (`Profile::new`).

use serde_json::json;

use super::Authority;
use super::hierarchy::add_profile;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::identifier::shown;
use crate::model::names::NameRule;
use crate::pki::profile::{Profile, ProfileConfig};
use crate::store::profiles::{self, Revision};
use crate::store::versions::{self, Topic};

impl Authority {
    /// The first revision of a profile.
    pub async fn create_profile(&self, actor: &Actor, config: &ProfileConfig) -> Result<()> {
        self.check_profile(config)?;
        let mut tx = self.store.begin(actor).await?;
        match add_profile(&mut tx, config).await {
            Err(error) if error.kind == ErrorKind::Conflict => {
                let why = format!("there is a profile {} already: change it, or take another name", config.name);
                return Err(Error::new(ErrorKind::Conflict, why));
            }
            other => other?,
        }
        versions::bump(&mut tx, Topic::Profiles).await?;
        let detail = json!({"revision": 1, "config": config});
        tx.audit(AuditEvent::done("profile.created", format!("profile:{}", config.name), detail));
        tx.commit().await?;
        self.reload().await
    }

    /// Another revision, if `expected` is still the present one; any when absent. The same rules again are none.
    pub async fn change_profile(
        &self,
        actor: &Actor,
        slug: &str,
        expected: Option<i64>,
        config: &ProfileConfig,
    ) -> Result<()> {
        let missing = || Error::not_found(format!("profile \"{}\"", shown(slug)));
        if config.name != slug {
            return Err(Error::refused(
                ErrorKind::Unprocessable,
                "profile.name",
                format!("\"{}\"", shown(&config.name)),
                format!("\"{slug}\", because a name stays"),
                "create a profile of the new name",
            )
            .explained(format!(
                "a profile cannot be renamed: it is {slug}, and the request says \"{}\"",
                shown(&config.name)
            )));
        }
        self.check_profile(config)?;
        let mut tx = self.store.begin(actor).await?;
        let before = profiles::find(&mut tx, slug).await?.ok_or_else(missing)?;
        let stale = |now: i64, asked: i64| {
            Error::refused(
                ErrorKind::StaleRevision,
                "profile.revision",
                format!("revision {asked} of profile {slug}"),
                format!("revision {now}, the present one"),
                "read the profile again, and make the change on what it says now",
            )
            .explained(format!(
                "profile {slug} was changed meanwhile: it has revision {now}, and the request is for revision {asked}"
            ))
        };
        if let Some(asked) = expected.filter(|asked| *asked != before.revision) {
            return Err(stale(before.revision, asked));
        }
        let text = serde_json::to_string(config).map_err(|e| Error::internal("a profile does not serialise", e))?;
        if text == before.config {
            return Ok(());
        }
        if !profiles::revise(&mut tx, &before, &text).await? {
            return Err(stale(before.revision + 1, before.revision));
        }
        versions::bump(&mut tx, Topic::Profiles).await?;
        let detail = json!({"revision": before.revision + 1, "config": config});
        tx.audit(AuditEvent::done("profile.changed", format!("profile:{slug}"), detail));
        tx.commit().await?;
        self.reload().await
    }

    /// Every revision, newest first.
    pub async fn profile_revisions(&self, slug: &str) -> Result<Vec<Revision>> {
        let missing = || Error::not_found(format!("profile \"{}\"", shown(slug)));
        let found = profiles::find(&self.store, slug).await?.ok_or_else(missing)?;
        profiles::revisions(&self.store, found.id).await
    }

    /// It says nothing against itself or a standard, and its trust domain is there.
    fn check_profile(&self, config: &ProfileConfig) -> Result<()> {
        Profile::new(config.clone())?;
        for rule in config.names.allow.iter().chain(&config.names.deny) {
            NameRule::parse(&rule.to_string())?;
        }
        let snapshot = self.snapshot();
        if snapshot.domains.iter().any(|domain| domain.slug == config.domain) {
            return Ok(());
        }
        let known: Vec<_> = snapshot.domains.iter().map(|domain| domain.slug.as_str()).collect();
        let (asked, known) = (shown(&config.domain), known.join(", "));
        let fix = format!("name another one, or make it with `chancery ca create {asked}`");
        let sentence = format!("trust domain \"{asked}\" of the profile does not exist, only {known}; {fix}");
        let value = format!("trust domain \"{asked}\"");
        Err(Error::refused(ErrorKind::Unprocessable, "profile.domain", value, known, fix).saying(sentence))
    }
}
