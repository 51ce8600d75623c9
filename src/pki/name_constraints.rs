//! Name constraints of one CA certificate (RFC 5280 §4.2.1.10), applied to a name below it. A name that cannot be
//! judged is refused.

use super::der::{self, Cursor, DerError};
use super::name::DistinguishedName;
use super::subtree::{ConstrainedName, Form, Subtree, uri_host};
use crate::model::identifier::Identifier;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameConstraints {
    permitted: Vec<Subtree>,
    excluded: Vec<Subtree>,
}

/// Why a name may not stand below a CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConstraintViolation {
    /// The name that was refused.
    pub name: String,
    /// What the CA says of names of this form, such as `permits lab.example only`.
    pub rule: String,
}

/// How what RFC 5280 leaves open is read.
#[derive(Debug, Clone, Copy)]
enum Reading {
    /// Whatever some verifier may exclude is excluded: for what we issue.
    Broad,
    /// An excluded subtree counts for the names that are in it letter by letter, as OpenSSL reads it.
    Literal,
}

impl Reading {
    fn excludes(self, tree: &Subtree, name: &ConstrainedName) -> bool {
        match self {
            Reading::Broad => tree.touches(name),
            Reading::Literal => tree.covers(name),
        }
    }

    /// Under a URI constraint a URI needs a host name (§4.2.1.10); verifiers ask for a host.
    fn takes_uri(self, text: &str) -> bool {
        match self {
            Reading::Broad => uri_host(text).is_some(),
            Reading::Literal => {
                let rest = text.split_once("://").map(|(_, rest)| rest);
                rest.is_some_and(|rest| !rest.starts_with(['/', ':']) && !rest.is_empty())
            }
        }
    }
}

impl NameConstraints {
    /// From the value of the extension, which has one list at least.
    pub fn parse(value: &[u8]) -> Result<Self, DerError> {
        let mut fields = der::only_sequence(value)?;
        let mut read = |tag| fields.optional(der::context_constructed(tag)).map(|f| f.map(|f| f.inside()));
        let (permitted, excluded) = (read(0)?, read(1)?);
        fields.finish()?;
        if permitted.is_none() && excluded.is_none() {
            return Err(DerError("name constraints neither permit nor exclude anything"));
        }
        Ok(NameConstraints {
            permitted: permitted.map(subtrees).transpose()?.unwrap_or_default(),
            excluded: excluded.map(subtrees).transpose()?.unwrap_or_default(),
        })
    }

    /// Why a name may not stand below this CA; none when it may.
    pub fn refuses(&self, name: &Identifier) -> Option<ConstraintViolation> {
        self.judge(&ConstrainedName::from(name))
    }

    /// Why a subject may not stand below this CA: directoryName constraints on the whole of it, rfc822Name constraints on
    /// mail addresses in it. An empty subject is free.
    pub fn refuses_subject(&self, subject: &DistinguishedName) -> Option<ConstraintViolation> {
        if subject.is_empty() {
            return None;
        }
        let mail = subject.texts(&super::oids::EMAIL_ADDRESS).unwrap_or_default();
        let whole = self.judge(&ConstrainedName::Directory(subject.clone()));
        whole.or_else(|| mail.into_iter().find_map(|text| self.judge(&ConstrainedName::Email(text))))
    }

    pub(super) fn judge(&self, name: &ConstrainedName) -> Option<ConstraintViolation> {
        self.judge_by(name, Reading::Broad)
    }

    /// Why verifiers refuse a certificate with this subject and these names; none when they take it.
    pub(super) fn breaks_any(
        &self,
        subject: &DistinguishedName,
        names: &[ConstrainedName],
    ) -> Option<ConstraintViolation> {
        let directory = (!subject.is_empty()).then(|| ConstrainedName::Directory(subject.clone()));
        let mail =
            subject.texts(&super::oids::EMAIL_ADDRESS).unwrap_or_default().into_iter().map(ConstrainedName::Email);
        let of_subject: Vec<_> = directory.into_iter().chain(mail).collect();
        of_subject.iter().chain(names).find_map(|name| self.judge_by(name, Reading::Literal))
    }

    fn judge_by(&self, name: &ConstrainedName, reading: Reading) -> Option<ConstraintViolation> {
        let form = name.form();
        let violation = |rule: String| Some(ConstraintViolation { name: name.to_string(), rule });
        let all = || self.permitted.iter().chain(&self.excluded).filter(|tree| tree.form() == form);
        all().next()?;
        if all().any(Subtree::is_bounded) {
            return violation("bounds how deep such names may lie, which RFC 5280 does not define".into());
        }
        if matches!(form, Form::Other(_)) {
            return violation("constrains names of this form, which Chancery cannot judge".into());
        }
        if matches!(name, ConstrainedName::Uri(text) if !reading.takes_uri(text)) {
            return violation("constrains URIs, so that only URIs with a host name are allowed".into());
        }
        if let Some(tree) = self.excluded.iter().find(|tree| reading.excludes(tree, name)) {
            return violation(format!("excludes {tree}"));
        }
        let permitted: Vec<_> = self.permitted.iter().filter(|tree| tree.form() == form).collect();
        if permitted.is_empty() || permitted.iter().any(|tree| tree.covers(name)) {
            return None;
        }
        let list: Vec<_> = permitted.iter().map(ToString::to_string).collect();
        violation(format!("permits {} only", list.join(", ")))
    }

    pub(super) fn permitted(&self) -> &[Subtree] {
        &self.permitted
    }

    pub(super) fn excluded(&self) -> &[Subtree] {
        &self.excluded
    }

    /// What remains below this CA of these subtrees, which are of one form.
    pub(super) fn narrow(&self, trees: &[Subtree]) -> Vec<Subtree> {
        let Some(form) = trees.first().map(Subtree::form) else { return Vec::new() };
        let own: Vec<_> = self.permitted.iter().filter(|tree| tree.form() == form).collect();
        let met: Vec<Subtree> = match own.as_slice() {
            [] => trees.to_vec(),
            own => trees.iter().flat_map(|tree| own.iter().filter_map(|other| other.meet(tree))).collect(),
        };
        self.without_excluded(met)
    }

    pub(super) fn without_excluded(&self, mut trees: Vec<Subtree>) -> Vec<Subtree> {
        trees.retain(|tree| !self.excluded.iter().any(|excluded| excluded.excludes_all_of(tree)));
        trees
    }

    /// The directory names of which a subject below this CA must begin with one; empty when it may be any.
    pub(super) fn directories(&self) -> impl Iterator<Item = &DistinguishedName> {
        self.permitted.iter().filter_map(Subtree::directory)
    }
}

fn subtrees(mut list: Cursor<'_>) -> Result<Vec<Subtree>, DerError> {
    let mut trees = Vec::new();
    while !list.is_empty() {
        trees.push(Subtree::read(list.sequence()?)?);
    }
    if trees.is_empty() { Err(DerError("a list of constraints is empty")) } else { Ok(trees) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(tag: u8, content: &[u8]) -> Vec<u8> {
        der::sequence(&[&der::tlv(tag, content)])
    }

    fn constraints(permitted: &[Vec<u8>], excluded: &[Vec<u8>]) -> NameConstraints {
        let list = |tag, trees: &[Vec<u8>]| match trees {
            [] => Vec::new(),
            _ => {
                der::constructed(der::context_constructed(tag), &trees.iter().map(Vec::as_slice).collect::<Vec<_>>())
            }
        };
        NameConstraints::parse(&der::sequence(&[&list(0, permitted), &list(1, excluded)])).unwrap()
    }

    fn allows(constraints: &NameConstraints, name: &str) -> bool {
        constraints.refuses(&Identifier::guess(name).unwrap()).is_none()
    }

    #[test]
    fn permitted_and_excluded_subtrees_hold() {
        let permitted =
            [tree(0x82, b"Example.org"), tree(0x87, &[10, 0, 0, 0, 255, 0, 0, 0]), tree(0x81, b".example.org")];
        let rules = constraints(&permitted, &[tree(0x82, b"secret.example.org")]);
        for (name, allowed) in [
            ("example.org", true),
            ("a.example.org", true),
            ("evilexample.org", false),
            ("secret.example.org", false),
            ("x.secret.example.org", false),
            ("*.example.org", false),
            ("*.a.example.org", true),
            ("10.9.9.9", true),
            ("11.0.0.1", false),
            ("fd00::1", false),
            ("a@mail.example.org", true),
            ("a@example.org", false),
            ("spiffe://anything/x", true),
        ] {
            assert_eq!(allows(&rules, name), allowed, "{name}");
        }
    }

    #[test]
    fn uris_are_judged_by_host() {
        let rules = constraints(&[tree(0x86, b".example.org")], &[tree(0x86, b"bad.example.org")]);
        assert!(allows(&rules, "https://a.example.org:8443/x") && !allows(&rules, "https://bad.example.org/x"));
        assert!(!allows(&rules, "urn:uuid:1") && !allows(&rules, "https://evil.test/.example.org"));
    }

    #[test]
    fn directory_names_are_prefixes() {
        use crate::pki::name::SubjectFields;
        let organization = SubjectFields { organization: vec!["A".into()], ..SubjectFields::default() };
        let base = DistinguishedName::build(&organization).unwrap();
        let rules = constraints(&[tree(0xa4, base.as_der())], &[]);
        let below = SubjectFields { common_name: Some("x".into()), ..organization };
        assert_eq!(rules.refuses_subject(&DistinguishedName::build(&below).unwrap()), None);
        let foreign = DistinguishedName::build(&SubjectFields::common_name("x")).unwrap();
        assert!(rules.refuses_subject(&foreign).is_some());
    }

    #[test]
    fn crooked_constraints_are_refused() {
        for value in [&[0x30, 0x02, 0xa0, 0x00][..], &[0x30, 0], &[0x31, 0], &tree(0x87, &[1, 2, 3])] {
            assert!(NameConstraints::parse(value).is_err());
        }
    }

    #[test]
    fn a_leading_dot_leaves_the_apex_out_of_permitted_and_in_excluded() {
        for (tag, apex, below) in [
            (0x82, "example.org", "a.example.org"),
            (0x81, "a@example.org", "a@b.example.org"),
            (0x86, "https://example.org/x", "https://a.example.org/x"),
        ] {
            let permitted = constraints(&[tree(tag, b".example.org")], &[]);
            assert!(!allows(&permitted, apex) && allows(&permitted, below), "permitted and {apex}");
            let excluded = constraints(&[], &[tree(tag, b".example.org")]);
            assert!(!allows(&excluded, apex) && !allows(&excluded, below), "excluded and {apex}");
        }
        let permitted = constraints(&[tree(0x82, b".example.org")], &[]);
        assert!(allows(&permitted, "*.example.org") && !allows(&permitted, "*.org"));
    }

    #[test]
    fn the_local_part_of_a_mailbox_compares_exactly() {
        let rules = constraints(&[tree(0x81, b"Ann@Example.ORG")], &[]);
        assert!(allows(&rules, "Ann@example.org") && !allows(&rules, "ann@example.org"));
        let rules = constraints(&[], &[tree(0x81, b"Ann@Example.ORG")]);
        assert!(!allows(&rules, "Ann@example.org") && allows(&rules, "ann@example.org"));
    }

    #[test]
    fn any_uri_constraint_refuses_a_uri_without_a_host_name() {
        for rules in [constraints(&[tree(0x86, b".example.org")], &[]), constraints(&[], &[tree(0x86, b".bad.test")])]
        {
            for name in ["urn:uuid:1", "https://192.0.2.1/x", "https://[2001:db8::1]/x", "https://%65.example.org/"] {
                assert!(!allows(&rules, name), "{name}");
            }
            assert!(allows(&rules, "https://user@a.example.org:8443/x"));
        }
        assert!(allows(&constraints(&[tree(0x82, b"x.test")], &[]), "urn:uuid:1"), "another form is free");
    }

    #[test]
    fn bounded_and_unknown_forms_refuse_only_names_of_that_form() {
        let bounded = der::sequence(&[&der::tlv(0x82, b"example.org"), &der::tlv(0x81, &[3])]);
        let rules = constraints(&[bounded], &[]);
        assert!(!allows(&rules, "a.example.org") && allows(&rules, "10.0.0.1"));
        let zero = der::sequence(&[&der::tlv(0x82, b"example.org"), &der::tlv(0x80, &[0])]);
        assert!(allows(&constraints(&[zero], &[]), "a.example.org"));
        let other = constraints(&[tree(0x88, &[0x2a, 3])], &[]);
        assert!(allows(&other, "a.example.org") && allows(&other, "urn:uuid:1"));
    }

    #[test]
    fn directory_names_compare_without_string_type_case_and_blanks() {
        use crate::pki::{name::SubjectFields, oids};
        let attribute =
            der::sequence(&[&der::oid(&oids::ORGANIZATION), &der::tlv(der::PRINTABLE_STRING, b"EXAMPLE   corp")]);
        let base = der::sequence(&[&der::tlv(der::SET, &attribute)]);
        let fields = SubjectFields { organization: vec!["Example Corp".into()], ..SubjectFields::common_name("x") };
        let subject = DistinguishedName::build(&fields).unwrap();
        assert_eq!(constraints(&[tree(0xa4, &base)], &[]).refuses_subject(&subject), None);
        assert!(constraints(&[], &[tree(0xa4, &base)]).refuses_subject(&subject).is_some());
    }
}
