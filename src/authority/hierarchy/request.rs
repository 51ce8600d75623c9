//! `ca csr` and `ca install`: an issuer whose certificate a CA elsewhere signs (a corporate root). The key is made here
//! and never leaves; the request holds it, and the slug, until the certificate comes. For an issuer that is there the
//! same two commands renew or cross-sign its certificate.

use serde_json::json;

use super::create::taken;
use super::import::{Arrival, Earlier, Judged, add_foreign, ensure_domain, read_all};
use super::make::NewKey;
use super::plan::{Plan, Wanted, free_slug};
use crate::authority::Authority;
use crate::authority::snapshot::LoadedIssuer;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::IssuerId;
use crate::model::issuer::{IssuerRequest, IssuerState};
use crate::model::serial::to_hex;
use crate::pki::ca_certificate::CaCertificate;
use crate::pki::ca_request;
use crate::pki::name::{DistinguishedName, SubjectFields};
use crate::pki::profile::ExtendedKeyUsage;
use crate::pki::signer::KeyPurpose;
use crate::pki::tbs::key_identifier;
use crate::store::hierarchy;

impl Authority {
    /// A CSR for a new issuer of a domain, in DER. `subject` is its name; one of ours when absent.
    pub async fn request_issuer(
        &self,
        actor: &Actor,
        wanted: &Wanted,
        subject: Option<SubjectFields>,
    ) -> Result<IssuerRequest> {
        let made = self.request_new(actor, wanted, subject).await;
        self.told(actor, "issuer.refused", &wanted.domain, made).await
    }

    /// A CSR for one more certificate of an issuer that is there: the same name, key and usages.
    pub async fn request_again(&self, actor: &Actor, slug: &str) -> Result<Vec<u8>> {
        let snapshot = self.snapshot();
        let issuer = snapshot.issuer(slug)?;
        super::renew::refuse_revoked(issuer)?;
        let key = issuer.key.clone().ok_or_else(|| super::create::no_key(issuer))?;
        let kept = ExtendedKeyUsage::ALL.into_iter().filter(|usage| *usage != ExtendedKeyUsage::OcspSigning);
        let usages: Vec<_> = kept.filter(|usage| key.usages().contains(&usage.oid())).collect();
        let csr = ca_request::build(key.subject(), key.key_id(), key.signer().as_ref(), &usages).await?;
        let event =
            AuditEvent::done("issuer.requested", format!("issuer:{}", issuer.issuer.id), json!({"issuer": slug}));
        self.store.record(actor, event).await?;
        Ok(csr)
    }

    async fn request_new(
        &self,
        actor: &Actor,
        wanted: &Wanted,
        subject: Option<SubjectFields>,
    ) -> Result<IssuerRequest> {
        if !wanted.permit.is_empty() || !wanted.exclude.is_empty() || wanted.years.is_some() {
            return Err(Error::refused(
                ErrorKind::Unprocessable,
                "issuer.request",
                "name constraints or years in a request",
                "the key, its usages and its name: the CA that signs decides the rest",
                "leave --permit, --exclude and --years out",
            ).explained("a request for a CA certificate has no name constraints and no years: the CA that signs it decides them"));
        }
        let plan = Plan::of(wanted)?;
        let (store, keys, algorithm) = (self.store.clone(), self.keys.clone(), plan.key);
        let making =
            tokio::task::spawn_blocking(move || NewKey::make(&store, keys.as_ref(), algorithm, KeyPurpose::Issuer));
        let key = making.await.map_err(|e| Error::internal("making a key ended early", e))??;
        let mut tx = self.begin_change(actor).await?;
        tx.raw().lock_installation().await?;
        let issuers = hierarchy::issuers(&mut tx).await?;
        let taken = taken(&mut tx, &issuers).await?;
        let taken: Vec<&str> = taken.iter().map(String::as_str).collect();
        if taken.contains(&plan.domain.as_str()) {
            return Err(Error::refused(
                ErrorKind::Conflict,
                "domain.name",
                format!("\"{}\", the name of an issuer", plan.domain),
                "the name of a trust domain",
                format!("for one more certificate of that issuer run `chancery ca csr --issuer {}`", plan.domain),
            )
            .explained(format!(
                "{} is an issuer, and a CSR for a new issuer is made for a trust domain",
                plan.domain
            )));
        }
        let slug = free_slug(&plan.domain, false, &taken);
        let number = slug.rsplit('-').next().unwrap_or_default();
        let own = || SubjectFields::common_name(format!("Chancery {} Issuing {number}", plan.domain));
        let subject = DistinguishedName::build(&subject.unwrap_or_else(own)).map_err(|e| {
            let sentence = e.to_string();
            Error::refused(ErrorKind::Unprocessable, "issuer.subject", e.value, e.why, "choose another name")
                .explained(sentence)
        })?;
        let place = plan.place(slug.clone(), String::new(), &issuers)?;
        let key_id = key_identifier(key.signer.public_key());
        let key_id = key_id.map_err(|e| Error::internal("the public key of a new issuer cannot be read", e))?;
        let request = IssuerRequest {
            id: IssuerId::new(tx.now(), self.store.entropy.as_ref())?,
            slug,
            domain: plan.domain.clone(),
            key_id: key.sealed.id,
            status_url: place.status_url,
            csr: ca_request::build(subject.as_der(), &key_id, key.signer.as_ref(), &plan.usages).await?,
            created_at: tx.now(),
        };
        key.store(&mut tx).await?;
        hierarchy::insert_request(&mut tx, &request).await?;
        let detail = json!({"domain": request.domain, "issuer": request.slug, "subject": subject.to_string()});
        tx.audit(AuditEvent::done("issuer.requested", format!("issuer:{}", request.id), detail));
        tx.commit().await?;
        Ok(request)
    }

    /// Takes the certificate that a CA elsewhere made for a request, or for an issuer that is there. Returns the slug.
    pub async fn install_issuer(&self, actor: &Actor, certificates: &[Vec<u8>]) -> Result<String> {
        let made = self.install(actor, certificates).await;
        self.told(actor, "issuer.refused", "install", made).await
    }

    async fn install(&self, actor: &Actor, certificates: &[Vec<u8>]) -> Result<String> {
        let certificates = read_all(certificates)?;
        let snapshot = self.snapshot();
        let of_issuer = |i: &&std::sync::Arc<LoadedIssuer>| {
            certificates.iter().any(|c| c.spki == i.sealed_key.public_key && c.subject == i.subject())
        };
        for request in hierarchy::requests(&self.store).await? {
            let key = hierarchy::key(&self.store, request.key_id).await?;
            let key =
                key.ok_or_else(|| Error::inconsistent(format!("the key of request {} is missing", request.slug)))?;
            if certificates.iter().any(|c| c.spki == key.public_key) {
                return self.answer(actor, request, certificates, key).await;
            }
        }
        if let Some(issuer) = snapshot.issuers.values().find(of_issuer) {
            return self.add_certificate_to(actor, issuer, certificates).await;
        }
        let names: Vec<_> = certificates.iter().map(CaCertificate::name).collect();
        Err(Error::refused(
            ErrorKind::Unprocessable,
            "issuer.key",
            format!("no certificate of a key that was made here: {}", names.join(", ")),
            "the certificate for a CSR of `chancery ca csr`, or for the name and key of an issuer that is there",
            "check that the CA signed the last CSR; a CA with its own key is taken by `chancery ca import`",
        )
        .explained(format!("none of these certificates has a key that was made here: {}", names.join(", "))))
    }

    async fn answer(
        &self,
        actor: &Actor,
        request: IssuerRequest,
        certificates: Vec<CaCertificate>,
        key: crate::pki::signer::SealedKey,
    ) -> Result<String> {
        let plan = Plan::of(&Wanted { domain: request.domain.clone(), ..Wanted::default() })?;
        let judged = self.judge(&plan, certificates, &key.public_key, Arrival::Install)?;
        refuse_self_signed(&judged)?;
        self.refuse_unknown_root(&plan.domain, &judged, Arrival::Install)?;
        self.need(KeyPurpose::Issuer, "the key of an issuer")?;
        let mut tx = self.begin_change(actor).await?;
        tx.raw().lock_installation().await?;
        if !hierarchy::delete_request(&mut tx, request.id).await? {
            return Err(Error::new(ErrorKind::Conflict, "this request was answered meanwhile"));
        }
        ensure_domain(&mut tx, &plan).await?;
        let issuers = hierarchy::issuers(&mut tx).await?;
        let mut place = plan.place(request.slug, judged.own.name(), &issuers)?;
        place.status_url = request.status_url;
        let issuer =
            self.adopt(&mut tx, place, &judged, key, Earlier { id: Some(request.id), crl: None }, &issuers).await?;
        let detail = json!({"domain": issuer.domain, "issuer": issuer.slug, "subject": issuer.name});
        tx.audit(AuditEvent::done("issuer.installed", format!("issuer:{}", issuer.id), detail));
        self.commit_hierarchy(tx).await?;
        Ok(issuer.slug)
    }

    async fn add_certificate_to(
        &self,
        actor: &Actor,
        to: &LoadedIssuer,
        certificates: Vec<CaCertificate>,
    ) -> Result<String> {
        let issuer = &to.issuer;
        // a CA elsewhere may certify a key again whose older certificate it revoked
        if to.stored_state == IssuerState::Revoked {
            super::renew::refuse_revoked(to)?;
        }
        let plan = Plan::of(&Wanted { domain: issuer.domain.clone(), ..Wanted::default() })?;
        let judged = self.judge(&plan, certificates, &to.sealed_key.public_key, Arrival::Install)?;
        check_key_id(to, &judged.own)?;
        if to.certificates.iter().any(|c| c.der == judged.own.der) {
            return Err(Error::refused(
                ErrorKind::Conflict,
                "issuer.certificate",
                format!("a certificate that issuer {} has", issuer.slug),
                "a new one",
                "nothing needs to be done",
            )
            .explained(format!("issuer {} has this certificate already", issuer.slug)));
        }
        let mut tx = self.begin_change(actor).await?;
        tx.raw().lock_installation().await?;
        add_foreign(&mut tx, issuer, &judged).await?;
        let detail = json!({"issuer": issuer.slug, "not_after": judged.own.validity.not_after()});
        tx.audit(AuditEvent::done("issuer.certificate_added", format!("issuer:{}", issuer.id), detail));
        self.commit_hierarchy(tx).await?;
        Ok(issuer.slug.clone())
    }
}

/// What an issuer signed names its key identifier; below a certificate with another one verifiers find no way up
/// (RFC 5280 §4.2.1.1).
fn check_key_id(to: &LoadedIssuer, fresh: &CaCertificate) -> Result<()> {
    let own = to.path.cas().first().and_then(|own| own.subject_key_id.as_deref());
    let Some((own, other)) = own.zip(fresh.subject_key_id.as_deref()).filter(|(own, other)| own != other) else {
        return Ok(());
    };
    let slug = &to.issuer.slug;
    Err(Error::refused(
        ErrorKind::Unprocessable,
        "issuer.key_identifier",
        format!("a certificate with the subject key identifier {}", to_hex(other)),
        format!("{}, which issuer {slug} has and everything that it signed names", to_hex(own)),
        format!("have the CSR of `chancery ca csr --issuer {slug}` signed with the key identifier that it asks for"),
    ).explained(format!("the certificate has the subject key identifier {}, but issuer {slug} has {}, which everything that it signed names", to_hex(other), to_hex(own))))
}

fn refuse_self_signed(judged: &Judged) -> Result<()> {
    if !judged.own.is_root() {
        return Ok(());
    }
    Err(Error::refused(
        ErrorKind::Unprocessable,
        "issuer.chain",
        format!("{}, which signed itself", judged.own.name()),
        "a certificate that another CA signed",
        "for a root of its own run `chancery ca create`",
    )
    .explained(format!("{} signed itself; a certificate that another CA signed is needed", judged.own.name())))
}
