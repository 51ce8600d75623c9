//! CRLs of issuers whose key is not with a server: signed anew by a command that has the key, or signed elsewhere and
//! imported (RFC 5280 §5). An imported one must list what we revoked; what it lists besides is revoked here too.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use crate::authority::Authority;
use crate::authority::crl::counter_after;
use crate::authority::snapshot::LoadedIssuer;
use crate::clock::{Timestamp, minutes};
use crate::error::{Error, ErrorKind, Result, RuleRefusal};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::certificate::CertificateStatus;
use crate::model::crl::CrlNumber;
use crate::model::id::{CertificateId, CrlId, IssuerId};
use crate::model::issuer::{Issuer, IssuerRole};
use crate::model::reason::RevocationReason;
use crate::model::revocation::NewRevocation;
use crate::model::serial::SerialNumber;
use crate::pki::ca_certificate::CaCertificate;
use crate::pki::crl_facts::{CrlEntry, CrlFacts};
use crate::store::crls::{self, NewCrl};
use crate::store::revocations::{self, Revocation};
use crate::store::versions::{self, Topic};
use crate::store::{Tx, certificates, hierarchy};

const PAGE: i64 = 500;

impl Authority {
    /// Signs the CRLs of a root anew for the rest of its life, with its key at hand; a root without a living OCSP delegate
    /// gets one.
    pub async fn sign_crls(&self, actor: &Actor, slug: &str) -> Result<()> {
        let signed = self.signed_crls(actor, slug).await;
        self.told(actor, "crl.refused", slug, signed).await
    }

    async fn signed_crls(&self, actor: &Actor, slug: &str) -> Result<()> {
        let snapshot = self.snapshot();
        let loaded = snapshot.issuer(slug)?;
        only_of_roots(loaded)?;
        if !loaded.signs_crls() {
            let value = format!("the certificate of {slug} lacks the key usage cRLSign (RFC 5280 §4.2.1.3)");
            let fix = "nothing needs to be done: the issuers below it sign their own CRLs";
            let sentence = format!("{value}, so verifiers would refuse a CRL of it; {fix}");
            let refused =
                Error::refused(ErrorKind::Unprocessable, "crl.key_usage", value, "a root with cRLSign", fix);
            return Err(refused.saying(sentence));
        }
        let mut tx = self.begin_change(actor).await?;
        self.sign_root(&mut tx, loaded).await?;
        versions::bump(&mut tx, Topic::Hierarchy).await?;
        versions::bump(&mut tx, Topic::Revocations).await?;
        tx.commit().await?;
        self.forget_answers();
        self.reload().await
    }

    /// Takes a CRL that the issuer's key signed elsewhere. Returns the slug of the issuer and when the CRL ends.
    pub async fn import_crl(&self, actor: &Actor, der: &[u8]) -> Result<(String, Timestamp)> {
        let made = self.take_crl(actor, der).await;
        self.told(actor, "crl.refused", "import", made).await
    }

    async fn take_crl(&self, actor: &Actor, der: &[u8]) -> Result<(String, Timestamp)> {
        let facts = CrlFacts::parse(der).map_err(|e| Error::malformed("the CRL cannot be read").because(e))?;
        let snapshot = self.snapshot();
        let mut named = snapshot.issuers.values().filter(|i| i.subject() == facts.issuer).peekable();
        if named.peek().is_none() {
            return self.take_foreign_crl(actor, der).await;
        }
        let loaded = named.find(|i| facts.verify(i.public_key()).is_ok());
        let loaded = loaded.ok_or_else(|| {
            let wrong = "the key of the issuer that the CRL names did not sign it";
            let value = "a CRL whose signature is not its issuer's";
            refuse("crl.signature", value, "one signed by the issuer's key").explained(wrong)
        })?;
        let mut tx = self.begin_change(actor).await?;
        let issuer = hierarchy::lock_issuer(&mut tx, loaded.issuer.id).await?;
        let issuer = issuer.ok_or_else(|| Error::inconsistent("an issuer vanished"))?;
        let next_update = check(&facts, tx.now())?;
        let epoch = epoch(&mut tx).await?;
        let state = crls::state(&mut tx, issuer.id, epoch).await?;
        let number = number_above(&facts, Some(state.number))?;
        must_list(&mut tx, &facts, &issuer).await?;
        let until = loaded.certificate()?.not_after;
        for entry in facts.entries() {
            revoke_listed(&mut tx, &issuer, &entry, until).await?;
        }
        let now = tx.now();
        crls::withdraw_future(&mut tx, issuer.id, now).await?;
        crls::begin(&mut tx, issuer.id, None).await?;
        let crl = NewCrl {
            id: CrlId::new(now, self.store.entropy.as_ref())?,
            issuer_id: issuer.id,
            number,
            this_update: facts.this_update,
            next_update,
            entries: i64::try_from(facts.count).unwrap_or(i64::MAX),
            bytes: bytes::Bytes::copy_from_slice(der),
            created_at: now,
        };
        crls::insert(&mut tx, crl).await?;
        crls::stored(&mut tx, issuer.id, number, counter_after(state.counter, number, epoch, 1)).await?;
        crls::prune(&mut tx, issuer.id, now, crls::KEPT).await?;
        versions::bump(&mut tx, Topic::Revocations).await?;
        let detail = json!({"issuer": issuer.slug, "entries": facts.count, "next_update": next_update});
        tx.audit(AuditEvent::done("crl.imported", format!("issuer:{}", issuer.id), detail));
        tx.commit().await?;
        self.forget_answers();
        Ok((issuer.slug, next_update))
    }
}

/// A server signs the CRL of an issuer every few hours. One for months would be accepted by clients until it ends, whoever
/// is revoked meanwhile.
fn only_of_roots(loaded: &LoadedIssuer) -> Result<()> {
    let slug = &loaded.issuer.slug;
    match loaded.issuer.role {
        IssuerRole::Root => Ok(()),
        IssuerRole::Issuing => {
            let value = format!("{slug} is an issuer, whose CRL the running server signs by itself");
            let fix =
                "start the server unlocked, which publishes a CRL at once if one is due; this command is for roots";
            let sentence = format!("{value}; {fix}");
            Err(Error::refused(ErrorKind::Unprocessable, "crl.issuer", value, "a root", fix).saying(sentence))
        }
    }
}

async fn epoch(tx: &mut Tx) -> Result<u64> {
    Ok(hierarchy::installation(tx).await?.map_or(0, |i| u64::try_from(i.epoch).unwrap_or(0)))
}

/// The number of a CRL that was signed elsewhere: greater than `known`, with numbers left for ours, which go on above it
/// (RFC 5280 §5.2.3).
fn number_above(facts: &CrlFacts<'_>, known: Option<CrlNumber>) -> Result<CrlNumber> {
    let refuse =
        |value: &str, why: String| Err(refuse("crl.number", value, "a CRL number of at most 20 octets").saying(why));
    let Some(octets) = facts.number else {
        let why = "the CRL has no CRL number (RFC 5280 §5.2.3), so the next CRL could not go on above it; sign it anew \
                   with the extension crlNumber";
        return refuse("a CRL without a number", why.into());
    };
    let Some(number) = facts.crl_number() else {
        let negative = octets.first().is_some_and(|octet| octet & 0x80 != 0);
        let what = if negative { "is negative".to_owned() } else { format!("has {} octets", octets.len()) };
        let why = format!(
            "the CRL number {what}; RFC 5280 §5.2.3 allows positive ones of at most 20 octets; sign the CRL anew with \
             such a number"
        );
        return refuse(&what, why);
    };
    if number.leaves_no_room() {
        let why = format!(
            "the CRL number {number} is at the end of what 20 octets hold, so the CRLs after it would soon have no \
             number; make a successor of this CA with `chancery ca create` or `chancery ca csr`"
        );
        return refuse("a CRL number at the maximum", why);
    }
    match known.filter(|known| number <= *known) {
        None => Ok(number),
        Some(known) => {
            let why = format!(
                "the CRL has number {number}, and number {known} was used already; sign the CRL anew with a number above \
                 {known}"
            );
            refuse("a CRL number that is not above the last one", why)
        }
    }
}

/// What the last CRL of an imported CA says: revocations that stay, and the number that ours go on from.
pub(super) async fn inherit(tx: &mut Tx, issuer: &Issuer, own: &CaCertificate, der: &[u8]) -> Result<i64> {
    let facts = CrlFacts::parse(der).map_err(|e| Error::malformed("the CRL cannot be read").because(e))?;
    if facts.issuer != own.subject || facts.verify(&own.spki).is_err() {
        let value = "a CRL that this CA did not sign";
        let refusal = refuse("crl.signature", value, "the last CRL of the CA that is imported");
        return Err(refusal.explained("the CA that is imported did not sign this CRL; its last one is needed"));
    }
    complete(&facts)?;
    has_come(&facts, tx.now())?;
    let epoch = epoch(&mut *tx).await?;
    // old CAs write CRLs of version 1, or without the number: ours begin far above what they would have counted to
    let number = facts.number.map(|_| number_above(&facts, None)).transpose()?;
    for entry in facts.entries() {
        revoke_listed(tx, issuer, &entry, own.validity.not_after()).await?;
    }
    let Some(number) = number else { return Ok(0) };
    let counter = counter_after(0, number, epoch, 0);
    crls::stored(tx, issuer.id, number, counter).await?;
    Ok(counter)
}

/// Revocations of a part of the certificates would leave the others trusted.
fn complete(facts: &CrlFacts<'_>) -> Result<()> {
    if facts.delta_base.is_some() || facts.distribution_point.is_some() {
        let refusal = refuse("crl.scope", "a delta CRL, or one of a part", "a complete CRL");
        return Err(refusal
            .explained("the CRL is a delta CRL or covers a part of the certificates; a complete one is needed"));
    }
    Ok(())
}

fn has_come(facts: &CrlFacts<'_>, now: Timestamp) -> Result<()> {
    if facts.this_update > now + minutes(5) {
        let (value, allowed) = (facts.this_update.to_string(), format!("a time that has come, now {now}"));
        let wrong = format!("the CRL is from the future: its thisUpdate is {value}, and it is {now}");
        return Err(refuse("crl.this_update", &value, &allowed).explained(wrong));
    }
    Ok(())
}

fn check(facts: &CrlFacts<'_>, now: Timestamp) -> Result<Timestamp> {
    complete(facts)?;
    has_come(facts, now)?;
    match facts.next_update {
        Some(next) if next > now => Ok(next),
        Some(next) => Err(without_future(now).explained(format!("the CRL expired at {next}"))),
        None => Err(without_future(now).explained("the CRL has no nextUpdate, so nobody could know when it expires")),
    }
}

fn without_future(now: Timestamp) -> RuleRefusal {
    refuse("crl.next_update", "a CRL that has expired or never does", &format!("nextUpdate after {now}"))
}

/// Who was revoked here stays revoked.
async fn must_list(tx: &mut Tx, facts: &CrlFacts<'_>, issuer: &Issuer) -> Result<()> {
    let listed: HashSet<&[u8]> = facts.entries().map(|entry| entry.serial).collect();
    let (now, mut last) = (tx.now(), None);
    loop {
        let page = revocations::page(&mut *tx, issuer.id, last.as_ref(), now, PAGE).await?;
        let Some(end) = page.last() else { return Ok(()) };
        if let Some(missing) = page.iter().find(|r| !listed.contains(r.serial.octets())) {
            let value = format!("a CRL without serial {}, which is revoked", missing.serial);
            let wrong = format!("the CRL lacks serial {}, which is revoked here", missing.serial);
            return Err(
                refuse("crl.complete", &value, "a CRL with everything that was revoked here").explained(wrong)
            );
        }
        last = Some(end.serial.clone());
    }
}

/// The serials that an issuer revoked, each with the code of its reason.
pub(super) async fn listed_by(tx: &mut Tx, issuer: IssuerId) -> Result<HashMap<Vec<u8>, Option<u8>>> {
    const LARGE_PAGE: i64 = 5_000;
    let (mut all, mut last) = (HashMap::new(), None);
    loop {
        let from_ever = Timestamp::from_micros(0);
        let page = revocations::listed(&mut *tx, issuer, last.as_ref(), from_ever, LARGE_PAGE).await?;
        let Some(end) = page.last() else { return Ok(all) };
        last = Some(end.serial.clone());
        all.extend(page.iter().map(|listed| (listed.serial.octets().to_vec(), Some(listed.reason.code()))));
    }
}

/// Takes over what a list says of a revocation that is known here, where that is more.
async fn raise_listed(tx: &mut Tx, issuer: &Issuer, known: &Revocation, new: NewRevocation) -> Result<()> {
    let (at, reason, invalidity_date) = (known.revoked_at, known.reason, known.invalidity_date);
    if !new.raises(&CertificateStatus::Revoked { at, reason, invalidity_date }) {
        return Ok(());
    }
    let raised = NewRevocation { invalidity_date: new.invalidity_date.or(invalidity_date), ..new };
    certificates::raise(&mut *tx, known.certificate_id, raised).await?;
    let version = tx.now().micros();
    revocations::raise(tx, issuer.id, &known.serial, raised, version).await?;
    revocations::note_change(&mut *tx, issuer.id).await?;
    let detail = json!({"serial": known.serial, "reason": new.reason.name(), "reason_before": reason.name(),
        "revoked_at": at, "by": "a published CRL"});
    let object = match known.certificate_id.bytes() == issuer.id.bytes() {
        true => format!("issuer:{}", issuer.id),
        false => format!("certificate:{}", known.certificate_id),
    };
    tx.audit(AuditEvent::done("certificate.revocation_raised", object, detail));
    Ok(())
}

/// Says whether the certificate is known.
pub(super) async fn revoke_listed(
    tx: &mut Tx,
    issuer: &Issuer,
    entry: &CrlEntry<'_>,
    until: Timestamp,
) -> Result<bool> {
    let serial = SerialNumber::from_octets(entry.serial)?;
    let reason = RevocationReason::ALL.into_iter().find(|r| Some(r.code()) == entry.reason);
    let reason = reason.unwrap_or(RevocationReason::Unspecified);
    let new = NewRevocation::new(reason, entry.invalidity_date);
    if let Some(known) = revocations::find(&mut *tx, issuer.id, &serial).await? {
        raise_listed(tx, issuer, &known, new).await?;
        return Ok(true);
    }
    let ours = certificates::find_by_serial_of(&mut *tx, issuer.id, &serial).await?;
    let is_known = ours.is_some();
    let (id, not_after) = match ours {
        Some(c) => {
            if c.status == CertificateStatus::Valid
                && !certificates::revoke(&mut *tx, c.id, entry.revoked_at, new).await?
            {
                return Err(Error::inconsistent(format!("certificate {} changed meanwhile", c.id)));
            }
            let detail = json!({"serial": c.serial, "reason": reason.name(), "by": "an imported CRL"});
            tx.audit(AuditEvent::done("certificate.revoked", c.object(), detail));
            (c.id, c.validity.not_after())
        }
        // of the CA's time before it came here: the issuer stands in its place, and it is listed as long as the CA lives
        None => (CertificateId::from_bytes(issuer.id.bytes()), until),
    };
    let (revoked_at, invalidity_date) = (entry.revoked_at, new.invalidity_date);
    let row = Revocation { serial, certificate_id: id, revoked_at, reason, not_after, invalidity_date };
    let version = tx.now().micros();
    revocations::insert(tx, issuer.id, &row, version).await?;
    Ok(is_known)
}

fn refuse(rule: &str, value: &str, allowed: &str) -> RuleRefusal {
    Error::refused(ErrorKind::Unprocessable, rule, value, allowed, "sign the CRL anew with the issuer's key")
}
