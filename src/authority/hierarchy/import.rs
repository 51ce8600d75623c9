//! `ca import` and `ca install`: CA certificates that others made. An import brings its key; an install answers a CSR of
//! ours, or adds a certificate (renewed, cross-signed) to an issuer that is there. Everything is judged before the
//! transaction; names and keys are kept byte for byte.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;

use super::create::{add_missing_profiles, taken};
use super::crls::inherit;
use super::make::{
    NewKey, Place, RESPONDER_LIFE, ROOT_RESPONDER_LIFE, add_responder, is_first_signer, new_issuer,
    responder_algorithm,
};
use super::plan::{Plan, Wanted, check_issuer_slug, free_slug, title};
use crate::authority::Authority;
use crate::authority::crl::{sign_first, sign_root_series};
use crate::authority::snapshot::Snapshot;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::{DomainId, IssuerCertificateId, IssuerId, KeyId};
use crate::model::issuer::{Anchor, AnchorStanding, Domain, Issuer, IssuerCertificate, IssuerRole};
use crate::pki::ca_certificate::CaCertificate;
use crate::pki::issuer::IssuerKey;
use crate::pki::path::IssuingPath;
use crate::pki::path_finder;
use crate::pki::signer::{KeyPurpose, SealedKey};
use crate::store::{Tx, hierarchy};

/// A CA of others with its key.
pub struct Import {
    pub domain: String,
    /// Slug; the next of the domain when absent.
    pub name: Option<String>,
    /// Certificates in DER in any order: that of the key, and those above it.
    pub certificates: Vec<Vec<u8>>,
    /// PKCS#8.
    pub key: zeroize::Zeroizing<Vec<u8>>,
    pub status_url: Option<String>,
    /// The last CRL that it signed elsewhere, in DER: who was revoked stays so, and the numbers go on.
    pub crl: Option<Vec<u8>>,
}

/// A certificate that is judged, with its path up to a root.
pub(super) struct Judged {
    pub own: CaCertificate,
    pub path: IssuingPath,
}

impl Judged {
    /// The certificates above, the root last.
    pub fn above(&self) -> &[CaCertificate] {
        self.path.cas().get(1..).unwrap_or_default()
    }
}

/// By which command a CA certificate comes, for the way out of a refusal.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arrival {
    /// `ca import`, which names the trust domain.
    Import,
    /// `ca install`: the CSR was made for a trust domain.
    Install,
}

impl Arrival {
    fn choose_domain(self) -> &'static str {
        match self {
            Arrival::Import => "name the trust domain that it is for: `chancery ca import FILE --domain DOMAIN`",
            Arrival::Install => {
                "have a CSR for the trust domain that it is for signed: `chancery ca csr DOMAIN`, or have the CA sign the CSR \
                 with the usages that it asks for"
            }
        }
    }

    fn own_domain(self, domain: &str) -> String {
        let other = match self {
            Arrival::Import => "give it a trust domain of its own, `chancery ca import FILE --domain OTHER`",
            Arrival::Install => "have a CSR of a trust domain of its own signed, `chancery ca csr OTHER`",
        };
        format!("{other}, or let every client of {domain} trust that root: `chancery ca anchor add {domain} FILE`")
    }
}

/// What an issuer had before it was one here.
#[derive(Default)]
pub(super) struct Earlier<'a> {
    /// Of the request that it answers.
    pub id: Option<IssuerId>,
    pub crl: Option<&'a [u8]>,
}

impl Authority {
    /// Takes over a CA. Returns its slug.
    pub async fn import_issuer(&self, actor: &Actor, import: Import) -> Result<String> {
        let domain = import.domain.clone();
        let made = self.import(actor, import).await;
        self.told(actor, "issuer.refused", &domain, made).await
    }

    async fn import(&self, actor: &Actor, import: Import) -> Result<String> {
        let Import { domain, name, certificates, key, status_url, crl } = import;
        let plan = Plan::of(&Wanted { domain, status_url, ..Wanted::default() })?;
        name.as_deref().map(check_issuer_slug).transpose()?;
        let certificates = read_all(&certificates)?;
        let id = KeyId::new(self.store.now(), self.store.entropy.as_ref())?;
        // sealed under the purpose that its certificate tells; the public key is read first
        let probe = self.keys.import(id, KeyPurpose::Issuer, &key)?;
        let judged = self.judge(&plan, certificates, &probe.public_key, Arrival::Import)?;
        self.refuse_unknown_root(&plan.domain, &judged, Arrival::Import)?;
        self.refuse_known_key(&probe.public_key)?;
        let purpose = if judged.own.is_root() { KeyPurpose::Root } else { KeyPurpose::Issuer };
        if purpose == KeyPurpose::Root {
            self.need(KeyPurpose::Root, "the key of a root")?;
        }
        let sealed = if purpose == KeyPurpose::Root { self.keys.import(id, purpose, &key)? } else { probe };
        let mut tx = self.begin_change(actor).await?;
        tx.raw().lock_installation().await?;
        ensure_domain(&mut tx, &plan).await?;
        let issuers = hierarchy::issuers(&mut tx).await?;
        let taken = taken(&mut tx, &issuers).await?;
        let taken: Vec<&str> = taken.iter().map(String::as_str).collect();
        let slug = match name {
            Some(name) if taken.contains(&name.as_str()) => return Err(slug_taken(&name)),
            Some(name) => name,
            None => free_slug(&plan.domain, judged.own.is_root(), &taken),
        };
        let place = plan.place(slug, judged.own.name(), &issuers)?;
        let now = tx.now();
        hierarchy::insert_key(&mut tx, &sealed, now).await?;
        let issuer =
            self.adopt(&mut tx, place, &judged, sealed, Earlier { id: None, crl: crl.as_deref() }, &issuers).await?;
        let detail = json!({"domain": issuer.domain, "issuer": issuer.slug, "role": issuer.role.name(), "subject": issuer.name});
        tx.audit(AuditEvent::done("issuer.imported", format!("issuer:{}", issuer.id), detail));
        self.commit_hierarchy(tx).await?;
        Ok(issuer.slug)
    }

    /// The certificate of this key among those given, and its path up to a root: through those given, the issuers of the
    /// domain, and what stands above them.
    pub(super) fn judge(
        &self,
        plan: &Plan,
        mut certificates: Vec<CaCertificate>,
        spki: &[u8],
        arrival: Arrival,
    ) -> Result<Judged> {
        let now = self.store.now();
        let at = certificates.iter().position(|certificate| certificate.spki == spki).ok_or_else(|| {
            let names: Vec<_> = certificates.iter().map(CaCertificate::name).collect();
            Error::refused(
                ErrorKind::Unprocessable,
                "issuer.key",
                format!("a private key that belongs to none of: {}", names.join(", ")),
                "the key of the CA certificate",
                "give the key and the certificate of one CA",
            )
            .explained(format!("the private key belongs to none of these certificates: {}", names.join(", ")))
        })?;
        let own = certificates.swap_remove(at);
        own.check_time(now)?;
        let wanted = |usage: &crate::pki::profile::ExtendedKeyUsage| own.usages.contains(&usage.oid());
        if !own.usages.is_empty() && !plan.usages.iter().any(wanted) {
            let names: Vec<_> = plan.usages.iter().map(|usage| usage.name()).collect();
            return Err(Error::refused(
                ErrorKind::Unprocessable,
                "issuer.extended_key_usage",
                format!("{}, whose usages are none of those of trust domain {}", own.name(), plan.domain),
                names.join(" or "),
                arrival.choose_domain(),
            )
            .explained(format!(
                "{} has none of the extended key usages of trust domain {}: {}",
                own.name(),
                plan.domain,
                names.join(", ")
            )));
        }
        let snapshot = self.snapshot();
        for der in snapshot.ca_certificates(&plan.domain) {
            certificates.push(CaCertificate::read(der)?);
        }
        let path = path_finder::best(&own, &certificates, now)?;
        path.check_own_permits()?;
        Ok(Judged { own, path })
    }

    /// The rows of an issuer whose key is stored: itself, its certificate, what stands above it, its delegate, and its
    /// CRLs.
    pub(super) async fn adopt(
        &self,
        tx: &mut Tx,
        place: Place,
        judged: &Judged,
        key: SealedKey,
        earlier: Earlier<'_>,
        issuers: &[Issuer],
    ) -> Result<Issuer> {
        let role = if judged.own.is_root() { IssuerRole::Root } else { IssuerRole::Issuing };
        let parent = self.parent_of(judged, issuers);
        let mut issuer = new_issuer(tx, place, role, key.id, parent)?;
        issuer.id = earlier.id.unwrap_or(issuer.id);
        issuer.is_default = is_first_signer(tx, &issuer).await?;
        hierarchy::insert_issuer(&mut *tx, &issuer).await?;
        add_foreign(tx, &issuer, judged).await?;
        if let Some(crl) = earlier.crl {
            issuer.crl_counter = inherit(tx, &issuer, &judged.own, crl).await?;
        }
        let signer = self.keys.open(&key)?;
        let own = IssuerKey::new(&issuer, judged.path.clone(), signer)?;
        let algorithm = responder_algorithm(own.signer().algorithm());
        let responder = NewKey::make(&self.store, self.keys.as_ref(), algorithm, KeyPurpose::Responder)?;
        let life = if role == IssuerRole::Root { ROOT_RESPONDER_LIFE } else { RESPONDER_LIFE };
        add_responder(tx, responder, &issuer, &own, life).await?;
        match role {
            IssuerRole::Root => sign_root_series(tx, &self.publishing(), &issuer, &own).await?,
            IssuerRole::Issuing => sign_first(tx, &self.publishing(), &issuer, &own).await?,
        }
        Ok(issuer)
    }

    /// Clients of a domain trust the roots of its bundle: an issuer below another root would sign what they refuse.
    pub(super) fn refuse_unknown_root(&self, domain: &str, judged: &Judged, arrival: Arrival) -> Result<()> {
        let snapshot = self.snapshot();
        let Some(root) = judged.path.cas().last().filter(|_| !judged.own.is_root()) else { return Ok(()) };
        let trusted = trusted_roots(&snapshot, domain);
        if trusted.is_empty() || trusted.iter().any(|own| own.is_same_ca(root)) {
            return Ok(());
        }
        let names: Vec<_> = trusted.iter().map(CaCertificate::name).collect();
        Err(Error::refused(
            ErrorKind::Unprocessable,
            "issuer.root",
            format!(
                "{} under {}, which clients of trust domain {domain} do not trust",
                judged.own.name(),
                root.described()
            ),
            format!("an issuer under {}", names.join(" or ")),
            arrival.own_domain(domain),
        )
        .explained(format!(
            "{} stands under {}, and clients of trust domain {domain} trust only {}",
            judged.own.name(),
            root.described(),
            names.join(" and ")
        )))
    }

    fn parent_of(&self, judged: &Judged, issuers: &[Issuer]) -> Option<IssuerId> {
        let above = judged.above().first()?;
        let snapshot = self.snapshot();
        let ours = snapshot.issuers.values().find(|i| i.sealed_key.public_key == above.spki)?;
        issuers.iter().find(|i| i.id == ours.issuer.id).map(|i| i.id)
    }

    fn refuse_known_key(&self, spki: &[u8]) -> Result<()> {
        let snapshot = self.snapshot();
        let Some(known) = snapshot.issuers.values().find(|i| i.sealed_key.public_key == spki) else { return Ok(()) };
        let slug = &known.issuer.slug;
        Err(Error::refused(
            ErrorKind::Conflict,
            "issuer.new",
            format!("the key of issuer {slug}, which is there"),
            "a CA that is not here yet",
            format!("for one more certificate of {slug} run `chancery ca install`"),
        )
        .explained(format!("issuer {slug} has this key already")))
    }
}

pub(super) fn read_all(certificates: &[Vec<u8>]) -> Result<Vec<CaCertificate>> {
    certificates.iter().map(|der| CaCertificate::read(der)).collect()
}

/// Makes the domain with its profiles when it is not there.
pub(super) async fn ensure_domain(tx: &mut Tx, plan: &Plan) -> Result<()> {
    if hierarchy::domains(&mut *tx).await?.iter().any(|d| d.slug == plan.domain) {
        return Ok(());
    }
    let now = tx.now();
    let domain = Domain {
        id: DomainId::new(now, tx.store().entropy.as_ref())?,
        slug: plan.domain.clone(),
        name: title(&plan.domain).into(),
        created_at: now,
    };
    hierarchy::insert_domain(&mut *tx, &domain).await?;
    let profiles = add_missing_profiles(tx, plan).await?;
    let detail = json!({"domain": domain.slug, "profiles": profiles});
    tx.audit(AuditEvent::done("domain.created", format!("domain:{}", domain.id), detail));
    Ok(())
}

/// The certificate of an issuer that another CA made, and what stands above it.
pub(super) async fn add_foreign(tx: &mut Tx, issuer: &Issuer, judged: &Judged) -> Result<()> {
    let certificate = IssuerCertificate {
        id: IssuerCertificateId::new(tx.now(), tx.store().entropy.as_ref())?,
        issuer_id: issuer.id,
        certificate_id: None,
        der: judged.own.der.clone(),
        not_before: judged.own.validity.not_before(),
        not_after: judged.own.validity.not_after(),
        created_at: tx.now(),
    };
    hierarchy::insert_issuer_certificate(&mut *tx, &certificate).await?;
    let of_domain: Vec<_> =
        hierarchy::issuers(&mut *tx).await?.into_iter().filter(|i| i.domain == issuer.domain).collect();
    let ours = hierarchy::issuer_certificates(&mut *tx).await?;
    let trusted = trusted_in(tx, &of_domain, &ours, &issuer.domain).await?;
    let is_ours = |der: &[u8]| ours.iter().any(|c| c.der == der && of_domain.iter().any(|i| i.id == c.issuer_id));
    for above in judged.above().iter().filter(|above| !is_ours(&above.der)) {
        let known = |root: &CaCertificate| trusted.iter().any(|own| own.is_same_ca(root));
        let standing = match above.is_root() && (trusted.is_empty() || known(above)) {
            true => AnchorStanding::Home,
            false => AnchorStanding::Chain,
        };
        hierarchy::insert_anchor(tx, &anchor_of(&issuer.domain, standing, above), &fingerprint(&above.der)).await?;
    }
    Ok(())
}

pub(super) fn anchor_of(domain: &str, standing: AnchorStanding, ca: &CaCertificate) -> Anchor {
    Anchor {
        domain: domain.to_owned(),
        standing,
        der: ca.der.clone(),
        not_before: ca.validity.not_before(),
        not_after: ca.validity.not_after(),
    }
}

/// SHA-256 of a certificate in DER.
pub fn fingerprint(der: &[u8]) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest(&SHA256, der).as_ref());
    fingerprint
}

/// The roots that clients of a domain trust.
fn trusted_roots(snapshot: &Snapshot, domain: &str) -> Vec<CaCertificate> {
    snapshot.roots(domain).into_iter().filter_map(|der| CaCertificate::read(der).ok()).collect()
}

/// The same as this transaction sees it.
async fn trusted_in(
    tx: &mut Tx,
    issuers: &[Issuer],
    certificates: &[IssuerCertificate],
    domain: &str,
) -> Result<Vec<CaCertificate>> {
    let is_root = |id| issuers.iter().any(|i| i.id == id && i.role == IssuerRole::Root);
    let own = certificates.iter().filter(|c| is_root(c.issuer_id)).map(|c| c.der.clone());
    let anchors = hierarchy::anchors(&mut *tx).await?;
    let others = anchors.into_iter().filter(|a| a.domain == domain && a.standing.is_trusted()).map(|a| a.der);
    let all = own.chain(others).filter_map(|der| CaCertificate::read(&der).ok());
    Ok(all.filter(CaCertificate::is_root).collect())
}

fn slug_taken(name: &str) -> Error {
    Error::refused(
        ErrorKind::Conflict,
        "issuer.slug",
        format!("\"{name}\", which an issuer has"),
        "a name that no issuer ever had",
        "choose another one with --name, or leave it out",
    )
    .explained(format!("an issuer is or was named \"{name}\" already"))
}
