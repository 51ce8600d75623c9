//! The CA certificates that stand above a new certificate, and all that they permit together (RFC 5280 §6.1). Import,
//! creation and issuance judge by this one type; a refusal names the CA whose rule it is. A root's own rules count too
//! (§6.2 leaves that open): OpenSSL, Go and webpki apply them.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use ::der::oid::ObjectIdentifier;

use super::ca_certificate::CaCertificate;
use super::name::DistinguishedName;
use super::name_constraints::ConstraintViolation;
use super::policies::ValidPolicies;
use super::profile::ExtendedKeyUsage;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result, Rule};
use crate::model::identifier::{Identifier, shown};
use crate::model::validity::Validity;

/// The issuer first, the root last. Empty above a root.
#[derive(Debug, Clone, Default)]
pub struct IssuingPath {
    cas: Vec<CaCertificate>,
    policies: ValidPolicies,
}

impl IssuingPath {
    /// Refuses a path on which no certificate can be valid, whatever it says.
    pub fn new(cas: Vec<CaCertificate>) -> Result<Self> {
        let mut policies = ValidPolicies::default();
        // the trust anchor is not part of the path that policies are processed on
        let anchor = cas.last().is_some_and(CaCertificate::is_self_issued);
        for ca in cas.iter().rev().skip(usize::from(anchor)) {
            policies = policies.below(&ca.policies, ca.is_self_issued()).map_err(|why| {
                let value = format!("{}, which {why}", ca.name());
                Error::refused(
                    ErrorKind::Unprocessable,
                    "issuer.policies",
                    value,
                    "certificate policies that are valid under every CA above (RFC 5280 §6.1.3)",
                    "have it signed again with one of those policies",
                )
                .explained(format!(
                    "{}, which {why}; its policies must be valid under every CA above it (RFC 5280 §6.1.3)",
                    ca.name()
                ))
            })?;
        }
        Ok(IssuingPath { cas, policies })
    }

    /// The path of an issuer that signs already: certificate policies that contradict each other do not stop it, because
    /// few verifiers look at them.
    pub fn known(cas: Vec<CaCertificate>) -> Self {
        IssuingPath::new(cas.clone()).unwrap_or(IssuingPath { cas, policies: ValidPolicies::default() })
    }

    /// From certificates in DER, the issuer's first and the root's last.
    pub fn read(ders: &[&[u8]]) -> Result<Self> {
        IssuingPath::new(ders.iter().map(|der| CaCertificate::read(der)).collect::<Result<_>>()?)
    }

    /// The path above a root: nothing.
    pub fn none() -> &'static Self {
        static NONE: LazyLock<IssuingPath> = LazyLock::new(IssuingPath::default);
        &NONE
    }

    /// The issuer first, the root last.
    pub fn cas(&self) -> &[CaCertificate] {
        &self.cas
    }

    /// The path of a CA that stands below the issuer of this one.
    pub fn below(&self, ca: CaCertificate) -> Result<Self> {
        IssuingPath::new(std::iter::once(ca).chain(self.cas.iter().cloned()).collect())
    }

    /// The time in which every CA of the path is valid; none for an empty path or one that never is.
    pub fn validity(&self) -> Option<Validity> {
        let from = self.cas.iter().map(|ca| ca.validity.not_before()).max()?;
        Validity::new(from, self.first_to_expire()?.validity.not_after()).ok()
    }

    /// The CA that expires first.
    pub fn first_to_expire(&self) -> Option<&CaCertificate> {
        self.cas.iter().min_by_key(|ca| ca.validity.not_after())
    }

    /// How many CAs may follow in a row below the issuer, and the CA that says so; none without a limit.
    pub fn path_len(&self) -> Option<(u32, &CaCertificate)> {
        let mut between = 0;
        let mut least: Option<(u32, &CaCertificate)> = None;
        for ca in &self.cas {
            let left = ca.path_len.map(|own| own.saturating_sub(between));
            if let Some(left) = left.filter(|left| least.is_none_or(|(other, _)| *left < other)) {
                least = Some((left, ca));
            }
            between += u32::from(!ca.is_self_issued());
        }
        least
    }

    /// Whether these names may stand below every CA of the path.
    pub fn check_names(&self, names: &[Identifier]) -> Result<()> {
        let broken = |name: &Identifier| self.violation(|ca| ca.constraints.as_ref()?.refuses(name));
        names.iter().find_map(broken).map_or(Ok(()), Err)
    }

    /// Whether this subject may stand below every CA of the path.
    pub fn check_subject(&self, subject: &DistinguishedName) -> Result<()> {
        self.violation(|ca| ca.constraints.as_ref()?.refuses_subject(subject)).map_or(Ok(()), Err)
    }

    fn violation(&self, judge: impl Fn(&CaCertificate) -> Option<ConstraintViolation>) -> Option<Error> {
        self.cas.iter().find_map(|ca| Some(refusal(&judge(ca)?, ca)))
    }

    /// Whether every CA of the path allows these usages.
    pub fn check_usages(&self, usages: &[ObjectIdentifier]) -> Result<()> {
        for ca in &self.cas {
            if let Some(outside) = usages.iter().find(|usage| !ca.allows_usage(usage)) {
                let names: Vec<_> = ca.usages.iter().map(usage_name).collect();
                return Err(Error::refused(
                    ErrorKind::Refused,
                    "issuer.extended_key_usage",
                    format!("{} below {}", usage_name(outside), ca.described()),
                    format!("the usages of that CA: {}", names.join(", ")),
                    "use an issuer whose CAs have this usage",
                )
                .explained(format!(
                    "{} does not allow usage {} below it, only {}",
                    ca.described(),
                    usage_name(outside),
                    names.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// Whether a certificate with these policies is valid on this path.
    pub fn check_policies(&self, policies: &BTreeSet<ObjectIdentifier>) -> Result<()> {
        if !self.policies.refuses(policies) {
            return Ok(());
        }
        let list =
            |ids: &BTreeSet<ObjectIdentifier>| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let value = if policies.is_empty() { "no certificate policy".to_owned() } else { list(policies) };
        let under = self.cas.first().map_or_else(String::new, CaCertificate::name);
        Err(Error::refused(
            ErrorKind::Refused,
            "issuer.policies",
            format!("{value} below {under}, whose path requires one"),
            list(self.policies.expected()),
            "set \"policies\" in the profile to one of these",
        )
        .explained(format!(
            "the path above {under} requires one of the policies {}, and the certificate would have {value}",
            list(self.policies.expected())
        )))
    }

    /// The policies that a CA or an OCSP delegate below must assert; empty when none is required.
    pub fn inherited_policies(&self) -> Vec<ObjectIdentifier> {
        self.policies.inherited()
    }

    /// A name for a CA or an OCSP delegate below: this CN, under a directory name that every CA of the path permits.
    pub fn subject(&self, common_name: &str) -> Result<DistinguishedName> {
        let constraints = || self.cas.iter().filter_map(|ca| ca.constraints.as_ref());
        let places = constraints().flat_map(|own| own.directories()).cloned();
        let mut refused = None;
        for place in std::iter::once(DistinguishedName::empty()).chain(places) {
            let subject = place.with_common_name(common_name).map_err(|e| {
                let rule = format!("subject.{}", e.attribute);
                {
                    let sentence = e.to_string();
                    Error::refused(ErrorKind::Malformed, rule, e.value, e.why, "choose another name")
                        .explained(sentence)
                }
            })?;
            match self.check_subject(&subject) {
                Ok(()) => return Ok(subject),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        Err(refused.unwrap_or_else(|| Error::inconsistent("a path permits no name at all")))
    }

    /// Whether every certificate of the path is valid under those above it, at `now`: validity, path length, usages,
    /// names, and no critical extension that we do not process.
    pub fn check(&self, now: Timestamp) -> Result<()> {
        let mut above = IssuingPath::none().clone();
        for ca in self.cas.iter().rev() {
            ca.check_time(now)?;
            ca.check_extensions()?;
            above.check_ca(ca)?;
            above = above.below(ca.clone())?;
        }
        Ok(())
    }

    /// Whether this CA may stand below the path.
    pub fn check_ca(&self, ca: &CaCertificate) -> Result<()> {
        if ca.is_self_issued() {
            return Ok(());
        }
        if let Some((0, limit)) = self.path_len().filter(|_| planted!("path-length-is-ignored", false, true)) {
            let allowed =
                format!("a path length of {} that leaves room for it (RFC 5280 §4.2.1.9)", limit.described());
            return Err(Error::refused(
                ErrorKind::Unprocessable,
                "issuer.path_len",
                format!(
                    "{} below {}, whose path length is {}",
                    ca.name(),
                    limit.described(),
                    limit.path_len.unwrap_or(0)
                ),
                allowed,
                "have it signed by a CA that may have CAs below it",
            )
            .explained(format!(
                "{} cannot stand below {}, whose path length is {} (RFC 5280 §4.2.1.9)",
                ca.name(),
                limit.described(),
                limit.path_len.unwrap_or(0)
            )));
        }
        let unprocessable = |mut error: Error| {
            error.kind = ErrorKind::Unprocessable;
            error
        };
        let any = ca.usages.contains(&super::oids::ANY_EXTENDED_KEY_USAGE);
        let usages = if any { &[][..] } else { &ca.usages };
        self.check_usages(usages).map_err(unprocessable)?;
        let subject = DistinguishedName::from_der(&ca.subject)
            .map_err(|e| Error::malformed("the name of a CA cannot be read").because(e))?;
        self.check_subject(&subject).map_err(unprocessable)?;
        let names = |above: &CaCertificate| {
            let constraints = above.constraints.as_ref()?;
            ca.names.iter().find_map(|name| constraints.judge(name))
        };
        self.violation(names).map_or(Ok(()), |error| Err(unprocessable(error)))
    }
}

fn refusal(violation: &ConstraintViolation, ca: &CaCertificate) -> Error {
    let (name, who) = (shown(&violation.name), ca.described());
    let allowed = format!("{who} {}", violation.rule);
    let fix = "ask for another name, or use an issuer whose CAs permit it";
    let rule = Rule {
        name: "issuer.name_constraints".into(),
        value: name.clone(),
        allowed: allowed.clone(),
        fix: fix.into(),
    };
    let detail = format!("{name} is not allowed: {allowed}; {fix}");
    let mut error = Error::new(ErrorKind::RejectedIdentifier, detail);
    error.rule = Some(Box::new(rule));
    error
}

pub(super) fn usage_name(id: &ObjectIdentifier) -> String {
    let known = ExtendedKeyUsage::ALL.into_iter().find(|usage| usage.oid() == *id);
    known.map_or_else(|| id.to_string(), |usage| usage.name().to_owned())
}
