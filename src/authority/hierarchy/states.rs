//! `ca activate`, `ca retire`, `ca remove`: an issuer or a root changes its state, under the lock of the installation.
//! A domain has a default issuer as long as one of its issuers signs.

use serde_json::json;

use crate::authority::Authority;
use crate::authority::checks::how_to_lift;
use crate::authority::signers::NotSigning;
use crate::authority::snapshot::{LoadedIssuer, Snapshot};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::IssuerId;
use crate::model::identifier::shown;
use crate::model::issuer::{Former, Issuer, IssuerMove, IssuerRole, IssuerState};
use crate::store::{Tx, hierarchy, revocations};

impl Authority {
    /// Moves an issuer or a root to another state.
    pub async fn move_issuer(&self, actor: &Actor, slug: &str, step: IssuerMove) -> Result<()> {
        let moved = self.moved(actor, slug, step, LastIssuer::MayGo).await;
        self.told(actor, "issuer.refused", slug, moved).await
    }

    /// Moves an issuer or a root without a confirmation. A move that leaves its trust domain without an issuer that signs is
    /// refused, also when another issuer is retired at the same time.
    pub async fn move_issuer_unconfirmed(&self, actor: &Actor, slug: &str, step: IssuerMove) -> Result<()> {
        let moved = self.moved(actor, slug, step, LastIssuer::Stays).await;
        self.told(actor, "issuer.refused", slug, moved).await
    }

    /// Refuses a move that is impossible whoever confirms it.
    pub async fn check_move(&self, slug: &str, step: IssuerMove) -> Result<()> {
        self.reload().await?;
        let snapshot = self.snapshot();
        let loaded = snapshot.issuer(slug)?;
        refuse_revoked_elsewhere(loaded, step)?;
        let issuer = &Issuer { state: loaded.stored_state, ..loaded.issuer.clone() };
        issuer.after(step).ok_or_else(|| no_such_move(issuer, step))?;
        if step == IssuerMove::Remove { check_removal(&snapshot, issuer) } else { Ok(()) }
    }

    async fn moved(&self, actor: &Actor, slug: &str, step: IssuerMove, last: LastIssuer) -> Result<()> {
        // what another process did a moment ago counts
        self.reload().await?;
        let snapshot = self.snapshot();
        let mut tx = self.begin_change(actor).await?;
        tx.raw().lock_installation().await?;
        let loaded = snapshot.issuer(slug)?;
        refuse_revoked_elsewhere(loaded, step)?;
        let id = loaded.issuer.id;
        let issuer = hierarchy::lock_issuer(&mut tx, id).await?;
        let issuer = issuer.ok_or_else(|| Error::inconsistent(format!("issuer {slug} is missing")))?;
        let to = issuer.after(step).ok_or_else(|| no_such_move(&issuer, step))?;
        match step {
            IssuerMove::MakeDefault => {
                check_default(&issuer)?;
                self.check_activation(&snapshot, &mut tx, &issuer).await?;
            }
            IssuerMove::Activate => self.check_activation(&snapshot, &mut tx, &issuer).await?,
            IssuerMove::Remove => check_removal(&snapshot, &issuer)?,
            IssuerMove::Retire | IssuerMove::Revoke => {}
        }
        hierarchy::set_state(&mut tx, id, to, issuer.former_after(step)).await?;
        let chosen = issuer.becomes_default(step).then_some(id);
        if chosen.is_some() && issuer.former != Former::Default {
            hierarchy::forget_defaults(&mut tx, &issuer.domain).await?;
        }
        let default = settle_default(&mut tx, &snapshot, &issuer.domain, chosen).await?;
        if last == LastIssuer::Stays
            && default.is_none()
            && issuer.state.signs()
            && loaded.revoked_at.is_none()
            && issuer.role == IssuerRole::Issuing
        {
            return Err(last_issuer(&issuer));
        }
        let action = match step {
            IssuerMove::Activate | IssuerMove::MakeDefault => "issuer.activated",
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
            let sentence = format!("cannot activate {value}; {fix}");
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
        if let Err(NotSigning::Untrusted { root }) = snapshot.may_sign_when_active(loaded, now) {
            let (domain, value) = (&issuer.domain, format!("issuer {slug} under {root}, which clients do not trust"));
            let fix = format!("run `chancery ca anchor add {domain} FILE` with that root, or create another issuer");
            return refuse(value, "an issuer under a root of its trust domain's bundle", fix);
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

fn refuse_held(loaded: &LoadedIssuer, by: &str, at: Timestamp) -> Error {
    let slug = &loaded.issuer.slug;
    let value = format!("issuer {slug}, whose certificate {by} put on hold at {at}");
    let fix = how_to_lift(loaded);
    let sentence = format!("cannot activate {slug}: {by} put its certificate on hold at {at}; {fix}");
    let allowed = "an issuer with a valid certificate";
    Error::refused(ErrorKind::Conflict, "issuer.activation", value, allowed, fix).saying(sentence)
}

/// An issuer that a CA elsewhere revoked signs again only when that CA takes the revocation back. Until then it may be
/// given up.
fn refuse_revoked_elsewhere(loaded: &LoadedIssuer, step: IssuerMove) -> Result<()> {
    let activates = match step {
        IssuerMove::Activate | IssuerMove::MakeDefault => true,
        IssuerMove::Retire | IssuerMove::Remove | IssuerMove::Revoke => false,
    };
    let Some((by, at)) = loaded.revoked_by.as_deref().zip(loaded.revoked_at).filter(|_| activates) else {
        return Ok(());
    };
    if loaded.on_hold {
        return Err(refuse_held(loaded, &shown(by), at));
    }
    let (slug, by, way) = (&loaded.issuer.slug, shown(by), super::renew::replacement(loaded));
    let value = format!("issuer {slug}, whose certificate {by} revoked at {at}");
    let fix = format!(
        "to replace it {way}; if {by} takes the revocation back, {slug} signs again once that CA's next CRL is here: it is \
         fetched every hour, or taken by `chancery ca crl import FILE`"
    );
    let sentence = format!("cannot activate {slug}: {by} revoked its certificate at {at}; {fix}");
    let allowed = "an issuer with a valid certificate";
    Err(Error::refused(ErrorKind::Conflict, "issuer.activation", value, allowed, fix).saying(sentence))
}

/// Whether a domain may be left without an issuer that signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastIssuer {
    MayGo,
    Stays,
}

fn last_issuer(issuer: &Issuer) -> Error {
    let (slug, domain) = (&issuer.slug, &issuer.domain);
    let value = format!("{slug} is the last issuer of trust domain {domain} that signs");
    let fix = format!(
        "look at it with `chancery ca show {slug}`, then run the command again with --yes (REST: \"confirm\": true)"
    );
    let sentence = format!("{value}, so nothing was changed; {fix}");
    Error::refused(ErrorKind::Conflict, "issuer.dependents", value, "a change that is confirmed", fix)
        .saying(sentence)
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

/// The default of a domain after a change: the issuer that was chosen, else the one that is there, else the oldest one
/// that really signs. `snapshot` is from before the change; states are read anew. The caller holds the lock of the
/// installation.
pub(in crate::authority) async fn settle_default(
    tx: &mut Tx,
    snapshot: &Snapshot,
    domain: &str,
    chosen: Option<IssuerId>,
) -> Result<Option<String>> {
    let now = tx.now();
    let mut active = hierarchy::issuers(&mut *tx).await?;
    active.retain(|i| i.domain == domain && i.role == IssuerRole::Issuing && i.state.signs());
    active.sort_by_key(|i| (i.created_at, i.id.bytes()));
    let signs = |i: &&Issuer| {
        let known = snapshot.issuer_by_id(i.id);
        known.is_some_and(|loaded| snapshot.may_sign_when_active(loaded, now).is_ok())
    };
    let marked = active.iter().find(|i| i.is_default);
    let default = active.iter().find(|i| Some(i.id) == chosen);
    let default = default.or(marked.filter(signs)).or(active.iter().find(signs)).or(marked);
    hierarchy::set_default(tx, domain, default.map(|i| i.id)).await?;
    Ok(default.map(|i| i.slug.clone()))
}

fn check_default(issuer: &Issuer) -> Result<()> {
    let (slug, domain) = (&issuer.slug, &issuer.domain);
    let refuse = |value: String, allowed: &str, fix: &str| {
        let sentence = format!("{value}; {fix}");
        Err(Error::refused(ErrorKind::Conflict, "issuer.default", value, allowed, fix).saying(sentence))
    };
    if issuer.role == IssuerRole::Root {
        let value = format!("{slug} is a root, which signs CA certificates alone and cannot be the default issuer");
        return refuse(value, "an issuer", "name an issuer that stands under it");
    }
    if issuer.is_default && issuer.state.signs() {
        let value = format!("{slug} is already the default issuer of trust domain {domain}");
        return refuse(value, "another issuer", "nothing needs to be done");
    }
    Ok(())
}

/// What is wrong with a move, what is possible instead, and the command for it.
fn no_such_move(issuer: &Issuer, step: IssuerMove) -> Error {
    let (slug, state) = (&issuer.slug, issuer.state);
    let nothing = || "nothing needs to be done".to_owned();
    let (why, allowed, fix) = match (step, state) {
        (_, IssuerState::Revoked) => (
            ", which is final",
            "a CA that is not revoked",
            format!("create another one with `chancery ca create {} --under ROOT`", issuer.domain),
        ),
        (IssuerMove::Activate | IssuerMove::MakeDefault, IssuerState::Removed) => (
            ", so clients may not trust it any more",
            "a prepared or retiring CA",
            format!("run `chancery ca retire {slug}` first, which returns it to the bundle"),
        ),
        (IssuerMove::Activate, IssuerState::Active) if issuer.role == IssuerRole::Issuing && !issuer.is_default => (
            " and needs no activation",
            "a prepared or retiring CA",
            format!("to make it the default of its trust domain run `chancery ca activate {slug} --default`"),
        ),
        (IssuerMove::Remove, IssuerState::Active) => (
            " and only a prepared or retiring CA can be removed",
            "a prepared or retiring CA",
            format!("run `chancery ca retire {slug}` first"),
        ),
        (IssuerMove::Retire, IssuerState::Prepared) => (
            " and only an active or removed CA can be retired",
            "an active or removed CA",
            format!("run `chancery ca remove {slug}` to give it up"),
        ),
        (
            IssuerMove::Activate
            | IssuerMove::MakeDefault
            | IssuerMove::Retire
            | IssuerMove::Remove
            | IssuerMove::Revoke,
            IssuerState::Prepared | IssuerState::Active | IssuerState::Retiring | IssuerState::Removed,
        ) => (", as was asked", "a CA in another state", nothing()),
    };
    let value = format!("{slug} is {}", state.name());
    let sentence = format!("{value}{why}; {fix}");
    Error::refused(ErrorKind::Conflict, "issuer.state", value, allowed, fix).saying(sentence)
}
