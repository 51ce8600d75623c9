//! Orders (RFC 8555 §7.4): names are judged before anything is stored, all of them, so that a client learns of
//! every bad one at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::attempts::Tried;
use super::placing::Asked;
use super::under_grant::allows;
use super::{Directory, MAX_NAMES, ORDER_LIFETIME, Origin, Registration};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result, SENTENCE, Subproblem};
use crate::model::acme::{Account, Order, OrderStatus};
use crate::model::grant::Grant;
use crate::model::id::{AuthorizationId, OrderId};
use crate::model::identifier::{Identifier, shown};
use crate::model::validity::START_SKEW;
use crate::pki::name::SubjectFields;
use crate::store::orders;

/// Ids of one page of an account's orders.
pub const PAGE: i64 = 100;

/// What newOrder asks, as the client wrote it.
#[derive(Debug, Clone, Default)]
pub struct NewOrder {
    pub identifiers: Vec<AskedName>,
    pub profile: Option<String>,
    pub not_before: Option<Timestamp>,
    pub not_after: Option<Timestamp>,
    /// The renewal identifier of the certificate that it replaces (RFC 9773 §5).
    pub replaces: Option<String>,
}

/// One identifier of newOrder or newAuthz.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AskedName {
    pub kind: String,
    pub value: String,
    /// A name above it that the client can prove in its place (RFC 9444 §4.3).
    pub ancestor: Option<String>,
}

/// A name of an order as it was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub name: Identifier,
    pub ancestor: Option<Identifier>,
}

/// What newOrder may have.
struct Checked {
    profile: String,
    /// How long the order may be open.
    lifetime: Duration,
    names: Vec<Wanted>,
    grant: Option<Grant>,
}

/// An order with its authorizations in the order of its identifiers.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderView {
    pub order: Order,
    pub authorizations: Vec<AuthorizationId>,
}

impl Registration {
    /// Order, authorizations, challenges and audit event go in one commit, which other clients share.
    pub async fn new_order(
        &self,
        origin: &Origin,
        directory: &Arc<Directory>,
        account: &Account,
        ask: NewOrder,
    ) -> Result<OrderView> {
        let actor = origin.account(account);
        let tried = Tried::order(origin, &directory.slug, &ask.identifiers);
        let placed = match self.checked_order(directory, account, &ask).await {
            Ok(checked) => self.placed(origin, directory, account, ask, checked).await,
            Err(error) => Err(error),
        };
        match placed {
            Err(error) => self.refused_attempt(&actor, tried, error).await,
            placed => placed,
        }
    }

    async fn placed(
        &self,
        origin: &Origin,
        directory: &Arc<Directory>,
        account: &Account,
        ask: NewOrder,
        checked: Checked,
    ) -> Result<OrderView> {
        let now = self.store.now();
        let order = Order {
            id: OrderId::new(now, self.store.entropy.as_ref())?,
            account_id: account.id,
            directory: directory.slug.clone(),
            status: OrderStatus::Pending,
            identifiers: checked.names.iter().map(|wanted| wanted.name.clone()).collect(),
            profile: checked.profile,
            not_before: ask.not_before,
            not_after: ask.not_after,
            error: None,
            certificate_id: None,
            replaces: ask.replaces,
            expires_at: ends_at(now + checked.lifetime, checked.grant.as_ref(), ask.not_after),
            created_at: now,
        };
        let id = order.id;
        let asked = Asked {
            actor: origin.account(account),
            address: origin.address.clone(),
            directory: Arc::clone(directory),
            grant: checked.grant,
            order,
            key: account.key.thumbprint,
            names: checked.names,
        };
        match self.orders.commit(asked).await {
            // an error on COMMIT means unknown, and a retry of the group then meets its own rows
            Err(error) => self.order_view(account, id).await.map_err(|_| error),
            placed => placed,
        }
    }

    /// One of this account's orders; another's is not found.
    pub async fn order_view(&self, account: &Account, id: OrderId) -> Result<OrderView> {
        let found = orders::view(&self.store, id).await?.filter(|(order, _)| order.account_id == account.id);
        let (order, authorizations) = found.ok_or_else(|| Error::not_found("order"))?;
        Ok(OrderView { order, authorizations })
    }

    /// A page of the account's orders that are not invalid, oldest first; fewer than `PAGE` means the last one.
    pub async fn orders(&self, account: &Account, after: Option<OrderId>) -> Result<Vec<OrderId>> {
        orders::page(&self.store, account.id, after, self.store.now(), PAGE).await
    }

    async fn checked_order(&self, directory: &Directory, account: &Account, ask: &NewOrder) -> Result<Checked> {
        if ask.identifiers.is_empty() || ask.identifiers.len() > MAX_NAMES {
            return Err(Error::malformed(format!(
                "an order has 1 to {MAX_NAMES} identifiers, this one has {}",
                ask.identifiers.len()
            )));
        }
        let profile = directory.profile(ask.profile.as_deref())?.to_owned();
        let grant = self.grant_for_order(directory, account, &profile).await?;
        if ask.profile.is_some() {
            self.check_kinds(&profile, &ask.identifiers)?;
        }
        let names = self.checked_names(directory, &profile, grant.as_ref(), &ask.identifiers)?;
        let identifiers: Vec<_> = names.iter().map(|wanted| wanted.name.clone()).collect();
        let lifetime = self.check_together(&profile, &identifiers)?;
        self.check_validity(directory, &profile, ask, &identifiers)?;
        if let Some(text) = &ask.replaces {
            self.check_replaces(account, text, &identifiers).await?;
        }
        Ok(Checked { profile, lifetime, names, grant })
    }

    /// A profile that the client names does not go with names of these kinds: that is the profile's fault, not the
    /// names' (draft-ietf-acme-profiles §4).
    fn check_kinds(&self, profile: &str, asked: &[AskedName]) -> Result<()> {
        let names: Result<BTreeSet<_>> = asked.iter().map(|asked| offered(&asked.kind, &asked.value)).collect();
        // what is no name at all is told by name below
        let Ok(names) = names else { return Ok(()) };
        let names: Vec<_> = names.into_iter().collect();
        self.authority.snapshot().profile(profile)?.profile.check_shape(&names).map_err(invalid_profile)
    }

    /// The profile takes these names together, and asks for nothing that a client of ACME cannot say. How long the order
    /// may be open.
    fn check_together(&self, profile: &str, names: &[Identifier]) -> Result<Duration> {
        let snapshot = self.authority.snapshot();
        let profile = &snapshot.profile(profile)?.profile;
        let subject = || profile.subject(None, &SubjectFields::default(), names);
        profile.check_shape(names).and_then(|()| subject()).map_err(invalid_profile)?;
        Ok(profile.order_lifetime().unwrap_or(ORDER_LIFETIME))
    }

    /// Given times are honoured exactly or refused; what only finalize can see is judged there again, on the bytes.
    fn check_validity(
        &self,
        directory: &Directory,
        profile: &str,
        ask: &NewOrder,
        names: &[Identifier],
    ) -> Result<()> {
        if ask.not_before.is_none() && ask.not_after.is_none() {
            return Ok(());
        }
        let snapshot = self.authority.snapshot();
        let profile = snapshot.profile(profile)?;
        let now = self.store.now();
        // the client's clock may be off a little, either way
        let earliest = (now - profile.profile.backdate().max(START_SKEW)).truncated();
        let max = profile.profile.max_lifetime(names, true);
        // without a notBefore the backdate gives way to the maximum
        let latest_end = |to: Timestamp| (to + Duration::from_secs(1) - max).min(now).truncated();
        let backdated = (now - profile.profile.backdate()).truncated();
        let from =
            ask.not_before.unwrap_or_else(|| ask.not_after.map_or(backdated, |to| backdated.max(latest_end(to))));
        let refuse = |rule: &str, value: Timestamp, allowed: String| {
            let fix = "leave it out to get the default: a time that is given is honoured exactly or refused";
            let member = if value == from { "notBefore" } else { "notAfter" };
            let wrong = format!("{member} is {value}; it must be {allowed}");
            Err(Error::refused(ErrorKind::Malformed, format!("validity.{rule}"), value, allowed, fix)
                .explained(wrong))
        };
        if from < earliest {
            return refuse("not_before", from, format!("{earliest} or later"));
        }
        if let Some(to) = ask.not_after
            && (to <= now || to < from)
        {
            return refuse("not_after", to, format!("a time after now, {now}, and after notBefore"));
        }
        let issuer = directory.issuer(&snapshot, profile.profile.domain(), names, now)?.certificate()?;
        let outside = |at: &Timestamp| *at < issuer.not_before || *at > issuer.not_after;
        if let Some(at) = ask.not_before.into_iter().chain(ask.not_after).find(outside) {
            return refuse(
                "issuer",
                at,
                format!("within the issuer's own {} to {}", issuer.not_before, issuer.not_after),
            );
        }
        let latest = now + START_SKEW;
        if from > latest {
            return refuse(
                "not_before",
                from,
                format!("{latest} or earlier: an order is for a certificate to use now"),
            );
        }
        let Some(to) = ask.not_after else { return Ok(()) };
        if to.since(from) + Duration::from_secs(1) > max {
            return refuse("lifetime", to, format!("at most {} d from notBefore", max.as_secs() / 86_400));
        }
        Ok(())
    }

    /// Folded to distinct names in the order asked; every bad one becomes a subproblem (RFC 8555 §6.7.1).
    pub(super) fn checked_names(
        &self,
        directory: &Directory,
        profile: &str,
        grant: Option<&Grant>,
        asked: &[AskedName],
    ) -> Result<Vec<Wanted>> {
        let rules = grant.map(|g| g.scope.names.as_slice()).unwrap_or_default();
        let snapshot = self.authority.snapshot();
        let profile = &snapshot.profile(profile)?.profile;
        let (domain, now) = (profile.domain(), self.store.now());
        directory.issuer(&snapshot, domain, &[], now)?;
        let (mut good, mut bad) = (Vec::<Wanted>::new(), Vec::new());
        for asked in asked {
            let checked = offered(&asked.kind, &asked.value).and_then(|name| {
                directory.check_name(&name)?;
                profile.check_name(&name, self.authority.own_hosts(), rules)?;
                directory.check_issuers(&snapshot, domain, std::slice::from_ref(&name), now)?;
                provable(directory, grant, &name)?;
                let ancestor = ancestor_of(&name, asked.ancestor.as_deref())?;
                Ok(Wanted { name, ancestor })
            });
            match checked {
                Ok(wanted) if good.iter().any(|w| w.name == wanted.name) => {}
                Ok(wanted) => good.push(wanted),
                Err(error) => bad.push(Subproblem {
                    kind: error.kind,
                    detail: error.detail,
                    identifier: Some((shown(&asked.kind), shown(&asked.value))),
                    pointer: None,
                    rule: error.rule,
                }),
            }
        }
        match bad.len() {
            0 => {
                let names: Vec<_> = good.iter().map(|wanted| wanted.name.clone()).collect();
                directory
                    .check_issuers(&snapshot, domain, &names, now)
                    .map_err(|error| not_together(error, &names))?;
                Ok(good)
            }
            _ => Err(refusal(bad)),
        }
    }
}

/// Each of these names has an issuer, and none may sign all of them.
fn not_together(error: Error, names: &[Identifier]) -> Error {
    if error.kind != ErrorKind::RejectedIdentifier {
        return error;
    }
    let detail =
        format!("no issuer may sign all these names in one certificate ({}); order them apart", error.detail);
    let of = |name: &Identifier| Subproblem {
        kind: ErrorKind::RejectedIdentifier,
        detail: format!("{} \"{name}\" needs another issuer than the other names; order it apart", name.kind()),
        identifier: Some((name.kind().to_owned(), name.value())),
        pointer: None,
        rule: None,
    };
    Error::new(ErrorKind::RejectedIdentifier, detail).with_subproblems(names.iter().map(of).collect())
}

fn invalid_profile(mut error: Error) -> Error {
    error.kind = ErrorKind::InvalidProfile;
    error
}

/// The name that the client offers to prove for this one: it stands above it (RFC 9444 §4.3).
fn ancestor_of(name: &Identifier, ancestor: Option<&str>) -> Result<Option<Identifier>> {
    let Some(text) = ancestor else { return Ok(None) };
    let wrong = || {
        Error::malformed(format!(
            "\"ancestorDomain\" of {} \"{name}\" is \"{}\": it must be a DNS name above it (RFC 9444 §4.3)",
            name.kind(),
            shown(text)
        ))
    };
    let above = Identifier::dns(text).map_err(|_| wrong())?;
    match (name, &above) {
        (Identifier::Dns(own), Identifier::Dns(parent))
            if !parent.is_wildcard() && own.base() != parent.as_str() && own.is_within(parent.as_str()) =>
        {
            Ok(Some(above))
        }
        _ => Err(wrong()),
    }
}

/// A name of a kind that ACME certifies here: DNS names, with or without a wildcard, and addresses.
fn offered(kind: &str, value: &str) -> Result<Identifier> {
    if !matches!(kind, "dns" | "ip") {
        return Err(Error::new(
            ErrorKind::UnsupportedIdentifier,
            format!("identifier type \"{}\" is not supported: allowed are dns and ip", shown(kind)),
        ));
    }
    Identifier::from_parts(kind, value)
}

/// The grant allows it, or the directory has a challenge that can prove it.
fn provable(directory: &Directory, grant: Option<&Grant>, name: &Identifier) -> Result<()> {
    if allows(grant, name) || !directory.challenges_for(name).is_empty() {
        return Ok(());
    }
    match (grant, directory.config.challenges.as_slice()) {
        (Some(grant), []) => grant.scope.check_name(name),
        (_, challenges) => {
            let value = format!("{} \"{name}\"", name.kind());
            let allowed = match challenges {
                [] => format!("names within the grant of an account in directory {}", directory.slug),
                some => format!("names that {} can prove in directory {}", some.join(" or "), directory.slug),
            };
            let wrong = format!("no challenge of this directory can prove {value}; it certifies {allowed}");
            let fix = "a wildcard needs dns-01 (RFC 8555 §7.1.3), an address http-01 or tls-alpn-01 (RFC 8738 §7)";
            Err(Error::refused(ErrorKind::RejectedIdentifier, "acme.challenges", value, allowed, fix)
                .explained(wrong))
        }
    }
}

/// An order that rests on a grant ends with it at the latest, and one for a certificate with an end with that: later
/// there is nothing to finalize.
fn ends_at(end: Timestamp, grant: Option<&Grant>, not_after: Option<Timestamp>) -> Timestamp {
    let limits = grant.and_then(|g| g.expires_at).into_iter().chain(not_after);
    limits.fold(end, Timestamp::min).truncated()
}

/// One sentence with the first three, or as many as fit; the kind is the common one, else compound (RFC 8555 §6.7.1).
pub(super) fn refusal(bad: Vec<Subproblem>) -> Error {
    let first = bad.first().map_or(ErrorKind::Malformed, |p| p.kind);
    let kind = if bad.iter().all(|p| p.kind == first) { first } else { ErrorKind::Compound };
    let told = |count: usize| {
        let mut detail = bad.iter().take(count).map(|p| p.detail.as_str()).collect::<Vec<_>>().join("; ");
        if bad.len() > count {
            detail.push_str(&format!("; and {} more", bad.len() - count));
        }
        detail
    };
    let fits = |detail: &String| detail.chars().count() <= SENTENCE;
    let detail = (1..=3).rev().map(told).find(fits).unwrap_or_else(|| told(1));
    // one rule for all is the rule of the whole
    let rule = bad.first().and_then(|p| p.rule.clone());
    let rule = rule.filter(|rule| bad.iter().all(|p| p.rule.as_ref().is_some_and(|other| other.name == rule.name)));
    let mut error = Error::new(kind, detail).with_subproblems(bad);
    error.rule = rule;
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_nobody_can_prove_are_refused() {
        for (kind, value, expected) in [
            ("email", "a@example.org", ErrorKind::UnsupportedIdentifier),
            ("DNS", "a.example.org", ErrorKind::UnsupportedIdentifier),
            ("dns", "192.0.2.1", ErrorKind::Malformed),
            ("dns", "", ErrorKind::Malformed),
            ("dns", "a.*.example.org", ErrorKind::Malformed),
            ("ip", "2001:0db8::1", ErrorKind::Malformed),
        ] {
            assert_eq!(offered(kind, value).unwrap_err().kind, expected, "{kind} {value}");
        }
        assert_eq!(offered("dns", "A.Example.org").unwrap(), Identifier::dns("a.example.org").unwrap());
    }

    #[test]
    fn a_refusal_names_the_first_three() {
        let part = |n: usize| Subproblem {
            kind: ErrorKind::RejectedIdentifier,
            detail: format!("bad {n}"),
            identifier: None,
            pointer: None,
            rule: None,
        };
        let error = refusal((1..=5).map(part).collect());
        assert_eq!(error.detail, "bad 1; bad 2; bad 3; and 2 more");
        assert_eq!((error.kind, error.subproblems.len()), (ErrorKind::RejectedIdentifier, 5));
    }
}
