//! When a certificate should be renewed (RFC 9773), whoever asks and over whichever surface; and the rules by which
//! operators move that for many certificates. A rule is one row, held in memory by every replica: moving ten million
//! certificates writes one row, and asking for one reads the certificate alone.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::Authority;
use crate::clock::{Timestamp, days};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::certificate::Certificate;
use crate::model::id::{CertificateId, RenewalWindowId};
use crate::model::identifier::{Identifier, shown};
use crate::model::renewal::{Renewal, RenewalFilter, RenewalId, RenewalRule, RenewalSource, Window};
use crate::model::text::is_deceptive;
use crate::pki::certificate_facts::CertificateFacts;
use crate::store::versions::{self, Topic};
use crate::store::{Store, Tx, certificates, orders, renewals, replacements};

/// Rules that are not over. Each question goes through all of them.
pub const MAX_RULES: i64 = 200;
/// Certificates that one rule names one by one.
pub const MAX_CERTIFICATES: usize = 1000;
/// A start without an end.
const USUAL_LENGTH: Duration = days(1);
const LIFE: Duration = days(365);
const LONGEST_LIFE: Duration = days(3 * 366);

/// The rules as this replica last read them, newest first.
#[derive(Debug)]
pub(super) struct Rules {
    version: i64,
    list: Vec<RenewalRule>,
}

impl Rules {
    pub(super) async fn load(store: &Store) -> Result<Self> {
        // the version first: a change between the two reads is read again at the next turn
        let version = versions::read(store).await?.renewals;
        Ok(Rules { version, list: renewals::active(store, store.now()).await? })
    }
}

/// What an operator asks. Neither start nor end means now.
#[derive(Debug, Clone, Default)]
pub struct MoveRenewals {
    pub filter: RenewalFilter,
    pub issued_before: Option<Timestamp>,
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
    pub reason: String,
    pub explanation_url: Option<String>,
    pub expires_in: Option<Duration>,
}

impl Authority {
    /// The certificate that was given out under this authority key identifier and serial number.
    pub async fn certificate_by_renewal_id(&self, id: &RenewalId) -> Result<Option<Certificate>> {
        let snapshot = self.snapshot();
        // a stranger's costs no statement
        if !snapshot.issuers.values().any(|issuer| issuer.is_named_by(&id.key_id)) {
            return Ok(None);
        }
        let found = certificates::find_by_serial(&self.store, &id.serial).await?;
        Ok(found.filter(|certificate| {
            let issuer = snapshot.issuer_by_id(certificate.issuer_id);
            certificate.fingerprint.is_some() && issuer.is_some_and(|issuer| issuer.is_named_by(&id.key_id))
        }))
    }

    /// The text by which ACME clients ask for it (RFC 9773 §4.1); none for what has no authority key identifier.
    pub async fn renewal_id(&self, certificate: &Certificate) -> Result<Option<RenewalId>> {
        let Some(der) = certificates::der(&self.store, certificate.id).await? else { return Ok(None) };
        let unreadable = |e| Error::inconsistent(format!("{} cannot be read", certificate.id)).because(e);
        let facts = CertificateFacts::parse(&der).map_err(unreadable)?;
        Ok(facts.authority_key_id.map(|key_id| RenewalId { key_id, serial: certificate.serial.clone() }))
    }

    /// When the certificate with this text should be renewed, and who says so. One below a CA that was revoked is renewed at
    /// once: clients that check the whole chain refuse it. So is one below a CA that was removed: clients that fetch the
    /// bundle again may refuse it; and one whose authority key identifier its issuer's CRLs do not name: clients that check
    /// CRLs refuse it.
    pub fn renewal(&self, certificate: &Certificate, id: Option<&RenewalId>) -> Renewal {
        let renewal = Renewal::of(certificate, &self.renewals.load().list, self.store.now());
        if renewal.source == RenewalSource::Revocation {
            return renewal;
        }
        if let Some((_, at)) = self.revoked_above(certificate) {
            return renewal.revoked_at(at);
        }
        if self.removed_above(certificate).is_some() {
            return renewal.removed(certificate);
        }
        let snapshot = self.snapshot();
        let issuer = snapshot.issuer_by_id(certificate.issuer_id);
        match issuer.is_some_and(|issuer| issuer.is_outdated(id.map(|id| id.key_id.as_slice()))) {
            true => renewal.outdated(certificate),
            false => renewal,
        }
    }

    /// The newest certificate that was issued in place of this one, by an ACME order or over REST.
    pub async fn successor(&self, replaced: CertificateId, id: Option<&RenewalId>) -> Result<Option<Certificate>> {
        let by_order = match id {
            Some(id) => orders::successor(&self.store, &id.to_string()).await?,
            None => None,
        };
        match by_order.max(replacements::successor(&self.store, replaced).await?) {
            Some(successor) => certificates::find(&self.store, successor).await,
            None => Ok(None),
        }
    }

    /// How long the certificate in place of this one is, when nobody says: as long as this one. None leaves it to the
    /// profile, where this one was shortened to the end of its issuer.
    pub fn length_kept(&self, replaced: &Certificate) -> Option<Duration> {
        let snapshot = self.snapshot();
        let issuer = snapshot.issuer_by_id(replaced.issuer_id);
        let end = replaced.validity.not_after();
        let shortened = issuer.is_some_and(|issuer| issuer.certificates.iter().any(|c| c.not_after == end));
        (!shortened).then(|| replaced.validity.length())
    }

    /// One rule over all certificates that the filter fits and that are there now.
    pub async fn move_renewals(&self, actor: &Actor, asked: MoveRenewals) -> Result<RenewalRule> {
        self.check_filter(&asked.filter)?;
        let mut tx = self.store.begin(actor).await?;
        let rule = made(&tx, asked)?;
        // holds the row, so that two at once cannot pass the limit together
        versions::bump(&mut tx, Topic::Renewals).await?;
        let now = tx.now();
        let active = renewals::count_active(&mut tx, now).await?;
        if active >= MAX_RULES {
            return Err(refuse(
                "count",
                format!("one more rule beside {active}"),
                &format!("at most {MAX_RULES} rules that are not over"),
                &format!("there are {active} rules that are not over, and {MAX_RULES} are the most"),
                "cancel one, or move more certificates with one rule",
            ));
        }
        renewals::insert(&mut tx, &rule).await?;
        let detail = json!({"filter": rule.filter, "issued_before": rule.issued_before, "start": rule.window.start,
            "end": rule.window.end, "reason": rule.reason, "expires_at": rule.expires_at});
        tx.audit(AuditEvent::done("renewals.moved", format!("renewal_window:{}", rule.id), detail));
        tx.commit().await?;
        self.reload_renewals().await?;
        Ok(rule)
    }

    /// Newest first, before `before`; those that are over too.
    pub async fn renewal_rules(&self, before: Option<RenewalWindowId>, limit: u16) -> Result<Vec<RenewalRule>> {
        renewals::page(&self.store, before, i64::from(limit)).await
    }

    /// Those in force that may concern certificates of this issuer, newest first.
    pub fn renewal_rules_over(&self, issuer: &str) -> Vec<RenewalRule> {
        let (rules, now) = (self.renewals.load(), self.store.now());
        let here =
            |rule: &&RenewalRule| rule.is_active(now) && rule.filter.issuer.as_deref().is_none_or(|i| i == issuer);
        rules.list.iter().filter(here).cloned().collect()
    }

    pub async fn renewal_rule(&self, id: RenewalWindowId) -> Result<RenewalRule> {
        renewals::find(&self.store, id).await?.ok_or_else(|| missing(id))
    }

    /// Its certificates have the windows again that they had without it.
    pub async fn cancel_renewals(&self, actor: &Actor, id: RenewalWindowId) -> Result<()> {
        let mut tx = self.store.begin(actor).await?;
        if !renewals::delete(&mut tx, id).await? {
            return Err(missing(id));
        }
        versions::bump(&mut tx, Topic::Renewals).await?;
        tx.audit(AuditEvent::done("renewals.cancelled", format!("renewal_window:{id}"), json!({})));
        tx.commit().await?;
        self.reload_renewals().await
    }

    pub(super) async fn refresh_renewals(&self, version: i64) -> Result<()> {
        match version == self.renewals.load().version {
            true => Ok(()),
            false => self.reload_renewals().await,
        }
    }

    async fn reload_renewals(&self) -> Result<()> {
        let reading = self.renewal_readings.begin();
        let fresh = std::sync::Arc::new(Rules::load(&self.store).await?);
        self.renewal_readings.end(reading, || self.renewals.store(fresh));
        Ok(())
    }

    fn check_filter(&self, filter: &RenewalFilter) -> Result<()> {
        if filter.is_empty() {
            let allowed = "certificates, issuer, profile, account, requester, name or expires_before";
            let wrong = format!("no filter is set, so every certificate would be renewed; filter by {allowed}");
            return Err(refuse(
                "filter",
                "a rule over every certificate".into(),
                allowed,
                &wrong,
                "name one of these",
            ));
        }
        if filter.certificates.len() > MAX_CERTIFICATES {
            let value = format!("{} certificates", filter.certificates.len());
            let fix = "say what they have in common: issuer, profile, account, name";
            let wrong = format!("{value} were named; at most {MAX_CERTIFICATES} can be named one by one");
            let allowed = format!("at most {MAX_CERTIFICATES} one by one");
            return Err(refuse("certificates", value, &allowed, &wrong, fix));
        }
        let snapshot = self.snapshot();
        let known: [(&str, &Option<String>, BTreeSet<&String>); 2] = [
            ("issuer", &filter.issuer, snapshot.issuers.keys().collect()),
            ("profile", &filter.profile, snapshot.profiles.keys().collect()),
        ];
        for (member, asked, there) in known {
            if let Some(unknown) = asked.as_ref().filter(|asked| !there.contains(asked)) {
                let names: Vec<_> = there.into_iter().map(String::as_str).collect();
                let value = format!("\"{}\"", shown(unknown));
                let wrong = format!("{member} {value} does not exist; there are {}", names.join(", "));
                return Err(refuse(member, value, &names.join(", "), &wrong, "name one of these"));
            }
        }
        let long = [&filter.requester, &filter.name].into_iter().flatten().find(|text| text.len() > 300);
        match long {
            Some(text) => {
                let (value, allowed) = (format!("a text of {} bytes", text.len()), "at most 300 bytes");
                let wrong = format!("a text of the filter has {} bytes; it may have 300", text.len());
                Err(refuse("filter", value, allowed, &wrong, "shorten it"))
            }
            None => Ok(()),
        }
    }
}

fn made(tx: &Tx, asked: MoveRenewals) -> Result<RenewalRule> {
    let now = tx.now();
    let window = match (asked.start.map(Timestamp::truncated), asked.end.map(Timestamp::truncated)) {
        (None, None) => Window::before(now),
        (Some(start), None) => Window { start, end: start + USUAL_LENGTH },
        (start, Some(end)) => Window { start: start.unwrap_or(now.truncated()), end },
    };
    if window.end <= window.start {
        let value = format!("{} to {}", window.start, window.end);
        let wrong = "the window for renewal ends before it starts";
        return Err(refuse("window", value, "an end after the start", wrong, "leave both out to renew now"));
    }
    let issued_before = asked.issued_before.unwrap_or(now);
    if issued_before > now {
        let allowed = format!("{now} or earlier: what replaces a certificate must not be called back itself");
        let wrong = format!(
            "issued_before is {issued_before}, which is to come: it would call back what replaces a certificate"
        );
        return Err(refuse("issued_before", issued_before.to_string(), &allowed, &wrong, "leave it out"));
    }
    let reason = asked.reason.trim().to_owned();
    if reason.is_empty() || reason.chars().count() > 200 || reason.chars().any(is_deceptive) {
        let value = format!("\"{}\"", shown(&reason));
        let wrong = format!("reason {value} is not 1 to 200 printable characters");
        let fix = "say why the certificates should be renewed";
        return Err(refuse("reason", value, "1 to 200 characters", &wrong, fix));
    }
    if let Some(url) = &asked.explanation_url
        && (!(url.starts_with("https://") || url.starts_with("http://")) || Identifier::uri(url).is_err())
    {
        let value = format!("\"{}\"", shown(url));
        let wrong = format!("explanation_url {value} is not an http or https URL");
        return Err(refuse("explanation_url", value, "an http or https URL", &wrong, "correct it"));
    }
    let life = asked.expires_in.unwrap_or(LIFE);
    if life > LONGEST_LIFE {
        let value = format!("{} d", life.as_secs() / 86_400);
        let wrong = format!(
            "the rule would last {value}, longer than any certificate of a server lives; it lasts at most 1098 d"
        );
        return Err(refuse("expires", value, "at most 1098 d", &wrong, "ask for less"));
    }
    Ok(RenewalRule {
        id: RenewalWindowId::new(now, tx.store().entropy.as_ref())?,
        filter: asked.filter,
        issued_before,
        window,
        reason,
        explanation_url: asked.explanation_url,
        created_by: tx.actor().to_string(),
        created_at: now,
        expires_at: now + life,
    })
}

fn refuse(rule: &str, value: String, allowed: &str, wrong: &str, fix: &str) -> Error {
    Error::refused(ErrorKind::Unprocessable, format!("renewals.{rule}"), value, allowed, fix).explained(wrong)
}

fn missing(id: RenewalWindowId) -> Error {
    Error::not_found(format!("renewal window {id}"))
}
