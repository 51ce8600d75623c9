//! What operators look for in ACME: accounts, orders, and the attempts that came to nothing.

use super::acme::{AccountStatus, OrderStatus};
use super::id::{AccountId, AttemptId, GrantId, OrderId};
use crate::clock::Timestamp;

/// A request that was refused; the same one again soon after is counted in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub id: AttemptId,
    pub at: Timestamp,
    pub last_at: Timestamp,
    pub times: i64,
    /// `order.refused`, `order.finalize_refused`, `authorization.refused`, `account.refused`,
    /// `challenge.refused`, `certificate.revocation_refused`.
    pub action: String,
    pub directory: String,
    pub account_id: Option<AccountId>,
    pub order_id: Option<OrderId>,
    /// The client's, without port.
    pub address: String,
    /// As they were asked for: perhaps no names at all.
    pub names: Vec<String>,
    /// The code of the error.
    pub code: String,
    /// The sentence that the client was told.
    pub detail: String,
    pub rule: Option<String>,
    pub request_id: String,
}

/// When a certificate was fetched by its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloads {
    pub order_id: OrderId,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    pub times: i64,
    /// Of the first.
    pub address: String,
}

/// What an account must have to be listed; nothing is everything.
#[derive(Debug, Clone, Default)]
pub struct AccountFilter {
    pub directory: Option<String>,
    pub status: Option<AccountStatus>,
    pub grant: Option<GrantId>,
    pub thumbprint: Option<[u8; 32]>,
    /// A part of one of its contacts, whatever its case.
    pub contact: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct OrderFilter {
    pub account: Option<AccountId>,
    pub directory: Option<String>,
    /// As it is shown: an order that ran out is invalid.
    pub status: Option<OrderStatus>,
    pub name: Option<NameSearch>,
    pub since: Option<Timestamp>,
}

#[derive(Debug, Clone, Default)]
pub struct AttemptFilter {
    pub account: Option<AccountId>,
    pub directory: Option<String>,
    pub name: Option<NameSearch>,
    pub since: Option<Timestamp>,
}

/// A whole name, or the beginning of names when it ends with an asterisk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameSearch {
    Whole(String),
    Beginning(String),
}

impl NameSearch {
    /// `web.lab.example`, `*.lab.example`, `web*`, `10.0.0.7`.
    pub fn parse(text: &str) -> Self {
        let text = super::identifier::a_labels(&text.trim().trim_end_matches('.').to_lowercase());
        match text.strip_suffix('*') {
            Some(beginning) => NameSearch::Beginning(beginning.to_owned()),
            None => NameSearch::Whole(text),
        }
    }

    /// From here (inclusive) to there (exclusive), in the order of bytes.
    pub fn range(&self) -> (String, String) {
        match self {
            NameSearch::Whole(name) => (name.clone(), format!("{name}\u{1}")),
            NameSearch::Beginning(name) => (name.clone(), format!("{name}\u{10ffff}")),
        }
    }

    /// The same range without a wildcard label in front: how authorizations have their names.
    pub fn base_range(&self) -> (String, String) {
        match self {
            NameSearch::Whole(name) => NameSearch::Whole(base(name).to_owned()).range(),
            NameSearch::Beginning(name) => NameSearch::Beginning(base(name).to_owned()).range(),
        }
    }

    /// What authorizations of such a name are about: its base, or a name above it (RFC 9444).
    pub fn bases(&self) -> Vec<String> {
        let NameSearch::Whole(name) = self else { return Vec::new() };
        let mut rest = base(name);
        let mut bases = vec![rest.to_owned()];
        while let Some((_, parent)) = rest.split_once('.') {
            bases.push(parent.to_owned());
            rest = parent;
        }
        bases
    }

    /// How an order that asks for such a name has it in the JSON of its identifiers.
    pub fn in_identifiers(&self) -> String {
        match self {
            NameSearch::Whole(name) => format!("\"value\":\"{name}\""),
            NameSearch::Beginning(name) => format!("\"value\":\"{name}"),
        }
    }
}

fn base(name: &str) -> &str {
    name.strip_prefix("*.").unwrap_or(name.trim_start_matches('*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identifier::Identifier;

    #[test]
    fn a_search_fits_how_orders_have_their_names() {
        let json = serde_json::to_string(&[Identifier::dns("*.Lab.example").unwrap()]).unwrap();
        for fits in ["*.lab.example", "*.LAB.example.", "*.la*"] {
            assert!(json.contains(&NameSearch::parse(fits).in_identifiers()), "{fits} {json}");
        }
        for other in ["lab.example", "*.lab.exampl", "la*"] {
            assert!(!json.contains(&NameSearch::parse(other).in_identifiers()), "{other}");
        }
    }

    #[test]
    fn a_name_is_proved_by_itself_or_by_one_above() {
        let bases = NameSearch::parse("*.a.lab.example").bases();
        assert_eq!(bases, ["a.lab.example", "lab.example", "example"]);
        assert_eq!(NameSearch::parse("a*").bases(), Vec::<String>::new());
        assert_eq!(NameSearch::parse("*.M\u{fc}nchen.example"), NameSearch::parse("*.xn--mnchen-3ya.example"));
        assert_eq!(NameSearch::parse("m\u{fc}n*"), NameSearch::Beginning("m\u{fc}n".into()), "no whole label");
    }

    #[test]
    fn the_range_of_a_whole_name_holds_it_alone() {
        let (from, to) = NameSearch::parse("a.example").range();
        assert!("a.example" >= from.as_str() && "a.example" < to.as_str() && "a.example2" >= to.as_str());
        let (from, to) = NameSearch::parse("a*").range();
        assert!("a" >= from.as_str() && "azz.\u{e4}" < to.as_str() && "b" >= to.as_str());
    }
}
