//! Lints on the bytes that will be signed: the rules of RFC 5280 and its companions for what a private CA issues,
//! judged by reading the bytes again, with a second parser beside ours. Any finding refuses.

mod extensions;
mod fields;
mod kubernetes;
mod san;
mod usages;

use x509_parser::prelude::FromDer;

use super::der::DerError;
use super::path::IssuingPath;
use super::tbs::TbsView;
use crate::error::{Error, ErrorKind, Result};
use crate::model::key::SignatureAlgorithm;
use crate::model::validity::Validity;

/// What the certificate is meant to be; each kind has its own extensions and usages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Leaf,
    /// A delegated OCSP responder (RFC 6960 §4.2.2.2).
    Responder,
    /// A CA under another one.
    Issuing,
    /// A self-signed CA.
    Root,
}

impl Kind {
    fn is_ca(self) -> bool {
        matches!(self, Kind::Issuing | Kind::Root)
    }
}

/// What the certificate above says. A root stands under itself: its own name, key and time.
#[derive(Debug, Clone, Copy)]
pub struct Above<'a> {
    pub subject: &'a [u8],
    pub key_id: &'a [u8],
    pub validity: Validity,
    /// The issuer with the CAs above it; empty above a root.
    pub path: &'a IssuingPath,
    /// The key identifier that a CA below has already; otherwise it is made of the public key.
    pub below_key_id: Option<&'a [u8]>,
}

/// One broken rule: its dotted name, who says so, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub rule: &'static str,
    pub cites: &'static str,
    pub detail: String,
}

/// Reads `tbs` again and lists every rule that it breaks. `signature` is what the signer's key asks for.
pub fn lint(tbs: &[u8], kind: Kind, signature: SignatureAlgorithm, above: &Above<'_>) -> Vec<Finding> {
    let mut findings = Findings::default();
    match TbsView::parse(tbs) {
        Err(error) => findings.add("tbs.der", "X.690 §10", error),
        Ok(view) => {
            second_parser(&view, &mut findings);
            let rules = [fields::check, extensions::check, usages::check, san::check, kubernetes::check];
            let checked = Checked { view: &view, kind, signature, above };
            for rule in rules {
                if let Err(error) = rule(&checked, &mut findings) {
                    findings.add("tbs.der", "X.690 §10", error);
                }
            }
        }
    }
    findings.0
}

/// The findings as one refusal.
pub fn refuse(findings: Vec<Finding>) -> Result<()> {
    let Some(first) = findings.first() else { return Ok(()) };
    let told: Vec<_> = findings.iter().map(|f| format!("{} ({}): {}", f.rule, f.cites, f.detail)).collect();
    let rule = format!("lint.{}", first.rule);
    let fix = "ask for another value, or report it if the value is the CA's own";
    Err(Error::refused(ErrorKind::Refused, rule, told.join("; "), first.cites, fix)
        .explained(format!("the certificate would break a rule: {}", told.join("; "))))
}

struct Checked<'a> {
    view: &'a TbsView<'a>,
    kind: Kind,
    signature: SignatureAlgorithm,
    above: &'a Above<'a>,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, rule: &'static str, cites: &'static str, detail: impl ToString) {
        self.0.push(Finding { rule, cites, detail: detail.to_string() });
    }

    fn require(&mut self, holds: bool, rule: &'static str, cites: &'static str, detail: impl ToString) {
        if !holds {
            self.add(rule, cites, detail);
        }
    }
}

/// A parser that is not ours sees the same certificate.
fn second_parser(view: &TbsView<'_>, findings: &mut Findings) {
    let cites = "RFC 5280 §4.1";
    match x509_parser::certificate::TbsCertificate::from_der(view.raw) {
        Ok((rest, other)) => {
            let same = rest.is_empty()
                && other.raw_serial() == view.serial
                && other.issuer.as_raw() == view.issuer
                && other.subject.as_raw() == view.subject
                && other.subject_pki.raw == view.spki
                && other.validity.not_before.timestamp() == view.validity.not_before().secs()
                && other.validity.not_after.timestamp() == view.validity.not_after().secs()
                && other.extensions().len() == view.extensions.len()
                && other.extensions().iter().zip(&view.extensions).all(|(a, (id, critical, value))| {
                    a.oid.as_bytes() == id.as_bytes() && a.critical == *critical && a.value == *value
                });
            findings.require(same, "tbs.second_parser", cites, "another parser reads other values");
            let unread = other.extensions().iter().filter(|e| e.parsed_extension().error().is_some());
            unread.for_each(|e| {
                findings.add("tbs.second_parser", cites, format!("another parser cannot read {}", e.oid))
            });
        }
        Err(_) => findings.add("tbs.second_parser", cites, "another parser cannot read it"),
    }
}

type Outcome = std::result::Result<(), DerError>;
