//! Distinguished names (RFC 5280 §4.1.2.4, App. A; RFC 4514). Ours are built with the string types and bounds of
//! the RFC; names of others are carried as they came and only read for display.

use std::fmt;

use ::der::oid::ObjectIdentifier;
use serde::{Deserialize, Serialize};

use super::der::{self, Cursor, DerError};
use super::oids;
use crate::model::identifier::shown;
use crate::model::text::is_deceptive;

/// A Name in DER. An empty one is an empty SEQUENCE.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DistinguishedName(Vec<u8>);

/// The attributes that a subject of ours may have, in the order in which they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SubjectFields {
    /// `["com", "example"]` stands for DC=example,DC=com (RFC 4519: most significant first).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub domain_components: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub organization: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub organizational_unit: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{attribute} \"{value}\" {why}")]
pub struct NameError {
    pub attribute: &'static str,
    pub value: String,
    pub why: String,
}

/// The attributes of one RDN as they are compared: type and folded value, in order.
pub type ComparableRdn = Vec<(ObjectIdentifier, Vec<u8>)>;

/// One attribute as it was read: its type and its text, or none when it is no string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    pub id: ObjectIdentifier,
    pub text: Option<String>,
    raw: Vec<u8>,
}

impl DistinguishedName {
    pub fn empty() -> Self {
        DistinguishedName(der::sequence(&[]))
    }

    /// One attribute in each RDN, empty when there is none.
    pub fn build(fields: &SubjectFields) -> Result<Self, NameError> {
        let mut rdns = Vec::new();
        for (kind, value) in fields.pairs() {
            let attribute = der::sequence(&[&der::oid(&kind.id), &kind.encode(value)?]);
            rdns.push(der::tlv(der::SET, &attribute));
        }
        Ok(DistinguishedName(der::sequence(&rdns.iter().map(Vec::as_slice).collect::<Vec<_>>())))
    }

    /// A Name of somebody else, byte for byte, once its structure is read.
    pub fn from_der(bytes: &[u8]) -> Result<Self, DerError> {
        let name = DistinguishedName(bytes.to_vec());
        name.rdns()?;
        Ok(name)
    }

    pub fn as_der(&self) -> &[u8] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0 == [der::SEQUENCE, 0]
    }

    /// The RDNs in the order in which they are encoded; each has one attribute or more.
    pub fn rdns(&self) -> Result<Vec<Vec<Attribute>>, DerError> {
        let mut name = der::only_sequence(&self.0)?;
        let mut rdns = Vec::new();
        while !name.is_empty() {
            rdns.push(read_rdn(name.expect(der::SET)?.inside())?);
        }
        Ok(rdns)
    }

    /// The RDNs for comparison (RFC 5280 §7.1): the string type does not count, nor case, nor how many blanks there are.
    pub fn comparable(&self) -> Result<Vec<ComparableRdn>, DerError> {
        let fold = |rdn: Vec<Attribute>| {
            let mut folded: Vec<_> = rdn.iter().map(|attribute| (attribute.id, attribute.folded())).collect();
            folded.sort_unstable();
            folded
        };
        Ok(self.rdns()?.into_iter().map(fold).collect())
    }

    /// The attributes that the other name does not have, as RFC 4514 writes them.
    pub fn attributes_missing_in(&self, other: &DistinguishedName) -> Result<Vec<String>, DerError> {
        let theirs: Vec<Attribute> = other.rdns()?.into_iter().flatten().collect();
        let has = |own: &Attribute| theirs.iter().any(|a| a.id == own.id && a.folded() == own.folded());
        let missing = self.rdns()?.into_iter().flatten().filter(|own| !has(own));
        Ok(missing.map(|attribute| attribute.to_string()).collect())
    }

    /// This name with one CN below it.
    pub fn with_common_name(&self, text: &str) -> Result<Self, NameError> {
        let own = DistinguishedName::build(&SubjectFields::common_name(text))?;
        let inside = |name: &DistinguishedName| der::only_sequence(&name.0).map(Cursor::rest).unwrap_or_default();
        Ok(DistinguishedName(der::sequence(&[&inside(self), &inside(&own)])))
    }

    /// The texts of one attribute type, in order. An attribute that is no string is an error.
    pub fn texts(&self, id: &ObjectIdentifier) -> Result<Vec<String>, DerError> {
        let attributes = self.rdns()?.into_iter().flatten().filter(|a| a.id == *id);
        attributes.map(|a| a.text.ok_or(DerError("an attribute of a name is not a readable string"))).collect()
    }
}

impl Attribute {
    fn folded(&self) -> Vec<u8> {
        match &self.text {
            Some(text) => {
                let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
                [b"text ", words.join(" ").as_bytes()].concat()
            }
            None => [b"raw ", self.raw.as_slice()].concat(),
        }
    }
}

fn read_rdn(mut rdn: Cursor<'_>) -> Result<Vec<Attribute>, DerError> {
    let mut attributes = Vec::new();
    while !rdn.is_empty() {
        let mut pair = rdn.sequence()?;
        let id = pair.oid()?;
        let value = pair.any()?;
        pair.finish()?;
        attributes.push(Attribute { id, text: text_of(value), raw: value.raw.to_vec() });
    }
    if attributes.is_empty() {
        return Err(DerError("an RDN is empty"));
    }
    Ok(attributes)
}

/// The text of a DirectoryString, IA5String or NumericString; none when it is not valid in its own type.
pub(super) fn text_of(value: der::Tlv<'_>) -> Option<String> {
    let ascii = |bytes: &[u8]| bytes.is_ascii().then(|| String::from_utf8_lossy(bytes).into_owned());
    match value.tag {
        der::UTF8_STRING => String::from_utf8(value.content.to_vec()).ok(),
        der::PRINTABLE_STRING | der::IA5_STRING | 0x12 => ascii(value.content),
        // T.61 proper is dead; everybody who wrote it meant Latin-1
        der::TELETEX_STRING => Some(value.content.iter().map(|b| char::from(*b)).collect()),
        der::BMP_STRING if value.content.len().is_multiple_of(2) => {
            let units = value.content.chunks_exact(2).filter_map(|c| c.try_into().ok().map(u16::from_be_bytes));
            char::decode_utf16(units).collect::<Result<String, _>>().ok()
        }
        der::UNIVERSAL_STRING if value.content.len().is_multiple_of(4) => {
            let units = value.content.chunks_exact(4).filter_map(|c| c.try_into().ok().map(u32::from_be_bytes));
            units.map(char::from_u32).collect()
        }
        _ => None,
    }
}

/// RFC 4514: the last RDN first, attributes of one RDN joined by `+`.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(rdns) = self.rdns() else { return f.write_str("(unreadable name)") };
        for (i, rdn) in rdns.iter().rev().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            for (j, attribute) in rdn.iter().enumerate() {
                if j > 0 {
                    f.write_str("+")?;
                }
                write_attribute(f, attribute)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DistinguishedName({self})")
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_attribute(f, self)
    }
}

fn write_attribute(f: &mut fmt::Formatter<'_>, attribute: &Attribute) -> fmt::Result {
    match (label(&attribute.id), &attribute.text) {
        (Some(label), Some(text)) => write!(f, "{label}={}", escaped(text)),
        // §2.4: no keyword or no string means the dotted type and the value's BER in hex
        _ => {
            write!(f, "{}=#", attribute.id)?;
            attribute.raw.iter().try_for_each(|b| write!(f, "{b:02x}"))
        }
    }
}

fn label(id: &ObjectIdentifier) -> Option<&'static str> {
    Some(match *id {
        oids::COMMON_NAME => "CN",
        oids::LOCALITY => "L",
        oids::STATE => "ST",
        oids::ORGANIZATION => "O",
        oids::ORGANIZATIONAL_UNIT => "OU",
        oids::COUNTRY => "C",
        oids::STREET => "STREET",
        oids::DOMAIN_COMPONENT => "DC",
        oids::USER_ID => "UID",
        oids::SURNAME => "SN",
        oids::GIVEN_NAME => "GN",
        oids::TITLE => "title",
        oids::SERIAL_NUMBER => "serialNumber",
        oids::ORGANIZATION_IDENTIFIER => "organizationIdentifier",
        oids::EMAIL_ADDRESS => "emailAddress",
        _ => return None,
    })
}

/// RFC 4514 §2.4; characters that could disturb a page or a terminal are written as hex too.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (i, c) in text.chars().enumerate() {
        let special = matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\');
        let edge = (c == ' ' && (i == 0 || i == last)) || (c == '#' && i == 0);
        if is_deceptive(c) {
            let mut buffer = [0; 4];
            c.encode_utf8(&mut buffer).bytes().for_each(|b| out.push_str(&format!("\\{b:02x}")));
        } else {
            if special || edge {
                out.push('\\');
            }
            out.push(c);
        }
    }
    out
}

/// How one attribute type is encoded: RFC 5280 App. A's upper bound and string type.
struct Kind {
    id: ObjectIdentifier,
    name: &'static str,
    max: usize,
    tag: u8,
}

const fn kind(id: ObjectIdentifier, name: &'static str, max: usize, tag: u8) -> Kind {
    Kind { id, name, max, tag }
}

impl Kind {
    fn encode(&self, value: &str) -> Result<Vec<u8>, NameError> {
        let refuse = |why: String| NameError { attribute: self.name, value: shown(value), why };
        if value.is_empty() || value.trim() != value {
            return Err(refuse("is empty or has blanks at its ends".into()));
        }
        if let Some(hidden) = value.chars().find(|c| is_deceptive(*c)) {
            let code = u32::from(hidden);
            return Err(refuse(format!(
                "holds U+{code:04X}, a control, bidirectional or invisible character; leave it out"
            )));
        }
        if value.chars().count() > self.max {
            return Err(refuse(format!("is longer than {} characters (RFC 5280 App. A)", self.max)));
        }
        if self.id == oids::COUNTRY && !(value.len() == 2 && value.bytes().all(|b| b.is_ascii_uppercase())) {
            return Err(refuse("is not two capital letters (ISO 3166)".into()));
        }
        let fits = match self.tag {
            der::PRINTABLE_STRING => value.bytes().all(|b| b.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&b)),
            der::IA5_STRING => value.is_ascii(),
            _ => true,
        };
        if !fits {
            return Err(refuse("has characters that its type does not have".into()));
        }
        Ok(der::tlv(self.tag, value.as_bytes()))
    }
}

const DC: Kind = kind(oids::DOMAIN_COMPONENT, "DC", 63, der::IA5_STRING);
const C: Kind = kind(oids::COUNTRY, "C", 2, der::PRINTABLE_STRING);
const ST: Kind = kind(oids::STATE, "ST", 128, der::UTF8_STRING);
const L: Kind = kind(oids::LOCALITY, "L", 128, der::UTF8_STRING);
const O: Kind = kind(oids::ORGANIZATION, "O", 64, der::UTF8_STRING);
const OU: Kind = kind(oids::ORGANIZATIONAL_UNIT, "OU", 64, der::UTF8_STRING);
const CN: Kind = kind(oids::COMMON_NAME, "CN", 64, der::UTF8_STRING);
const SERIAL: Kind = kind(oids::SERIAL_NUMBER, "serialNumber", 64, der::PRINTABLE_STRING);
const UID: Kind = kind(oids::USER_ID, "UID", 256, der::UTF8_STRING);
const EMAIL: Kind = kind(oids::EMAIL_ADDRESS, "emailAddress", 255, der::IA5_STRING);

const KINDS: [&Kind; 10] = [&DC, &C, &ST, &L, &O, &OU, &CN, &SERIAL, &UID, &EMAIL];

/// What in a Name is not as `DistinguishedName::build` writes it: a multi-valued RDN, an unknown attribute, a wrong
/// string type or a broken bound. For lint, on bytes.
pub(super) fn strictness(name: &[u8]) -> Result<Vec<String>, DerError> {
    let mut broken = Vec::new();
    for rdn in DistinguishedName::from_der(name)?.rdns()? {
        if rdn.len() != 1 {
            broken.push("an RDN has more than one attribute".to_owned());
        }
        for attribute in rdn {
            let kind = KINDS.into_iter().find(|kind| kind.id == attribute.id);
            let again = kind.zip(attribute.text.as_deref()).map(|(kind, text)| kind.encode(text));
            match again {
                Some(Ok(bytes)) if bytes == attribute.raw => {}
                Some(Err(error)) => broken.push(error.to_string()),
                _ => broken.push(format!("attribute {} has another string type than its RFC's", attribute.id)),
            }
        }
    }
    Ok(broken)
}

impl SubjectFields {
    /// Only a CN.
    pub fn common_name(text: impl Into<String>) -> Self {
        SubjectFields { common_name: Some(text.into()), ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.pairs().is_empty()
    }

    fn pairs(&self) -> Vec<(&'static Kind, &str)> {
        fn all<'a>(kind: &'static Kind, values: &'a [String]) -> impl Iterator<Item = (&'static Kind, &'a str)> {
            values.iter().map(move |v| (kind, v.as_str()))
        }
        all(&DC, &self.domain_components)
            .chain(all(&C, self.country.as_slice()))
            .chain(all(&ST, self.state.as_slice()))
            .chain(all(&L, self.locality.as_slice()))
            .chain(all(&O, &self.organization))
            .chain(all(&OU, &self.organizational_unit))
            .chain(all(&CN, self.common_name.as_slice()))
            .chain(all(&SERIAL, self.serial_number.as_slice()))
            .chain(all(&UID, self.user_id.as_slice()))
            .chain(all(&EMAIL, self.email.as_slice()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> SubjectFields {
        SubjectFields {
            domain_components: vec!["com".into(), "example".into()],
            country: Some("DE".into()),
            organization: vec!["A, \"B\"".into()],
            common_name: Some("#x ü".into()),
            serial_number: Some("42".into()),
            email: Some("a@example.com".into()),
            ..SubjectFields::default()
        }
    }

    #[test]
    fn types_and_display_follow_the_rfcs() {
        let name = DistinguishedName::build(&full()).unwrap();
        assert_eq!(
            name.to_string(),
            "emailAddress=a@example.com,serialNumber=42,CN=\\#x ü,O=A\\, \\\"B\\\",C=DE,DC=example,DC=com"
        );
        let tags: Vec<u8> = name.rdns().unwrap().iter().flatten().map(|a| a.raw[0]).collect();
        let (ia5, printable, utf8) = (der::IA5_STRING, der::PRINTABLE_STRING, der::UTF8_STRING);
        assert_eq!(tags, [ia5, ia5, printable, utf8, utf8, printable, ia5]);
    }

    #[test]
    fn bounds_and_alphabets_are_kept() {
        for fields in [
            SubjectFields::common_name("x".repeat(65)),
            SubjectFields::common_name(""),
            SubjectFields::common_name("a\0b"),
            SubjectFields::common_name(" a"),
            SubjectFields { country: Some("de".into()), ..Default::default() },
            SubjectFields { country: Some("DEU".into()), ..Default::default() },
            SubjectFields { serial_number: Some("a*b".into()), ..Default::default() },
            SubjectFields { email: Some("ü@example.com".into()), ..Default::default() },
        ] {
            assert!(DistinguishedName::build(&fields).is_err(), "{fields:?}");
        }
        assert!(DistinguishedName::build(&SubjectFields::common_name("ü".repeat(64))).is_ok());
        assert!(DistinguishedName::build(&SubjectFields::default()).unwrap().is_empty());
    }

    #[test]
    fn multi_valued_and_foreign_attributes_are_shown() {
        let cn = der::sequence(&[&der::oid(&oids::COMMON_NAME), &der::tlv(der::BMP_STRING, &[0, 0x41, 0, 0x42])]);
        let odd = der::sequence(&[&der::oid(&ObjectIdentifier::new_unwrap("1.2.3")), &der::unsigned(&[5])]);
        let name = DistinguishedName::from_der(&der::sequence(&[&der::constructed(der::SET, &[&cn, &odd])])).unwrap();
        assert_eq!(name.to_string(), "CN=AB+1.2.3=#020105");
    }
}
