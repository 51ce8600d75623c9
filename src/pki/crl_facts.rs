//! Reading CRLs (RFC 5280 §5): what a CRL says, for inspect and fsck, and the rules that ours must keep, checked
//! on the bytes.

use std::collections::HashSet;
use std::fmt;

use super::algorithm::{SignatureScheme, VerifyError, verify_with};
use super::der::{self, Cursor, DerError, Tlv};
use super::extension::{Extension, extensions};
use super::oids;
use crate::clock::Timestamp;
use crate::model::crl::CrlNumber;
use crate::model::serial::SerialNumber;

/// A parsed CRL. Its entries were walked once, so that iterating them does not fail later.
#[derive(Debug, Clone)]
pub struct CrlFacts<'a> {
    /// Name in DER.
    pub issuer: &'a [u8],
    pub this_update: Timestamp,
    pub next_update: Option<Timestamp>,
    /// Content octets of the CRL number.
    pub number: Option<&'a [u8]>,
    pub authority_key_id: Option<&'a [u8]>,
    /// The number of the base, if this is a delta CRL.
    pub delta_base: Option<&'a [u8]>,
    /// IssuingDistributionPoint in DER.
    pub distribution_point: Option<&'a [u8]>,
    /// It speaks of certificates of other issuers too (RFC 5280 §5.2.5).
    pub is_indirect: bool,
    pub extensions: Vec<Extension<'a>>,
    pub count: u64,
    /// 2, or 1 where it is left out.
    pub version: u32,
    pub tbs: &'a [u8],
    pub signature: &'a [u8],
    inner_algorithm: &'a [u8],
    outer_algorithm: &'a [u8],
    entries: Option<&'a [u8]>,
    /// thisUpdate and nextUpdate have the form that their years ask for.
    times_in_form: bool,
}

/// One revoked certificate. Serial and reason are raw, because other CAs write what we never would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlEntry<'a> {
    /// Content octets of the INTEGER.
    pub serial: &'a [u8],
    pub revoked_at: Timestamp,
    time_in_form: bool,
    /// The CRLReason code.
    pub reason: Option<u8>,
    /// RFC 5280 §5.3.2. None also where it cannot be read: it is not critical.
    pub invalidity_date: Option<Timestamp>,
    /// The issuer's Name in DER, where the entry says it; else it is that of the entry before, first of all the CRL's.
    pub certificate_issuer: Option<&'a [u8]>,
    pub extensions: Vec<Extension<'a>>,
}

impl<'a> CrlFacts<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DerError> {
        let mut outer = der::only_sequence(bytes)?;
        let tbs = outer.expect(der::SEQUENCE)?;
        let outer_algorithm = outer.expect(der::SEQUENCE)?.raw;
        let signature = outer.bit_octets()?;
        outer.finish()?;

        let mut list = tbs.inside();
        let version = match list.peek() {
            Some(der::INTEGER) => list.small_integer()? + 1,
            _ => 1,
        };
        let inner_algorithm = list.expect(der::SEQUENCE)?.raw;
        let issuer = list.expect(der::SEQUENCE)?.raw;
        let (this_update, mut times_in_form) = time(&mut list)?;
        let mut next_update = None;
        if let Some(der::UTC_TIME | der::GENERALIZED_TIME) = list.peek() {
            let (next, in_form) = time(&mut list)?;
            (next_update, times_in_form) = (Some(next), times_in_form && in_form);
        }
        let entries = list.optional(der::SEQUENCE)?.map(|e| e.content);
        let extensions = match list.optional(der::context_constructed(0))? {
            Some(explicit) => explicit_extensions(explicit)?,
            None => Vec::new(),
        };
        list.finish()?;

        let mut facts = CrlFacts {
            issuer,
            this_update,
            next_update,
            number: integer_of(&extensions, &oids::CRL_NUMBER)?,
            authority_key_id: None,
            delta_base: integer_of(&extensions, &oids::DELTA_CRL_INDICATOR)?,
            distribution_point: find(&extensions, &oids::ISSUING_DISTRIBUTION_POINT).map(|e| e.value),
            is_indirect: false,
            extensions,
            count: 0,
            version,
            tbs: tbs.raw,
            signature,
            inner_algorithm,
            outer_algorithm,
            entries,
            times_in_form,
        };
        if let Some(found) = find(&facts.extensions, &oids::AUTHORITY_KEY_ID) {
            facts.authority_key_id = der::only_sequence(found.value)?.optional(der::context(0))?.map(|id| id.content);
        }
        facts.is_indirect = facts.distribution_point.map(is_indirect).transpose()?.unwrap_or_default();
        let mut rest = facts.entries.unwrap_or_default();
        let mut time: &[u8] = &[];
        while !rest.is_empty() {
            rest = match plain(rest) {
                Some(plain) if plain.time == time || Cursor::new(plain.time).time().is_ok() => {
                    time = plain.time;
                    plain.behind
                }
                _ => {
                    let mut all = Cursor::new(rest);
                    entry(&mut all)?;
                    all.left()
                }
            };
            facts.count += 1;
        }
        Ok(facts)
    }

    pub fn entries(&self) -> impl Iterator<Item = CrlEntry<'a>> + use<'a> {
        let mut rest = Cursor::new(self.entries.unwrap_or_default());
        // `parse` has read them all; were one unreadable, the walk would end there
        std::iter::from_fn(move || if rest.is_empty() { None } else { entry(&mut rest).ok() })
    }

    /// Is it signed by this key (SubjectPublicKeyInfo)?
    pub fn verify(&self, public_key: &[u8]) -> Result<(), VerifyError> {
        verify_with(SignatureScheme::parse(self.outer_algorithm)?, public_key, self.tbs, self.signature)
    }

    /// Does its IssuingDistributionPoint leave CA certificates of the CA out, or reasons for which they may be revoked
    /// (RFC 5280 §5.2.5)? Indirect CRLs count among them.
    pub fn leaves_out_cas(&self) -> bool {
        // onlyContainsUserCerts [1], indirectCRL [4], onlyContainsAttributeCerts [5]
        self.is_narrowed_by(&[1, 4, 5])
    }

    /// Does its IssuingDistributionPoint leave certificates of this kind out, or reasons for which they may be revoked?
    pub fn leaves_out(&self, is_ca: bool) -> bool {
        // onlyContainsUserCerts [1], onlyContainsCACerts [2], onlyContainsAttributeCerts [5]
        self.is_narrowed_by(if is_ca { &[1, 5] } else { &[2, 5] })
    }

    /// onlySomeReasons [3] and what is not known narrow it always.
    fn is_narrowed_by(&self, members: &[u8]) -> bool {
        let Some(mut point) = self.distribution_point.and_then(|value| der::only_sequence(value).ok()) else {
            return self.distribution_point.is_some();
        };
        while !point.is_empty() {
            let Ok(member) = point.any() else { return true };
            let is_true = member.content == [0xff];
            let narrows = match member.tag {
                tag if tag == der::context_constructed(0) => false,
                tag if [1, 2, 4, 5].map(der::context).contains(&tag) => {
                    is_true && members.iter().any(|number| tag == der::context(*number))
                }
                _ => true,
            };
            if narrows {
                return true;
            }
        }
        false
    }

    /// Has it, or one of its entries, a critical extension that nobody here reads? Such a CRL says nothing (RFC 5280
    /// §5.2, §5.3).
    pub fn has_unknown_critical(&self) -> bool {
        let known = [
            oids::AUTHORITY_KEY_ID,
            oids::CRL_NUMBER,
            oids::ISSUING_DISTRIBUTION_POINT,
            oids::DELTA_CRL_INDICATOR,
            oids::FRESHEST_CRL,
            oids::CRL_REASON,
            oids::INVALIDITY_DATE,
            oids::CERTIFICATE_ISSUER,
        ];
        let unknown = |all: &[Extension<'_>]| all.iter().any(|e| e.critical && !known.contains(&e.id));
        unknown(&self.extensions) || self.entries().any(|entry| unknown(&entry.extensions))
    }

    /// The number, if it has at most 20 octets.
    pub fn crl_number(&self) -> Option<CrlNumber> {
        CrlNumber::from_octets(self.number.filter(|n| n.first().is_some_and(|b| b & 0x80 == 0))?)
    }
}

/// What stands before the code of a reason: SEQUENCE { SEQUENCE { id-ce-cRLReasons, OCTET STRING { ENUMERATED } } }.
pub(super) const REASON: [u8; 13] =
    [der::SEQUENCE, 12, der::SEQUENCE, 10, der::OID, 3, 0x55, 0x1d, 0x15, der::OCTET_STRING, 3, der::ENUMERATED, 1];

/// An entry in the form that nearly all of ours have: it is read apart, because a list has a million of them.
struct Plain<'a> {
    serial: &'a [u8],
    /// A UTCTime with its tag. Its digits were not looked at.
    time: &'a [u8],
    reason: Option<u8>,
    behind: &'a [u8],
}

fn plain(list: &[u8]) -> Option<Plain<'_>> {
    let (entry, behind) = short(list, der::SEQUENCE)?;
    let (serial, entry) = short(entry, der::INTEGER)?;
    der::minimal_integer(serial).ok()?;
    let (time, entry) = entry.split_at_checked(15).filter(|(time, _)| time.starts_with(&[der::UTC_TIME, 13]))?;
    let reason = match entry.strip_prefix(&REASON) {
        None if entry.is_empty() => None,
        Some([code]) if *code < 0x80 => Some(*code),
        _ => return None,
    };
    Some(Plain { serial, time, reason, behind })
}

/// The content of a value of less than 128 octets, and what is behind it.
fn short(octets: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [first, length @ ..0x80, rest @ ..] = octets else { return None };
    rest.split_at_checked(usize::from(*length)).filter(|_| *first == tag)
}

/// The entries of a CRL in DER, one after the other, without a look at each.
pub fn encoded_entries(crl: &[u8]) -> Result<&[u8], DerError> {
    let mut list = der::only_sequence(crl).and_then(|mut outer| outer.sequence())?;
    list.optional(der::INTEGER)?;
    // algorithm and issuer
    list.expect(der::SEQUENCE)?;
    list.expect(der::SEQUENCE)?;
    while let Some(der::UTC_TIME | der::GENERALIZED_TIME) = list.peek() {
        list.any()?;
    }
    Ok(list.optional(der::SEQUENCE)?.map_or(&[], |entries| entries.content))
}

pub(super) fn entry<'a>(list: &mut Cursor<'a>) -> Result<CrlEntry<'a>, DerError> {
    let mut one = list.sequence()?;
    let serial = one.integer()?;
    let (revoked_at, time_in_form) = time(&mut one)?;
    let extensions = if one.is_empty() { Vec::new() } else { extensions(&mut one)? };
    one.finish()?;
    let reason = match find(&extensions, &oids::CRL_REASON) {
        None => None,
        Some(found) => {
            let mut value = Cursor::new(found.value);
            let code = der::small(der::minimal_integer(value.expect(der::ENUMERATED)?.content)?)?;
            value.finish()?;
            Some(u8::try_from(code).map_err(|_| DerError("a reason code is above 255"))?)
        }
    };
    let certificate_issuer =
        find(&extensions, &oids::CERTIFICATE_ISSUER).map(|found| directory_name(found.value)).transpose()?;
    let date = find(&extensions, &oids::INVALIDITY_DATE);
    let invalidity_date = date.and_then(|found| Cursor::new(found.value).time().ok());
    Ok(CrlEntry { serial, revoked_at, time_in_form, reason, invalidity_date, certificate_issuer, extensions })
}

/// The one directoryName of GeneralNames: what a certificate's issuer field can hold.
fn directory_name(names: &[u8]) -> Result<&[u8], DerError> {
    let mut names = der::only_sequence(names)?;
    let mut name = names.expect(der::context_constructed(4))?.inside();
    names.finish()?;
    let raw = name.expect(der::SEQUENCE)?.raw;
    name.finish()?;
    Ok(raw)
}

/// indirectCRL [4] of an IssuingDistributionPoint; the members before it are passed over.
fn is_indirect(point: &[u8]) -> Result<bool, DerError> {
    let mut point = der::only_sequence(point)?;
    let mut indirect = false;
    while !point.is_empty() {
        let member = point.any()?;
        indirect |= member.tag == der::context(4) && member.content == [0xff];
    }
    Ok(indirect)
}

/// A time, and whether it is UTCTime exactly through 2049 (RFC 5280 §5.1.2.4).
fn time(list: &mut Cursor<'_>) -> Result<(Timestamp, bool), DerError> {
    let tag = list.peek();
    let at = list.time()?;
    let wanted = if at.to_utc().year() < 2050 { der::UTC_TIME } else { der::GENERALIZED_TIME };
    Ok((at, tag == Some(wanted)))
}

fn explicit_extensions(explicit: Tlv<'_>) -> Result<Vec<Extension<'_>>, DerError> {
    let mut inside = explicit.inside();
    let found = extensions(&mut inside)?;
    inside.finish()?;
    Ok(found)
}

fn find<'e, 'a>(all: &'e [Extension<'a>], id: &::der::oid::ObjectIdentifier) -> Option<&'e Extension<'a>> {
    all.iter().find(|e| e.id == *id)
}

fn integer_of<'a>(all: &[Extension<'a>], id: &::der::oid::ObjectIdentifier) -> Result<Option<&'a [u8]>, DerError> {
    let Some(found) = find(all, id) else { return Ok(None) };
    let mut value = Cursor::new(found.value);
    let number = value.integer()?;
    value.finish()?;
    Ok(Some(number))
}

/// A rule that a CRL breaks, with the section that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    pub rule: &'static str,
    pub section: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.rule, self.section)
    }
}

/// The rules that every CRL of ours keeps, on its bytes. Each broken one is reported once.
pub fn lint_crl(bytes: &[u8]) -> Vec<Finding> {
    let mut lint = Lint(Vec::new());
    match CrlFacts::parse(bytes) {
        Ok(crl) => {
            lint.frame(&crl);
            lint.extensions(&crl);
            lint.entries(&crl);
        }
        Err(_) => lint.require(false, "a CRL is one CertificateList in DER", "RFC 5280 §5.1"),
    }
    lint.0
}

struct Lint(Vec<Finding>);

impl Lint {
    fn require(&mut self, holds: bool, rule: &'static str, section: &'static str) {
        let finding = Finding { rule, section };
        if !holds && !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    fn frame(&mut self, crl: &CrlFacts<'_>) {
        self.require(crl.version == 2, "the version is 2", "RFC 5280 §5.1.2.1");
        self.require(crl.inner_algorithm == crl.outer_algorithm, "both algorithms are the same", "RFC 5280 §5.1.1.2");
        self.require(crl.issuer != [der::SEQUENCE, 0], "the issuer's name is not empty", "RFC 5280 §5.1.2.3");
        let later = crl.next_update.is_some_and(|next| next > crl.this_update);
        self.require(later, "nextUpdate stands there and lies after thisUpdate", "RFC 5280 §5.1.2.5");
        self.require(crl.times_in_form, "times are UTCTime through 2049", "RFC 5280 §5.1.2.4");
        self.require(crl.entries != Some(&[]), "an empty list of entries is left out", "RFC 5280 §5.1.2.6");
    }

    fn extensions(&mut self, crl: &CrlFacts<'_>) {
        let soft = |id| find(&crl.extensions, id).is_some_and(|e| !e.critical);
        let hard_or_absent = |id| find(&crl.extensions, id).is_none_or(|e| e.critical);
        let key_id = soft(&oids::AUTHORITY_KEY_ID) && crl.authority_key_id.is_some_and(|id| !id.is_empty());
        self.require(key_id, "the authority key identifier stands there", "RFC 5280 §5.2.1");
        let positive = |n: &[u8]| n.len() <= 20 && n.first().is_some_and(|b| b & 0x80 == 0);
        let number = soft(&oids::CRL_NUMBER) && crl.number.is_some_and(positive);
        self.require(number, "the CRL number is not critical and has at most 20 octets", "RFC 5280 §5.2.3");
        self.require(
            hard_or_absent(&oids::ISSUING_DISTRIBUTION_POINT),
            "the issuing distribution point is critical",
            "RFC 5280 §5.2.5",
        );
        self.require(hard_or_absent(&oids::DELTA_CRL_INDICATOR), "a delta CRL says so critically", "RFC 5280 §5.2.4");
        let critical_ones = [oids::ISSUING_DISTRIBUTION_POINT, oids::DELTA_CRL_INDICATOR];
        let known = crl.extensions.iter().all(|e| !e.critical || critical_ones.contains(&e.id));
        self.require(known, "no other extension is critical", "RFC 5280 §5.2");
    }

    fn entries(&mut self, crl: &CrlFacts<'_>) {
        let mut last: Option<&[u8]> = None;
        let mut issuers = HashSet::new();
        let mut rest = crl.entries.unwrap_or_default();
        while !rest.is_empty() {
            // the walk before has read all times
            if let Some(plain) = plain(rest) {
                self.serial(last, plain.serial);
                self.reason(crl, plain.reason);
                (last, rest) = (Some(plain.serial), plain.behind);
                continue;
            }
            let mut all = Cursor::new(rest);
            let Ok(entry) = entry(&mut all) else { return };
            rest = all.left();
            if let Some(issuer) = entry.certificate_issuer {
                self.require(
                    crl.is_indirect && issuers.insert(issuer),
                    "an indirect CRL alone names issuers of entries, each once",
                    "RFC 5280 §5.3.3",
                );
                last = None;
            }
            self.serial(last, entry.serial);
            last = Some(entry.serial);
            self.reason(crl, entry.reason);
            self.require(entry.time_in_form, "times are UTCTime through 2049", "RFC 5280 §5.1.2.4");
            let right = entry.extensions.iter().all(|e| e.critical == (e.id == oids::CERTIFICATE_ISSUER));
            self.require(right, "of an entry's extensions certificateIssuer alone is critical", "RFC 5280 §5.3");
        }
    }

    fn serial(&mut self, last: Option<&[u8]>, serial: &[u8]) {
        let ascends = last.is_none_or(|last| last < serial);
        self.require(ascends, "serials ascend and none stands twice", "our own order");
        let positive = serial.len() <= SerialNumber::MAX_OCTETS
            && serial != [0]
            && serial.first().is_some_and(|b| b & 0x80 == 0);
        self.require(positive, "serials are positive and have at most 20 octets", "RFC 5280 §4.1.2.2");
    }

    fn reason(&mut self, crl: &CrlFacts<'_>, reason: Option<u8>) {
        let known = match reason {
            None | Some(1..=6 | 9 | 10) => true,
            Some(8) => crl.delta_base.is_some(),
            Some(_) => false,
        };
        self.require(known, "reasons are known, `unspecified` is left out", "RFC 5280 §5.3.1");
    }
}
