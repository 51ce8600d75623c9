//! Certificate policies along a path (RFC 5280 §6.1.2 to §6.1.5): which policies a certificate below the last CA may
//! assert, and whether it must assert one. Every policy is acceptable to us from the start.

use std::collections::{BTreeMap, BTreeSet};

use ::der::oid::ObjectIdentifier;

use super::der::{self, DerError};
use super::oids;
use super::tbs::TbsView;

/// What one CA certificate says about policies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyExtensions {
    /// None without the extension: no policy is valid below.
    policies: Option<BTreeSet<ObjectIdentifier>>,
    mappings: Vec<(ObjectIdentifier, ObjectIdentifier)>,
    require_explicit: Option<u32>,
    inhibit_mapping: Option<u32>,
    inhibit_any: Option<u32>,
}

/// The state after the CAs of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidPolicies {
    /// The policies that the next certificate may assert, perhaps anyPolicy; empty when none is valid any more.
    expected: BTreeSet<ObjectIdentifier>,
    /// How many more certificates may go without a valid policy; none when all may.
    explicit: Option<u32>,
    mapping: Option<u32>,
    any: Option<u32>,
}

impl PolicyExtensions {
    pub fn read(view: &TbsView<'_>) -> Result<Self, DerError> {
        let value = |id| view.extension(id).map(|(_, value)| value);
        let mut found = PolicyExtensions {
            policies: value(&oids::CERTIFICATE_POLICIES).map(policies).transpose()?,
            mappings: value(&oids::POLICY_MAPPINGS).map(mappings).transpose()?.unwrap_or_default(),
            ..PolicyExtensions::default()
        };
        if let Some(value) = value(&oids::POLICY_CONSTRAINTS) {
            let mut inside = der::only_sequence(value)?;
            let mut number = |tag| {
                let field = inside.optional(der::context(tag))?;
                field.map(|field| der::small(der::minimal_integer(field.content)?)).transpose()
            };
            (found.require_explicit, found.inhibit_mapping) = (number(0)?, number(1)?);
            inside.finish()?;
        }
        if let Some(value) = value(&oids::INHIBIT_ANY_POLICY) {
            let mut inside = der::Cursor::new(value);
            found.inhibit_any = Some(inside.small_integer()?);
            inside.finish()?;
        }
        Ok(found)
    }
}

/// The policies of a certificate, as the extension lists them.
pub fn policies(value: &[u8]) -> Result<BTreeSet<ObjectIdentifier>, DerError> {
    let mut list = der::only_sequence(value)?;
    let mut found = BTreeSet::new();
    while !list.is_empty() {
        // qualifiers are for people
        if !found.insert(list.sequence()?.oid()?) {
            return Err(DerError("a certificate policy stands twice"));
        }
    }
    if found.is_empty() { Err(DerError("a list of certificate policies is empty")) } else { Ok(found) }
}

fn mappings(value: &[u8]) -> Result<Vec<(ObjectIdentifier, ObjectIdentifier)>, DerError> {
    let mut list = der::only_sequence(value)?;
    let mut found = Vec::new();
    while !list.is_empty() {
        let mut pair = list.sequence()?;
        found.push((pair.oid()?, pair.oid()?));
        pair.finish()?;
    }
    Ok(found)
}

impl Default for ValidPolicies {
    fn default() -> Self {
        ValidPolicies { expected: BTreeSet::from([oids::ANY_POLICY]), explicit: None, mapping: None, any: None }
    }
}

impl ValidPolicies {
    /// Takes one more CA below. An error says why no certificate below it can be valid.
    pub fn below(&self, ca: &PolicyExtensions, self_issued: bool) -> Result<Self, &'static str> {
        let any_counts = self.any != Some(0) || self_issued;
        let valid = ca.policies.as_ref().map_or_else(BTreeSet::new, |own| self.valid(own, any_counts));
        if self.explicit == Some(0) && valid.is_empty() {
            return Err("asserts no policy that the CAs above it require");
        }
        let lower = |counter: Option<u32>| if self_issued { counter } else { counter.map(|n| n.saturating_sub(1)) };
        let bound = |counter: Option<u32>, own: Option<u32>| match (counter, own) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Ok(ValidPolicies {
            expected: self.mapped(valid, ca)?,
            explicit: bound(lower(self.explicit), ca.require_explicit),
            mapping: bound(lower(self.mapping), ca.inhibit_mapping),
            any: bound(lower(self.any), ca.inhibit_any),
        })
    }

    /// Why a certificate with these policies is not valid as the last of the path; none when it is.
    pub fn refuses(&self, policies: &BTreeSet<ObjectIdentifier>) -> bool {
        let required = self.explicit.is_some_and(|n| n <= 1);
        required && self.valid(policies, self.any != Some(0)).is_empty()
    }

    /// Why a certificate that says this is not valid as the last of the path (RFC 5280 §6.1.5); none when it is.
    pub fn refuses_last(&self, own: &PolicyExtensions) -> Option<String> {
        let none = BTreeSet::new();
        let policies = own.policies.as_ref().unwrap_or(&none);
        let required = self.is_required() || own.require_explicit == Some(0);
        if !required || !self.valid(policies, self.any != Some(0)).is_empty() {
            return None;
        }
        let list =
            |ids: &BTreeSet<ObjectIdentifier>| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let has = if policies.is_empty() { "has none".to_owned() } else { format!("has {}", list(policies)) };
        Some(match self.expected.is_empty() {
            true => format!(
                "it must have a certificate policy that every CA above it allows, and there is none; it {has}"
            ),
            false if self.expected.contains(&oids::ANY_POLICY) => {
                format!("it must have a certificate policy, and it {has}")
            }
            false => format!("it must have one of the certificate policies {}, and it {has}", list(&self.expected)),
        })
    }

    /// Whether a certificate below must assert a policy.
    pub fn is_required(&self) -> bool {
        self.explicit.is_some_and(|n| n <= 1)
    }

    /// The policies of which it must assert one.
    pub fn expected(&self) -> &BTreeSet<ObjectIdentifier> {
        &self.expected
    }

    /// What a CA or an OCSP delegate below asserts so that what is below it stays valid.
    pub fn inherited(&self) -> Vec<ObjectIdentifier> {
        let any = self.any != Some(0);
        let all = self.expected.iter().filter(|id| any || **id != oids::ANY_POLICY);
        if self.explicit.is_some() { all.copied().collect() } else { Vec::new() }
    }

    fn valid(&self, own: &BTreeSet<ObjectIdentifier>, any_counts: bool) -> BTreeSet<ObjectIdentifier> {
        let from_any = self.expected.contains(&oids::ANY_POLICY);
        let named = own.iter().filter(|id| **id != oids::ANY_POLICY && (from_any || self.expected.contains(*id)));
        let mut valid: BTreeSet<_> = named.copied().collect();
        if any_counts && own.contains(&oids::ANY_POLICY) {
            valid.extend(self.expected.iter().copied());
        }
        valid
    }

    /// The valid policies under the names that they have below (RFC 5280 §6.1.4 a, b).
    fn mapped(
        &self,
        mut valid: BTreeSet<ObjectIdentifier>,
        ca: &PolicyExtensions,
    ) -> Result<BTreeSet<ObjectIdentifier>, &'static str> {
        let mut targets: BTreeMap<ObjectIdentifier, BTreeSet<ObjectIdentifier>> = BTreeMap::new();
        for (above, below) in &ca.mappings {
            if [above, below].contains(&&oids::ANY_POLICY) {
                return Err("maps anyPolicy, which RFC 5280 §6.1.4 forbids");
            }
            targets.entry(*above).or_default().insert(*below);
        }
        let from_any = valid.contains(&oids::ANY_POLICY);
        let mut renamed = BTreeSet::new();
        for (above, below) in targets {
            let known = valid.remove(&above);
            if self.mapping != Some(0) && (known || from_any) {
                renamed.extend(below);
            }
        }
        valid.extend(renamed);
        Ok(valid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.1");
    const B: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.2");

    fn set(ids: &[ObjectIdentifier]) -> BTreeSet<ObjectIdentifier> {
        ids.iter().copied().collect()
    }

    fn ca(policies: &[ObjectIdentifier]) -> PolicyExtensions {
        let policies = (!policies.is_empty()).then(|| set(policies));
        PolicyExtensions { policies, ..PolicyExtensions::default() }
    }

    fn after(cas: &[PolicyExtensions]) -> Result<ValidPolicies, &'static str> {
        cas.iter().try_fold(ValidPolicies::default(), |state, ca| state.below(ca, false))
    }

    #[test]
    fn nothing_is_required_unless_a_ca_says_so() {
        let state = after(&[ca(&[]), ca(&[A])]).unwrap();
        assert!(!state.refuses(&set(&[])) && !state.refuses(&set(&[B])) && state.inherited().is_empty());
    }

    #[test]
    fn require_explicit_policy_refuses_all_but_a_valid_one() {
        let strict = PolicyExtensions { require_explicit: Some(0), ..ca(&[A]) };
        let state = after(&[strict.clone(), ca(&[A])]).unwrap();
        assert!(state.is_required() && state.refuses(&set(&[])) && state.refuses(&set(&[B])));
        assert!(!state.refuses(&set(&[A])) && !state.refuses(&set(&[B, A])));
        assert_eq!(state.inherited(), [A]);
        assert!(after(&[strict.clone(), ca(&[])]).is_err(), "a CA without a policy ends the path");
        assert!(after(&[strict, ca(&[B])]).is_err());
        let later = PolicyExtensions { require_explicit: Some(2), ..ca(&[A]) };
        assert!(!after(std::slice::from_ref(&later)).unwrap().refuses(&set(&[])));
        assert!(after(&[later, ca(&[A])]).unwrap().refuses(&set(&[])));
    }

    #[test]
    fn any_policy_stands_for_all_until_it_is_inhibited() {
        let strict = PolicyExtensions { require_explicit: Some(0), ..ca(&[oids::ANY_POLICY]) };
        assert!(!after(&[strict.clone(), ca(&[A])]).unwrap().refuses(&set(&[A])));
        assert!(!after(std::slice::from_ref(&strict)).unwrap().refuses(&set(&[oids::ANY_POLICY])));
        let inhibited = PolicyExtensions { inhibit_any: Some(0), ..strict };
        assert!(after(std::slice::from_ref(&inhibited)).unwrap().refuses(&set(&[oids::ANY_POLICY])));
        assert!(after(&[inhibited, ca(&[oids::ANY_POLICY])]).is_err());
    }

    #[test]
    fn a_mapped_policy_has_its_new_name_below() {
        let mapping = PolicyExtensions { require_explicit: Some(0), mappings: vec![(A, B)], ..ca(&[A]) };
        let state = after(std::slice::from_ref(&mapping)).unwrap();
        assert!(state.refuses(&set(&[A])) && !state.refuses(&set(&[B])));
        let forbids = PolicyExtensions { inhibit_mapping: Some(0), require_explicit: Some(0), ..ca(&[A]) };
        assert!(after(&[forbids, mapping]).unwrap().refuses(&set(&[B])));
        let any = PolicyExtensions { mappings: vec![(A, oids::ANY_POLICY)], ..ca(&[A]) };
        assert!(after(&[any]).is_err());
    }

    #[test]
    fn the_last_certificate_may_itself_require_a_policy() {
        let none = after(&[ca(&[])]).unwrap();
        let asks = PolicyExtensions { require_explicit: Some(0), ..ca(&[A]) };
        assert_eq!(none.refuses_last(&ca(&[A])), None);
        assert!(none.refuses_last(&asks).unwrap().contains("there is none"));
        let strict = after(&[PolicyExtensions { require_explicit: Some(0), ..ca(&[A]) }]).unwrap();
        assert_eq!(strict.refuses_last(&ca(&[A, B])), None);
        assert!(strict.refuses_last(&ca(&[])).unwrap().ends_with("has none"));
        assert!(strict.refuses_last(&ca(&[B])).unwrap().contains(&B.to_string()));
    }
}
