//! The issue-value of RFC 8659 §4.2, which CAA records and the TXT records of dns-persist-01 share: the name of a
//! CA, then `tag=value` parameters behind semicolons.

/// Tags and the issuer's name are lower case; values are as they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IssueValue {
    /// `None` names no CA: it permits nobody.
    pub issuer: Option<String>,
    parameters: Vec<(String, String)>,
}

/// It does not match the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl IssueValue {
    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(value).ok().filter(|t| t.is_ascii()).ok_or(Malformed)?;
        let (issuer, rest) = text.split_once(';').map_or((text, ""), |(issuer, rest)| (issuer, rest));
        let issuer = match trim(issuer) {
            "" => None,
            name if is_domain(name) => Some(name.to_ascii_lowercase()),
            _ => return Err(Malformed),
        };
        // a semicolon may end the value, but not its parameters
        let parameters = match trim(rest) {
            "" => Vec::new(),
            some => some.split(';').map(parameter).collect::<Result<_, _>>()?,
        };
        Ok(IssueValue { issuer, parameters })
    }

    /// Every value of a tag, which is given in lower case.
    pub fn all<'a>(&'a self, tag: &'a str) -> impl Iterator<Item = &'a str> {
        self.parameters.iter().filter(move |(known, _)| known == tag).map(|(_, value)| value.as_str())
    }

    /// Does any tag stand twice?
    pub fn repeats(&self) -> bool {
        self.parameters.iter().enumerate().any(|(n, (tag, _))| self.parameters.iter().take(n).any(|(t, _)| t == tag))
    }
}

/// The part before the parameters, also of a value that is malformed behind it: whom it is meant for.
pub(super) fn meant_for(value: &[u8]) -> Option<String> {
    let head = value.split(|b| *b == b';').next()?;
    std::str::from_utf8(head).ok().map(|text| trim(text).to_ascii_lowercase())
}

fn parameter(text: &str) -> Result<(String, String), Malformed> {
    let (tag, value) = trim(text).split_once('=').ok_or(Malformed)?;
    let (tag, value) = (trim(tag), trim(value));
    let printable = |b: u8| matches!(b, 0x21..=0x3a | 0x3c..=0x7e);
    if is_label(tag) && value.bytes().all(printable) {
        Ok((tag.to_ascii_lowercase(), value.to_owned()))
    } else {
        Err(Malformed)
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn is_domain(name: &str) -> bool {
    name.split('.').all(is_label)
}

/// Letters and digits, hyphens only between them; a tag has the same form.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_the_grammar_has() {
        for (text, issuer, accounts) in [
            ("ca.example", Some("ca.example"), &[][..]),
            (" \tCA.Example\t ", Some("ca.example"), &[]),
            ("ca.example;", Some("ca.example"), &[]),
            ("ca.example ; \t", Some("ca.example"), &[]),
            (";", None, &[]),
            ("", None, &[]),
            ("; accounturi=x", None, &["x"]),
            ("ca.example; AccountURI = https://a/1 ;\tb=", Some("ca.example"), &["https://a/1"]),
            ("ca.example;accounturi=a;accounturi=b", Some("ca.example"), &["a", "b"]),
            ("ca.example; accounturi=a=b", Some("ca.example"), &["a=b"]),
        ] {
            let value = IssueValue::parse(text.as_bytes()).unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(value.issuer.as_deref(), issuer, "{text}");
            assert_eq!(value.all("accounturi").collect::<Vec<_>>(), accounts, "{text}");
        }
    }

    #[test]
    fn values_that_it_has_not() {
        for text in [
            "%%%%%",
            "ca_example",
            "-ca.example",
            "ca..example",
            "ca.example.",
            "ca.example; a=b;",
            "ca.example;; a=b",
            "ca.example; a",
            "ca.example; =b",
            "ca.example; a b=c",
            "ca.example; a=b c",
            "ca.example; a_b=c",
            "ca.example account=1",
            "ca.example; a=\u{e9}",
            "ca.example; a=b\n",
        ] {
            assert_eq!(IssueValue::parse(text.as_bytes()), Err(Malformed), "{text}");
        }
        assert_eq!(meant_for(b" Ca.example ; nonsense"), Some("ca.example".to_owned()));
    }

    #[test]
    fn repeated_tags_are_seen_without_regard_to_case() {
        assert!(IssueValue::parse(b"ca; a=1; b=2; A=3").unwrap().repeats());
        assert!(!IssueValue::parse(b"ca; a=1; b=2").unwrap().repeats());
    }
}
