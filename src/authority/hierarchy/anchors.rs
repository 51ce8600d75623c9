//! `ca anchor`: CA certificates of others in the bundle of a domain. Clients that fetch the bundle trust whatever stands
//! below such a root, so that one enters by an explicit command alone.

use serde_json::json;

use super::import::{anchor_of, fingerprint};
use crate::authority::Authority;
use crate::authority::chain::Chain;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::identifier::shown;
use crate::model::issuer::{Anchor, AnchorStanding};
use crate::model::serial::to_hex;
use crate::pki::ca_certificate::CaCertificate;
use crate::store::{certificates, hierarchy};

/// The issuers and certificates of a trust domain that depend on another CA's root in its bundle. Certificates that this root
/// signed elsewhere are unknown here and not counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorDependents {
    pub name: String,
    /// Issuers with a way up to it.
    pub issuers: Vec<String>,
    /// Those of them that no other root of the bundle stands above: without it they sign nothing.
    pub only_here: Vec<String>,
    /// Certificates of these issuers that are valid now.
    pub valid_certificates: i64,
}

impl Authority {
    /// What depends on a root of others that could leave the bundle of a domain. Refuses one that cannot.
    pub async fn anchor_dependents(&self, domain: &str, print: &[u8; 32]) -> Result<AnchorDependents> {
        self.reload().await?;
        let (snapshot, now) = (self.snapshot(), self.store.now());
        let root = self.removable(domain, print, &snapshot.anchors)?;
        let (mut issuers, mut only_here, mut valid) = (Vec::new(), Vec::new(), 0);
        for loaded in snapshot.issuers.values().filter(|i| i.issuer.domain == domain) {
            let ends_here = |chain: &&Chain| chain.path().cas().last().is_some_and(|end| end.is_same_ca(&root));
            if !loaded.chains.iter().any(|chain| ends_here(&chain)) {
                continue;
            }
            if !loaded.chains.iter().any(|chain| chain.ends_in_bundle() && !ends_here(&chain)) {
                only_here.push(loaded.issuer.slug.clone());
            }
            valid += certificates::count_valid_of(&self.store, loaded.issuer.id, now).await?;
            issuers.push(loaded.issuer.slug.clone());
        }
        Ok(AnchorDependents { name: root.name(), issuers, only_here, valid_certificates: valid })
    }

    /// The root of others with this fingerprint, unless it is the only root of the bundle.
    fn removable(&self, domain: &str, print: &[u8; 32], anchors: &[Anchor]) -> Result<CaCertificate> {
        self.domain_exists(domain)?;
        let found = anchors.iter().find(|a| a.domain == domain && fingerprint(&a.der) == *print);
        let found = found.filter(|anchor| anchor.standing.is_trusted());
        let missing = || Error::not_found(format!("root {} of others in bundle {domain}", to_hex(print)));
        let root = CaCertificate::read(&found.ok_or_else(missing)?.der)?;
        if !self.snapshot().roots(domain).iter().any(|der| *der != root.der.as_slice()) {
            let value = format!("{}, the only root of bundle {domain}", root.described());
            let wrong = format!("{} is the only root of bundle {domain}, and clients need one", root.described());
            let fix = "add its successor first";
            return Err(refuse("anchor.last", value, "a bundle with one root at least", wrong, fix));
        }
        Ok(root)
    }

    /// Puts a root of others into the bundle of a domain. Returns its name.
    pub async fn add_anchor(&self, actor: &Actor, domain: &str, der: &[u8]) -> Result<String> {
        let added = self.anchor_added(actor, domain, der).await;
        self.told(actor, "anchor.refused", domain, added).await
    }

    /// Takes a root of others out of the bundle of a domain; chains through it stay alternates.
    pub async fn remove_anchor(&self, actor: &Actor, domain: &str, fingerprint: &[u8; 32]) -> Result<String> {
        let removed = self.anchor_removed(actor, domain, fingerprint).await;
        self.told(actor, "anchor.refused", domain, removed).await
    }

    async fn anchor_added(&self, actor: &Actor, domain: &str, der: &[u8]) -> Result<String> {
        self.domain_exists(domain)?;
        let root = CaCertificate::read(der)?;
        if !root.is_root() {
            let wrong = format!("{} did not sign itself, so it is no root", root.name());
            return Err(refuse(
                "anchor.root",
                root.name(),
                "a root, which signed itself",
                wrong,
                "give the root above it",
            ));
        }
        root.check_time(self.store.now())?;
        root.check_extensions()?;
        let print = fingerprint(der);
        let mut tx = self.begin_change(actor).await?;
        tx.raw().lock_installation().await?;
        let known = hierarchy::anchors(&mut tx).await?.into_iter().find(|a| a.domain == domain && a.der == der);
        let confirmed = known.as_ref().map(|anchor| anchor.standing);
        if matches!(confirmed, Some(AnchorStanding::Added | AnchorStanding::Home)) || self.is_own_root(domain, der) {
            let value = format!("{}, which is in bundle {domain}", root.described());
            let wrong = format!("{} is in bundle {domain} already", root.described());
            return Err(refuse("anchor.new", value, "a root that is not in it", wrong, "nothing needs to be done"));
        }
        if known.is_some() {
            hierarchy::set_anchor_standing(&mut tx, domain, &print, AnchorStanding::Added).await?;
        } else {
            hierarchy::insert_anchor(&mut tx, &anchor_of(domain, AnchorStanding::Added, &root), &print).await?;
        }
        let detail = json!({"domain": domain, "subject": root.name(), "sha256": to_hex(&print)});
        tx.audit(AuditEvent::done("anchor.added", format!("domain:{domain}"), detail));
        self.commit_hierarchy(tx).await?;
        Ok(root.name())
    }

    async fn anchor_removed(&self, actor: &Actor, domain: &str, print: &[u8; 32]) -> Result<String> {
        let mut tx = self.begin_change(actor).await?;
        tx.raw().lock_installation().await?;
        let anchors = hierarchy::anchors(&mut tx).await?;
        let root = self.removable(domain, print, &anchors)?;
        hierarchy::set_anchor_standing(&mut tx, domain, print, AnchorStanding::Chain).await?;
        let detail = json!({"domain": domain, "subject": root.name(), "sha256": to_hex(print)});
        tx.audit(AuditEvent::done("anchor.removed", format!("domain:{domain}"), detail));
        self.commit_hierarchy(tx).await?;
        Ok(root.name())
    }

    fn domain_exists(&self, domain: &str) -> Result<()> {
        let known = self.snapshot().domains.iter().any(|d| d.slug == domain);
        if known { Ok(()) } else { Err(Error::not_found(format!("trust domain \"{}\"", shown(domain)))) }
    }

    fn is_own_root(&self, domain: &str, der: &[u8]) -> bool {
        let snapshot = self.snapshot();
        snapshot.issuers.values().any(|i| i.issuer.domain == domain && i.certificates.iter().any(|c| c.der == der))
    }
}

fn refuse(rule: &str, value: String, allowed: &str, wrong: String, fix: &str) -> Error {
    Error::refused(ErrorKind::Unprocessable, rule, value, allowed, fix).explained(wrong)
}
