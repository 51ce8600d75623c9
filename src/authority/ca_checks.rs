//! Checks on the hierarchy's own certificates: revocations that no CRL lists yet, and issuers whose certificate lets
//! their key answer OCSP about themselves.

use super::Authority;
use super::checks::{Check, Severity, check, how_to_lift};
use super::foreign_crls::{ForeignCa, foreign_cas};
use super::snapshot::{LoadedIssuer, Snapshot};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::identifier::shown;
use crate::model::issuer::{IssuerRole, IssuerState};
use crate::pki::ca_certificate::CaCertificate;
use crate::pki::name::DistinguishedName;
use crate::store::{domain_crls, foreign_crls, revocations};

/// Octets up to which a serial counts as short: drawn ones have 16 or more.
const SHORT_SERIAL: i64 = 12;
/// Rows of shared serials that are reported.
const MOST: i64 = 200;

impl Authority {
    pub(super) async fn check_pending_revocations(&self) -> Result<Check> {
        let pending = self.pending_revocations().await?;
        let found = pending.into_iter().map(|p| {
            let text = format!(
                "{} revoked under {} {} not on its CRL, so clients still trust them; {}",
                p.count,
                p.issuer,
                if p.count == 1 { "is" } else { "are" },
                p.fix
            );
            (Severity::Critical, text)
        });
        Ok(check("revocations", found.collect(), "every revocation is on its CRL".into()))
    }

    /// What programs that check a whole chain or read one list of a domain need.
    pub(super) async fn check_domain_lists(&self) -> Result<Check> {
        let (snapshot, now) = (self.snapshot(), self.store.now());
        let (mut found, mut told) = (Vec::new(), Vec::new());
        for head in domain_crls::heads(&self.store).await? {
            let (until, _) = head.in_force(now);
            if until <= now {
                let text = format!(
                    "the list of trust domain {} expired at {until}; a server that runs with its unlock key signs the next \
                     one: `chancery serve`",
                    head.domain
                );
                found.push((Severity::Critical, text));
            }
            let overdue = self.overdue_in_list(&head).await?;
            if overdue > 0 {
                let text = format!(
                    "{overdue} revoked in trust domain {} {} not in its list /crl/domain/{}.crl; a server that runs with its \
                     unlock key publishes it as soon as it can: see its log",
                    head.domain,
                    if overdue == 1 { "is" } else { "are" },
                    head.domain
                );
                found.push((Severity::Critical, text));
            }
            told.push(format!("{} until {until}", head.domain));
        }
        let known = foreign_crls::list(&self.store).await?;
        let needed = foreign_cas(&snapshot).into_iter().filter(|ca| is_in_usual_chain(&snapshot, ca));
        for ca in needed {
            let (name, domain) = (ca.certificate.name(), &ca.domain);
            let row = known.iter().find(|row| row.ca == ca.id());
            let missing = row.is_none_or(|row| row.der.is_empty());
            if !missing && row.is_some_and(|row| row.next_update > now) {
                continue;
            }
            let what = if missing { "is missing" } else { "has expired" };
            let why =
                row.filter(|row| !row.failure.is_empty()).map_or(String::new(), |row| format!(" ({})", row.failure));
            let from = ca.urls.first().map_or(String::new(), |url| format!(" with what {} answers", shown(url)));
            let text = format!(
                "the CRL of {} above trust domain {domain} {what}{why}, so servers with /bundles/{domain}.crl.pem \
                 refuse everybody; run `chancery ca crl import FILE`{from}",
                shown(&name)
            );
            found.push((Severity::Warning, text));
        }
        found.extend(revoked_elsewhere(&snapshot, now));
        let collisions = self.colliding_serials(None).await?;
        found.extend(collisions.into_iter().map(|text| (Severity::Warning, text)));
        let told = if told.is_empty() { "none yet".to_owned() } else { told.join(", ") };
        Ok(check("domain lists", found, format!("CRLs of whole trust domains: {told}")))
    }

    /// Serials of imported CAs that stand twice in one trust domain, of `only` or of all: a program that compares serials
    /// alone takes one certificate for the other.
    pub async fn colliding_serials(&self, only: Option<&str>) -> Result<Vec<String>> {
        let snapshot = self.snapshot();
        let mut found = Vec::new();
        let shared = domain_crls::shared_serials(&self.store, SHORT_SERIAL, self.store.now(), MOST).await?;
        for (at, (issuer, serial)) in shared.iter().enumerate() {
            let Some(own) = snapshot.issuer_by_id(*issuer) else { continue };
            let rest = shared.iter().skip(at + 1).take_while(|(_, same)| same == serial);
            for other in rest.filter_map(|(other, _)| snapshot.issuer_by_id(*other)) {
                let domain = &own.issuer.domain;
                if other.issuer.domain == *domain && only.is_none_or(|only| only == domain) {
                    found.push(format!(
                        "serial {serial} is revoked under {} and under {} of trust domain {domain}: programs that compare \
                         serials alone take them for one",
                        own.issuer.slug, other.issuer.slug
                    ));
                }
            }
        }
        for domain in snapshot.domains.iter().filter(|d| only.is_none_or(|only| only == d.slug)) {
            self.find_revoked_twins(&snapshot, &domain.slug, &mut found).await?;
        }
        Ok(found)
    }

    /// Revoked serials of one issuer that are also those of a CA certificate which another CA signed.
    async fn find_revoked_twins(&self, snapshot: &Snapshot, domain: &str, found: &mut Vec<String>) -> Result<()> {
        for ca in snapshot.ca_certificates(domain).into_iter().filter_map(|der| CaCertificate::read(der).ok()) {
            let Ok(serial) = ca.serial() else { continue };
            for own in snapshot.issuers.values().filter(|i| i.issuer.domain == domain && i.subject() != ca.issuer) {
                if revocations::find(&self.store, own.issuer.id, &serial).await?.is_some() {
                    found.push(format!(
                        "serial {serial}, revoked under {}, is also that of CA certificate {}: programs that compare serials \
                         alone refuse everything below it; have that certificate issued anew",
                        own.issuer.slug,
                        ca.name()
                    ));
                }
            }
        }
        Ok(())
    }

    /// RFC 6960 §4.2.2.2: OCSPSigning in a CA certificate makes its key a responder for the CA above.
    pub(super) fn check_delegations(&self) -> Check {
        let (snapshot, now) = (self.snapshot(), self.store.now());
        let mut found = Vec::new();
        for loaded in snapshot.issuers.values().filter(|i| i.issuer.role == IssuerRole::Issuing) {
            if loaded.revoked_at.is_some() {
                continue;
            }
            let certificates = loaded.certificates.iter().filter_map(|c| CaCertificate::read(&c.der).ok());
            let delegating = certificates.filter(|ca| ca.answers_for_its_issuer() && ca.validity.not_after() > now);
            let mut fixes: Vec<_> = delegating.map(|ca| end_of_delegation(&snapshot, loaded, &ca)).collect();
            fixes.dedup();
            found.extend(fixes.into_iter().map(|fix| {
                let slug = &loaded.issuer.slug;
                let text = format!(
                    "a certificate of {slug} has OCSPSigning, so a thief of its key could call it good; {fix}"
                );
                (Severity::Warning, text)
            }));
        }
        check("delegations", found, "no issuer certificate can sign its own OCSP status".into())
    }
}

/// Whether the chain that goes with certificates of the domain has this CA: who checks every CRL of it needs this one. A
/// root that only a cross-certificate leads to is in no such chain.
fn is_in_usual_chain(snapshot: &Snapshot, ca: &ForeignCa) -> bool {
    let issuing = snapshot.issuers.values().filter(|i| i.issuer.domain == ca.domain);
    issuing.flat_map(|i| i.path.cas()).any(|above| above.spki == ca.certificate.spki)
}

/// How a CA certificate with OCSPSigning is replaced and revoked: by the CA of this installation that signed it, or by
/// the one elsewhere, which `ca renew` does not reach.
fn end_of_delegation(snapshot: &Snapshot, loaded: &LoadedIssuer, ca: &CaCertificate) -> String {
    let (slug, domain) = (&loaded.issuer.slug, &loaded.issuer.domain);
    let serial = ca.serial().map_or_else(|_| "(unreadable)".to_owned(), |serial| serial.to_string());
    let parent = loaded.issuer.parent_id.and_then(|id| snapshot.issuer_by_id(id));
    match parent.filter(|above| above.subject() == ca.issuer) {
        Some(above) if matches!(above.issuer.state, IssuerState::Active | IssuerState::Prepared) => format!(
            "run `chancery ca renew {slug}` on the host that has the key of {}: the same key without the usage, and the \
             old certificate revoked",
            above.issuer.slug
        ),
        Some(above) => format!(
            "{} is {} and renews nothing: run `chancery ca create {domain} --new-root` and what it prints next, then \
             `chancery revoke {serial} --reason superseded`",
            above.issuer.slug,
            above.issuer.state.name()
        ),
        None => {
            let above = DistinguishedName::from_der(&ca.issuer)
                .map_or_else(|_| "(unreadable name)".into(), |n| n.to_string());
            format!(
                "{} made it: run `chancery ca csr --issuer {slug}`, have that CA sign the CSR without OCSPSigning and revoke \
                 serial {serial}, then run `chancery ca install FILE`, and `chancery ca crl import FILE` if its CRL is not \
                 fetched from here",
                shown(&above)
            )
        }
    }
}

/// Issuers that should sign and whose certificate a CA elsewhere revoked: nothing below them is accepted.
fn revoked_elsewhere(snapshot: &Snapshot, now: Timestamp) -> Vec<(Severity, String)> {
    let mut found = Vec::new();
    for (slug, loaded) in &snapshot.issuers {
        let elsewhere = loaded.certificates.iter().all(|c| c.certificate_id.is_none());
        let meant = matches!(loaded.stored_state, IssuerState::Active | IssuerState::Prepared);
        let Some(at) = loaded.revoked_at.filter(|_| elsewhere && meant) else { continue };
        let by = loaded.revoked_by.as_deref().map_or_else(|| "the CA above it".to_owned(), shown);
        if loaded.on_hold {
            let text = format!(
                "{by} put the certificate of {slug} on hold (certificateHold) at {at}: until that CA takes this back verifiers \
                 refuse what {slug} signed, and it signs nothing; {}",
                how_to_lift(loaded)
            );
            found.push((Severity::Critical, text));
            continue;
        }
        let domain = &loaded.issuer.domain;
        let give_up = match loaded.stored_state {
            IssuerState::Active => format!("`chancery ca retire {slug} --yes`"),
            _ => format!("`chancery ca remove {slug} --yes`"),
        };
        let fix = match snapshot.signers(domain, now).first() {
            Some(other) => format!("{} signs for the domain: run {give_up}", other.issuer.slug),
            None => format!(
                "run `chancery ca csr {domain}`, have the CSR signed by that CA, run `chancery ca install FILE`, then \
                 {give_up}"
            ),
        };
        let text = format!(
            "{by} revoked the certificate of {slug} at {at}: verifiers refuse what it signed, and it signs nothing; {fix}"
        );
        found.push((Severity::Critical, text));
    }
    found
}
