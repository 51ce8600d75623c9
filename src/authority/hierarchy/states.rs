//! `ca activate`, `ca retire`, `ca remove`: an issuer or a root changes its state, under the lock of the installation.
//! A domain keeps a default issuer as long as one of its issuers is active.

use serde_json::json;

use crate::authority::Authority;
use crate::authority::snapshot::Snapshot;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::issuer::{Issuer, IssuerMove, IssuerRole, IssuerState};
use crate::store::{Tx, hierarchy, revocations};

impl Authority {
    /// Moves an issuer or a root to another state. An issuer that is activated becomes the default of its domain.
    pub async fn move_issuer(&self, actor: &Actor, slug: &str, step: IssuerMove) -> Result<()> {
        let moved = self.moved(actor, slug, step).await;
        self.told(actor, "issuer.refused", slug, moved).await
    }

    async fn moved(&self, actor: &Actor, slug: &str, step: IssuerMove) -> Result<()> {
        // what another process did a moment ago counts
        self.reload().await?;
        let snapshot = self.snapshot();
        let mut tx = self.begin_change(actor).await?;
        tx.raw().lock_installation().await?;
        let id = snapshot.issuer(slug)?.issuer.id;
        let issuer = hierarchy::lock_issuer(&mut tx, id).await?;
        let issuer = issuer.ok_or_else(|| Error::inconsistent(format!("issuer {slug} is missing")))?;
        let to = match (issuer.state.after(step), step) {
            (Some(to), _) => to,
            // what is active already can still become the default
            (None, IssuerMove::Activate) if issuer.state.signs() && can_be_default(&issuer) => issuer.state,
            (None, _) => return Err(no_such_move(&issuer, step)),
        };
        match step {
            IssuerMove::Activate => self.check_activation(&snapshot, &mut tx, &issuer).await?,
            IssuerMove::Remove => check_removal(&snapshot, &issuer)?,
            IssuerMove::Retire | IssuerMove::Revoke => {}
        }
        hierarchy::set_state(&mut tx, id, to).await?;
        let default = settle_default(&mut tx, &issuer, to).await?;
        let action = match step {
            IssuerMove::Activate => "issuer.activated",
            IssuerMove::Retire => "issuer.retired",
            IssuerMove::Remove => "issuer.removed",
            IssuerMove::Revoke => "issuer.revoked",
        };
        let detail = json!({"issuer": slug, "from": issuer.state.name(), "to": to.name(), "default_issuer": default});
        tx.audit(AuditEvent::done(action, format!("issuer:{id}"), detail));
        self.commit_hierarchy(tx).await
    }

    async fn check_activation(&self, snapshot: &Snapshot, tx: &mut Tx, issuer: &Issuer) -> Result<()> {
        let (slug, now) = (&issuer.slug, tx.now());
        let loaded = snapshot.issuer(slug)?;
        let refuse = |value: String, allowed: &str, fix: String| {
            let sentence = format!("{value}, cannot sign; {fix}");
            Err(Error::refused(ErrorKind::Conflict, "issuer.activation", value, allowed, fix).saying(sentence))
        };
        if loaded.revoked_at.is_some() {
            let value = format!("issuer {slug}, whose certificates are all revoked");
            return refuse(value, "an issuer with a valid certificate", "create another issuer".to_owned());
        }
        if loaded.is_expired(now) {
            let value = format!("issuer {slug}, whose certificate has expired");
            return refuse(value, "an issuer with a valid certificate", format!("run `chancery ca renew {slug}`"));
        }
        for above in snapshot.above(loaded) {
            let (root, state) = (&above.issuer.slug, above.issuer.state);
            let fix = match state {
                IssuerState::Active | IssuerState::Retiring => continue,
                IssuerState::Prepared => format!("run `chancery ca activate {root}` first"),
                IssuerState::Removed => format!("run `chancery ca retire {root}` first: it returns to the bundle"),
                IssuerState::Revoked => "create an issuer under another root".to_owned(),
            };
            let value = format!("issuer {slug}, which stands under {root}, which is {}", state.name());
            return refuse(value, "an issuer under an active root", fix);
        }
        for certificate in &loaded.certificates {
            let facts = crate::pki::certificate_facts::CertificateFacts::parse(&certificate.der);
            let unreadable = |e| Error::inconsistent(format!("a certificate of {slug} cannot be read")).because(e);
            if let Some(reason) = revocations::blocked(&mut *tx, &facts.map_err(unreadable)?.spki_sha256).await? {
                let value = format!("issuer {slug}, whose key is blocked ({reason})");
                return refuse(value, "an issuer whose key is its own", "create another issuer".to_owned());
            }
        }
        Ok(())
    }
}

/// A removed root is trusted no longer, so nothing active may stand below it.
fn check_removal(snapshot: &Snapshot, issuer: &Issuer) -> Result<()> {
    let active: Vec<_> = snapshot
        .issuers
        .values()
        .filter(|i| i.issuer.state.signs() && snapshot.above(i).any(|above| above.issuer.id == issuer.id))
        .map(|i| i.issuer.slug.as_str())
        .collect();
    if active.is_empty() {
        return Ok(());
    }
    let (slugs, verb) = (active.join(", "), if active.len() == 1 { "is" } else { "are" });
    let commands: Vec<_> = active.iter().map(|slug| format!("`chancery ca retire {slug}`")).collect();
    let fix = format!("run {} first", commands.join(", "));
    let sentence = format!("{} cannot be removed while {slugs} below it {verb} active; {fix}", issuer.slug);
    let value = format!("{}, under which {slugs} {verb} active", issuer.slug);
    let allowed = "a CA without active issuers below it";
    Err(Error::refused(ErrorKind::Conflict, "issuer.removal", value, allowed, fix).saying(sentence))
}

fn can_be_default(issuer: &Issuer) -> bool {
    issuer.role == IssuerRole::Issuing && !issuer.is_default
}

/// The default of the domain after an issuer went to `to`: that issuer when it was activated, else the one that is
/// there, else the oldest active one.
async fn settle_default(tx: &mut Tx, moved: &Issuer, to: IssuerState) -> Result<Option<String>> {
    let of_domain: Vec<_> =
        hierarchy::issuers(&mut *tx).await?.into_iter().filter(|i| i.domain == moved.domain).collect();
    let mut active: Vec<_> = of_domain.iter().filter(|i| i.role == IssuerRole::Issuing && i.state.signs()).collect();
    active.sort_by_key(|i| (i.created_at, i.id.bytes()));
    let activated = active.iter().find(|i| i.id == moved.id && to.signs());
    let default = activated.or(active.iter().find(|i| i.is_default)).or(active.first());
    hierarchy::set_default(tx, &moved.domain, default.map(|i| i.id)).await?;
    Ok(default.map(|i| i.slug.clone()))
}

fn no_such_move(issuer: &Issuer, step: IssuerMove) -> Error {
    let (slug, state) = (&issuer.slug, issuer.state);
    let (cannot, fix) = match (step, state) {
        (_, IssuerState::Revoked) => ("never changes again", "create another issuer".to_owned()),
        (IssuerMove::Activate, IssuerState::Removed) => (
            "cannot be activated at once",
            format!("run `chancery ca retire {slug}` first: it returns to the bundle"),
        ),
        (IssuerMove::Remove, IssuerState::Active) => {
            ("cannot be removed while it signs", format!("run `chancery ca retire {slug}` first"))
        }
        (IssuerMove::Retire, IssuerState::Prepared) => {
            ("has signed nothing that could be retired", format!("run `chancery ca remove {slug}` to give it up"))
        }
        (
            IssuerMove::Activate | IssuerMove::Retire | IssuerMove::Remove | IssuerMove::Revoke,
            IssuerState::Prepared | IssuerState::Active | IssuerState::Retiring | IssuerState::Removed,
        ) => ("is in that state already", "nothing needs to be done".to_owned()),
    };
    let value = format!("issuer {slug}, which is {}", state.name());
    let sentence = format!("{value}, {cannot}; {fix}");
    Error::refused(ErrorKind::Conflict, "issuer.state", value, "an issuer in another state", fix).saying(sentence)
}
