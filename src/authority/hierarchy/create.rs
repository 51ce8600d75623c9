//! `ca create`: a trust domain with a root of its own and an issuer below it, or one more issuer below a root that
//! is there. Where the root's key is not at hand (a server never loads it) the answer says who has it. Made in one
//! transaction under the lock of the installation, so that of two that race one makes the domain.

use std::sync::Arc;

use serde_json::json;

use super::make::{
    CaKeys, NewKey, Place, Powers, Ready, add_profile, add_responder, digits, found_issuing, found_root,
};
use super::plan::{Plan, Wanted, free_slug, title};
use crate::authority::Authority;
use crate::authority::crl::Publishing;
use crate::authority::snapshot::LoadedIssuer;
use crate::authority::status_lifetimes;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::DomainId;
use crate::model::identifier::shown;
use crate::model::issuer::{Domain, Issuer, IssuerRole, IssuerState};
use crate::model::key::KeyAlgorithm;
use crate::model::status_lifetimes::{LifetimesChange, SetLifetimes};
use crate::pki::issuer::IssuerKey;
use crate::pki::name_constraints::NameConstraints;
use crate::pki::signer::KeyPurpose;
use crate::store::versions::{self, Topic};
use crate::store::{Tx, hierarchy, profiles};

impl Authority {
    /// A new trust domain: root, issuer and profiles. Returns the slug of its issuer.
    pub async fn create_domain(&self, actor: &Actor, wanted: &Wanted) -> Result<String> {
        let made = self.make_domain(actor, wanted).await;
        self.told(actor, "domain.refused", &wanted.domain, made).await
    }

    /// One more root of a domain, prepared: clients get it with the bundle before anything that they see stands under it.
    /// Returns its slug.
    pub async fn create_root(&self, actor: &Actor, wanted: &Wanted) -> Result<String> {
        let made = self.make_root(actor, wanted).await;
        self.told(actor, "issuer.refused", &wanted.domain, made).await
    }

    /// One more issuer of a domain below `under`, or below the domain's root. Returns its slug.
    pub async fn create_issuer(&self, actor: &Actor, wanted: &Wanted, under: Option<&str>) -> Result<String> {
        let made = self.make_issuer(actor, wanted, under).await;
        self.told(actor, "issuer.refused", &wanted.domain, made).await
    }

    async fn make_domain(&self, actor: &Actor, wanted: &Wanted) -> Result<String> {
        let plan = Plan::of(wanted)?;
        // before keys are made, and again under the lock
        self.refuse_known(&plan.domain, self.snapshot().domains.iter())?;
        self.need(KeyPurpose::Root, "the root of a new trust domain")?;
        let root = self.make_keys(plan.root_key, KeyPurpose::Root).await?;
        let issuing = self.make_keys(plan.key, KeyPurpose::Issuer).await?;
        let mut tx = self.begin_change(actor).await?;
        tx.raw().lock_installation().await?;
        self.refuse_known(&plan.domain, hierarchy::domains(&mut tx).await?.iter())?;
        let domain = Domain {
            id: DomainId::new(tx.now(), self.store.entropy.as_ref())?,
            slug: plan.domain.clone(),
            name: title(&plan.domain).into(),
            created_at: tx.now(),
        };
        hierarchy::insert_domain(&mut tx, &domain).await?;
        let issuers = hierarchy::issuers(&mut tx).await?;
        let name = format!("Chancery {} Root {}", plan.domain, digits(root.own.signer.as_ref()));
        let taken = taken(&mut tx, &issuers).await?;
        let slug = free_slug(&plan.domain, true, &taken.iter().map(String::as_str).collect::<Vec<_>>());
        let place = plan.place(slug, name, &issuers)?;
        let root =
            found_root(&mut tx, &self.publishing(), root, place, IssuerState::Active, plan.root_life, plan.life)
                .await?;
        let issuer =
            found_below(&mut tx, &self.publishing(), &plan, issuing, (&root.issuer, &root.key), &issuers).await?;
        let added = add_missing_profiles(&mut tx, &plan).await?;
        let detail = json!({"domain": domain.slug, "root": root.issuer.slug, "issuer": issuer.issuer.slug,
            "profiles": added, "permit": wanted.permit, "exclude": wanted.exclude});
        tx.audit(AuditEvent::done("domain.created", format!("domain:{}", domain.id), detail));
        self.commit_hierarchy(tx).await?;
        Ok(issuer.issuer.slug)
    }

    async fn make_root(&self, actor: &Actor, wanted: &Wanted) -> Result<String> {
        if !wanted.permit.is_empty() || !wanted.exclude.is_empty() || !wanted.usages.is_empty() {
            return Err(Error::refused(
                ErrorKind::Unprocessable,
                "issuer.root",
                "a root with name constraints or extended key usages",
                "a root without them: the issuers below it have them",
                "leave --permit, --exclude and --eku out, and give them to `chancery ca create DOMAIN --under ROOT`",
            )
            .explained("a root has no name constraints and no extended key usages: the issuers below it have them"));
        }
        if wanted.lifetimes != LifetimesChange::default() {
            return Err(Error::refused(
                ErrorKind::Unprocessable,
                "issuer.root",
                "a root with crl_lifetime or ocsp_lifetime",
                "a root without them: its CRLs are signed for all of its life",
                "leave --crl-lifetime and --ocsp-lifetime out, and give them to `chancery ca create DOMAIN --under ROOT`",
            )
            .explained("a new root takes no crl_lifetime and no ocsp_lifetime: its CRLs are signed for all of its life"));
        }
        let plan = Plan::of(wanted)?;
        self.refuse_unknown(&plan.domain)?;
        self.need(KeyPurpose::Root, "a root")?;
        let keys = self.make_keys(plan.root_key, KeyPurpose::Root).await?;
        let mut tx = self.begin_change(actor).await?;
        tx.raw().lock_installation().await?;
        let issuers = hierarchy::issuers(&mut tx).await?;
        let name = format!("Chancery {} Root {}", plan.domain, digits(keys.own.signer.as_ref()));
        let taken = taken(&mut tx, &issuers).await?;
        let slug = free_slug(&plan.domain, true, &taken.iter().map(String::as_str).collect::<Vec<_>>());
        let place = plan.place(slug, name, &issuers)?;
        let root =
            found_root(&mut tx, &self.publishing(), keys, place, IssuerState::Prepared, plan.root_life, plan.life)
                .await?;
        let detail = json!({"domain": plan.domain, "root": root.issuer.slug, "state": root.issuer.state.name()});
        tx.audit(AuditEvent::done("issuer.created", format!("issuer:{}", root.issuer.id), detail));
        self.commit_hierarchy(tx).await?;
        Ok(root.issuer.slug)
    }

    async fn make_issuer(&self, actor: &Actor, wanted: &Wanted, under: Option<&str>) -> Result<String> {
        let mut plan = Plan::of(wanted)?;
        let above = self.above(&plan, under)?;
        let key = above.key.clone().ok_or_else(|| no_key(&above))?;
        if wanted.usages.is_empty() {
            plan.nest_usages(key.usages());
        }
        let inherited = plan.take_constraints(wanted, &self.snapshot())?;
        check_room(&plan, &above.issuer, &key, self.store.now())?;
        let issuing = self.make_keys(plan.key, KeyPurpose::Issuer).await?;
        let fresh = self.longer_responder(&above, &key, &plan)?;
        let mut tx = self.begin_change(actor).await?;
        tx.raw().lock_installation().await?;
        let issuers = hierarchy::issuers(&mut tx).await?;
        let issuer =
            found_below(&mut tx, &self.publishing(), &plan, issuing, (&above.issuer, &key), &issuers).await?;
        if let Some(own) = fresh {
            add_responder(&mut tx, own, &above.issuer, &key, plan.life).await?;
        }
        let detail = json!({"domain": plan.domain, "issuer": issuer.issuer.slug, "under": above.issuer.slug,
            "permit": wanted.permit, "exclude": wanted.exclude, "constraints_of_domain": inherited});
        tx.audit(AuditEvent::done("issuer.created", format!("issuer:{}", issuer.issuer.id), detail));
        self.commit_hierarchy(tx).await?;
        Ok(issuer.issuer.slug)
    }

    /// The issuer to stand under: the one named, else the domain's root whose key is at hand.
    fn above(&self, plan: &Plan, under: Option<&str>) -> Result<Arc<LoadedIssuer>> {
        self.refuse_unknown(&plan.domain)?;
        let snapshot = self.snapshot();
        let Some(slug) = under else {
            let root = |i: &&Arc<LoadedIssuer>| {
                i.issuer.domain == plan.domain && i.issuer.role == IssuerRole::Root && i.issuer.state.signs()
            };
            let mut roots: Vec<_> = snapshot.issuers.values().filter(root).collect();
            roots.sort_by_key(|i| (i.key.is_some(), i.certificates.first().map(|c| c.not_after)));
            let missing = || Error::not_found(format!("root of trust domain {} here: name --under", plan.domain));
            return roots.pop().cloned().ok_or_else(missing);
        };
        let above = snapshot.issuer(slug)?;
        if above.issuer.domain != plan.domain {
            return Err(Error::refused(
                ErrorKind::Refused,
                "issuer.domain",
                format!("issuer {slug} of trust domain {} for {}", above.issuer.domain, plan.domain),
                format!("an issuer of {}: who trusts a root trusts everything below it", plan.domain),
                "leave --under out, or name a root of this domain",
            )
            .explained(format!(
                "issuer {slug} belongs to trust domain {}, not {}: who trusts a root trusts everything below it",
                above.issuer.domain, plan.domain
            )));
        }
        match above.issuer.state {
            IssuerState::Active | IssuerState::Prepared => Ok(Arc::clone(above)),
            state @ (IssuerState::Retiring | IssuerState::Removed | IssuerState::Revoked) => Err(Error::refused(
                ErrorKind::Refused,
                "issuer.active",
                format!("issuer {slug}, which is {}", state.name()),
                "an active or prepared issuer",
                format!("name another one, or run `chancery ca create {} --new-root`", plan.domain),
            )
            .explained(format!(
                "issuer {slug} is {} and signs no new CA; an active or prepared one does",
                state.name()
            ))),
        }
    }

    /// A delegate for the issuer above when the one that it has ends before what it signs now.
    pub(super) fn longer_responder(
        &self,
        above: &LoadedIssuer,
        key: &IssuerKey,
        plan: &Plan,
    ) -> Result<Option<NewKey>> {
        let until = (self.store.now() + plan.life).min(key.validity().not_after());
        if above.issuer.role != IssuerRole::Root || above.responder.as_ref().is_some_and(|r| r.not_after >= until) {
            return Ok(None);
        }
        let algorithm = super::make::responder_algorithm(key.signer().algorithm());
        NewKey::make(&self.store, self.keys.as_ref(), algorithm, KeyPurpose::Responder).map(Some)
    }

    /// Off the async threads: RSA takes up to a second.
    pub(super) async fn make_keys(&self, algorithm: KeyAlgorithm, purpose: KeyPurpose) -> Result<CaKeys> {
        let (store, keys) = (self.store.clone(), Arc::clone(&self.keys));
        let making = tokio::task::spawn_blocking(move || CaKeys::make(&store, keys.as_ref(), algorithm, purpose));
        making.await.map_err(|e| Error::internal("making a key ended early", e))?
    }

    /// A transaction that changes what clients trust or what CAs publish. Refused while this machine's clock is wrong:
    /// what it dates and decides would hold for everybody.
    pub(in crate::authority) async fn begin_change(&self, actor: &Actor) -> Result<Tx> {
        self.store.check_signing()?;
        self.store.begin(actor).await
    }

    pub(super) async fn commit_hierarchy(&self, mut tx: Tx) -> Result<()> {
        versions::bump(&mut tx, Topic::Hierarchy).await?;
        versions::bump(&mut tx, Topic::Profiles).await?;
        tx.commit().await?;
        self.reload().await
    }

    /// Audits a refusal.
    pub(super) async fn told<T>(
        &self,
        actor: &Actor,
        action: &'static str,
        what: &str,
        made: Result<T>,
    ) -> Result<T> {
        let Err(error) = made else { return made };
        if error.rule.is_some() || matches!(error.kind, ErrorKind::Malformed | ErrorKind::NotFound) {
            let rule = error.rule.as_ref().map(|r| r.name.clone());
            let detail = json!({"asked": shown(what), "why": error.detail, "rule": rule});
            self.store.record(actor, AuditEvent::refused(action, "", detail)).await?;
        }
        Err(error)
    }

    pub(super) fn need(&self, purpose: KeyPurpose, what: &str) -> Result<()> {
        if self.keys.can_open(purpose) {
            return Ok(());
        }
        let sentence =
            format!("{what} needs root.key, which is not loaded here (a server never loads it); {ROOT_KEY}");
        let value = format!("{what} without root.key");
        let error =
            Error::refused(ErrorKind::Conflict, "issuer.root_key", value, "a process that has root.key", ROOT_KEY);
        Err(error.saying(sentence))
    }

    fn refuse_unknown(&self, domain: &str) -> Result<()> {
        let snapshot = self.snapshot();
        if snapshot.domains.iter().any(|d| d.slug == domain) {
            return Ok(());
        }
        let (asked, known) = (shown(domain), snapshot.domains.iter().map(|d| d.slug.as_str()).collect::<Vec<_>>());
        let (known, fix) = (known.join(", "), format!("to make it run `chancery ca create {domain}`"));
        let sentence = format!("trust domain \"{asked}\" does not exist, only {known}; {fix}");
        let value = format!("trust domain \"{asked}\"");
        Err(Error::refused(ErrorKind::Unprocessable, "issuer.domain", value, known, fix).saying(sentence))
    }

    fn refuse_known<'a>(&self, slug: &str, mut domains: impl Iterator<Item = &'a Domain>) -> Result<()> {
        if domains.all(|domain| domain.slug != slug) {
            return Ok(());
        }
        let fix = format!("to add an issuer to it run `chancery ca create {slug} --under {slug}-root`");
        let sentence = format!("trust domain {slug} already exists; {fix}");
        let value = format!("trust domain {slug}");
        let allowed = "a domain that does not exist yet";
        Err(Error::refused(ErrorKind::Conflict, "domain.new", value, allowed, fix).saying(sentence))
    }
}

/// How a command comes by the key of a root.
const ROOT_KEY: &str =
    "run the command on the host that has root.key, with --root-key FILE where it is not in the data directory";

/// How the key of a root comes back that was taken out of the database.
const OFFLINE: &str = "bring it back with `chancery ca root online FILE` and run the command again";

/// Who has the key of an issuer that this process cannot sign with.
pub(in crate::authority) fn no_key(loaded: &LoadedIssuer) -> Error {
    let slug = &loaded.issuer.slug;
    let (wrong, fix) = match (loaded.sealed_key.is_offline(), loaded.issuer.role) {
        (true, _) => (format!("the key of {slug} is offline: it was taken out of the database"), OFFLINE),
        (false, IssuerRole::Root) => (
            format!("the key of root {slug} cannot be opened here without root.key (a server never loads it)"),
            ROOT_KEY,
        ),
        (false, IssuerRole::Issuing) => {
            (format!("the key of {slug} is not loaded here"), "run the command where the unlock key can be read")
        }
    };
    let value = format!("issuer {slug}, whose key is not loaded");
    Error::refused(ErrorKind::Conflict, "issuer.root_key", value, "an issuer whose key is loaded", fix)
        .explained(wrong)
}

impl Plan {
    pub(super) fn place(&self, slug: String, name: String, issuers: &[Issuer]) -> Result<Place> {
        let newest = issuers.iter().max_by_key(|i| i.created_at).map(|i| i.status_url.clone());
        let status_url = self.status_url.clone().or(newest);
        let status_url = status_url.ok_or_else(|| Error::inconsistent("an installation without any issuer"))?;
        Ok(Place { domain: self.domain.clone(), slug, name, status_url })
    }
}

async fn found_below(
    tx: &mut Tx,
    publishing: &Publishing<'_>,
    plan: &Plan,
    keys: CaKeys,
    above: (&Issuer, &IssuerKey),
    issuers: &[Issuer],
) -> Result<Ready> {
    let taken = taken(tx, issuers).await?;
    let slug = free_slug(&plan.domain, false, &taken.iter().map(String::as_str).collect::<Vec<_>>());
    let number = slug.rsplit('-').next().unwrap_or_default();
    let name = format!("Chancery {} Issuing {number}", plan.domain);
    let place = plan.place(slug.clone(), name, issuers)?;
    let powers = Powers { usages: &plan.usages, constraints: plan.constraints.as_deref(), life: plan.life };
    let publishing = publishing.lasting(SetLifetimes::default().changed(plan.lifetimes).resolved());
    let made = found_issuing(tx, &publishing, keys, place, above, &powers).await?;
    status_lifetimes::write(tx, &made.issuer, plan.lifetimes).await?;
    Ok(made)
}

/// Slugs that an issuer has, or that wait for one.
pub(super) async fn taken(tx: &mut Tx, issuers: &[Issuer]) -> Result<Vec<String>> {
    let waiting = hierarchy::requests(&mut *tx).await?.into_iter().map(|r| r.slug);
    Ok(issuers.iter().map(|i| i.slug.clone()).chain(waiting).collect())
}

pub(super) async fn add_missing_profiles(tx: &mut Tx, plan: &Plan) -> Result<Vec<String>> {
    let known: Vec<_> = profiles::list(&mut *tx).await?.into_iter().map(|p| p.slug).collect();
    let mut added = Vec::new();
    for config in plan.profiles().into_iter().filter(|c| !known.contains(&c.name)) {
        add_profile(tx, &config).await?;
        added.push(config.name);
    }
    Ok(added)
}

/// What the issuer above leaves room for: a CA below it, these usages, this long.
fn check_room(plan: &Plan, above: &Issuer, key: &IssuerKey, now: Timestamp) -> Result<()> {
    let slug = &above.slug;
    if let Some((0, limit)) = key.path().path_len() {
        return Err(Error::refused(
            ErrorKind::Refused,
            "issuer.path_len",
            format!("issuer {slug}, below which {} allows no CA", limit.described()),
            "an issuer whose path length leaves room for a CA below it (RFC 5280 §4.2.1.9)",
            format!("name a root, such as --under {}-root", above.domain),
        )
        .explained(format!(
            "the path length of {} allows no CA below issuer {slug} (RFC 5280 §4.2.1.9)",
            limit.described()
        )));
    }
    let usages: Vec<_> = plan.usages.iter().map(|usage| usage.oid()).collect();
    key.path().check_usages(&usages)?;
    if let Some(value) = &plan.constraints {
        let constraints = NameConstraints::parse(value);
        let unreadable = |e| Error::inconsistent("the name constraints of a new issuer cannot be read").because(e);
        key.path().check_permits(&constraints.map_err(unreadable)?)?;
    }
    let end = key.validity().not_after();
    if plan.exact && now + plan.life > end {
        return Err(Error::refused(
            ErrorKind::Refused,
            "issuer.years",
            now + plan.life,
            format!("until {end}, when issuer {slug} ends"),
            "ask for fewer years, or leave them out to expire with it",
        )
        .explained(format!(
            "the new CA would expire at {}, after issuer {slug} above it, which expires at {end}",
            now + plan.life
        )));
    }
    Ok(())
}
