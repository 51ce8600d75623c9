//! CAs of others, made by OpenSSL, or octet by octet where OpenSSL would not write what old ones wrote.

use chancery::clock::{Timestamp, days};
use chancery::keys::software::{self, SoftwareSigner};
use chancery::model::key::{KeyAlgorithm, SignatureAlgorithm};
use chancery::model::serial::SerialNumber;
use chancery::model::validity::Validity;
use chancery::pki::algorithm::algorithm_identifier;
use chancery::pki::name::DistinguishedName;
use chancery::pki::signer::Signer;
use chancery::pki::tbs::{Template, key_identifier};
use chancery::pki::{der, oids};
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private, Public};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder};

use crate::support::stores::{START, entropy};

pub struct Ca {
    pub certificate: X509,
    pub key: PKey<Private>,
}

/// What a test makes of a CA certificate.
#[derive(Clone)]
pub struct Shape {
    pub ca: bool,
    pub path_len: Option<u32>,
    pub signs_crls: bool,
    pub usages: Vec<&'static str>,
    /// Is there a key usage? It is that of a CA.
    pub key_usage: bool,
    /// The subject key identifier where it is not OpenSSL's own.
    pub key_id: Option<Vec<u8>>,
    /// More extensions: dotted number, critical, value.
    pub more: Vec<(&'static str, bool, Vec<u8>)>,
    /// From START.
    pub from: i64,
    pub days: i64,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            ca: true,
            path_len: None,
            signs_crls: true,
            usages: Vec::new(),
            key_usage: true,
            key_id: None,
            more: Vec::new(),
            from: -1,
            days: 3_000,
        }
    }
}

pub fn ec_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

pub fn name(cn: &str) -> X509Name {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("O", "Example Corp").unwrap();
    name.append_entry_by_text("CN", cn).unwrap();
    name.build()
}

impl Ca {
    pub fn root(cn: &str, shape: &Shape) -> Ca {
        Ca::with_key(cn, ec_key(), shape)
    }

    pub fn with_key(cn: &str, key: PKey<Private>, shape: &Shape) -> Ca {
        let public = PKey::public_key_from_der(&key.public_key_to_der().unwrap()).unwrap();
        let certificate = build(&name(cn), &public, None, &key, shape);
        Ca { certificate, key }
    }

    pub fn below(&self, cn: &str, shape: &Shape) -> Ca {
        let key = ec_key();
        let public = PKey::public_key_from_der(&key.public_key_to_der().unwrap()).unwrap();
        let certificate = self.sign(&name(cn), &public, shape);
        Ca { certificate, key }
    }

    pub fn sign(&self, subject: &openssl::x509::X509NameRef, key: &PKey<Public>, shape: &Shape) -> X509 {
        build(subject, key, Some(&self.certificate), &self.key, shape)
    }

    pub fn der(&self) -> Vec<u8> {
        self.certificate.to_der().unwrap()
    }

    pub fn pkcs8(&self) -> zeroize::Zeroizing<Vec<u8>> {
        zeroize::Zeroizing::new(self.key.private_key_to_pkcs8().unwrap())
    }
}

/// What a test makes of a CRL of a CA elsewhere, good or bad.
#[derive(Clone)]
pub struct List {
    /// The content octets of the INTEGER.
    pub number: Option<Vec<u8>>,
    pub this_update: Timestamp,
    pub next_update: Option<Timestamp>,
    pub serials: Vec<Vec<u8>>,
    /// The code of the reason of every entry.
    pub reason: Option<u8>,
    /// More extensions, in DER.
    pub more: Vec<Vec<u8>>,
}

impl List {
    /// For a day, with this number and no entries.
    pub fn at(now: Timestamp, number: u8) -> List {
        List {
            number: Some(vec![number]),
            this_update: now,
            next_update: Some(now + days(1)),
            serials: Vec::new(),
            reason: None,
            more: Vec::new(),
        }
    }
}

impl Ca {
    /// A CRL in DER, written octet by octet: OpenSSL would not write the bad ones.
    pub fn list(&self, list: &List) -> Vec<u8> {
        let algorithm = algorithm_identifier(SignatureAlgorithm::EcdsaP256Sha256);
        let reason =
            list.reason.map(|code| der::extension(&oids::CRL_REASON, false, &der::tlv(der::ENUMERATED, &[code])));
        let reason = reason.map(|extension| der::sequence(&[&extension])).unwrap_or_default();
        let entry = |serial: &Vec<u8>| {
            der::sequence(&[&der::tlv(der::INTEGER, serial), &der::time(list.this_update - days(1)), &reason])
        };
        let entries: Vec<Vec<u8>> = list.serials.iter().map(entry).collect();
        let mut extensions: Vec<Vec<u8>> = list.more.clone();
        let number = list.number.iter().map(|octets| der::tlv(der::INTEGER, octets));
        extensions.extend(number.map(|value| der::extension(&oids::CRL_NUMBER, false, &value)));
        let mut parts =
            vec![der::unsigned(&[1]), algorithm.clone(), self.certificate.subject_name().to_der().unwrap()];
        parts.push(der::time(list.this_update));
        parts.extend(list.next_update.map(der::time));
        if !entries.is_empty() {
            parts.push(der::sequence(&entries.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        }
        if !extensions.is_empty() {
            let all = der::sequence(&extensions.iter().map(Vec::as_slice).collect::<Vec<_>>());
            parts.push(der::constructed(der::context_constructed(0), &[&all]));
        }
        let tbs = der::sequence(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let mut signer = openssl::sign::Signer::new(MessageDigest::sha256(), &self.key).unwrap();
        let signature = signer.sign_oneshot_to_vec(&tbs).unwrap();
        der::sequence(&[&tbs, &algorithm, &der::bit_string(&signature)])
    }
}

fn build(
    subject: &openssl::x509::X509NameRef,
    key: &PKey<Public>,
    issuer: Option<&X509>,
    signer: &PKey<Private>,
    shape: &Shape,
) -> X509 {
    let mut serial = BigNum::new().unwrap();
    serial.rand(120, openssl::bn::MsbOption::ONE, false).unwrap();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&Asn1Integer::from_bn(&serial).unwrap()).unwrap();
    builder.set_subject_name(subject).unwrap();
    builder.set_issuer_name(issuer.map_or(subject, |issuer| issuer.subject_name())).unwrap();
    builder.set_pubkey(key).unwrap();
    let at = |day: i64| Asn1Time::from_unix(START.secs() + day * 86_400).unwrap();
    builder.set_not_before(&at(shape.from)).unwrap();
    builder.set_not_after(&at(shape.from + shape.days)).unwrap();
    let mut basic = BasicConstraints::new();
    basic.critical();
    if shape.ca {
        basic.ca();
    }
    if let Some(length) = shape.path_len {
        basic.pathlen(length);
    }
    builder.append_extension(basic.build().unwrap()).unwrap();
    let mut usage = KeyUsage::new();
    usage.critical().key_cert_sign();
    if shape.signs_crls {
        usage.crl_sign();
    }
    if shape.key_usage {
        builder.append_extension(usage.build().unwrap()).unwrap();
    }
    if !shape.usages.is_empty() {
        let mut extended = ExtendedKeyUsage::new();
        for usage in &shape.usages {
            extended.other(usage);
        }
        builder.append_extension(extended.build().unwrap()).unwrap();
    }
    let id = match &shape.key_id {
        Some(id) => extension("2.5.29.14", false, &der::octet_string(id)),
        None => SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None)).unwrap(),
    };
    builder.append_extension(id).unwrap();
    if let Some(issuer) = issuer {
        let above =
            AuthorityKeyIdentifier::new().keyid(true).build(&builder.x509v3_context(Some(issuer), None)).unwrap();
        builder.append_extension(above).unwrap();
    }
    for (oid, critical, value) in &shape.more {
        builder.append_extension(extension(oid, *critical, value)).unwrap();
    }
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    builder.build()
}

/// A self-signed root, or one below `above`, with exactly this Name; its key as PKCS#8.
pub fn with_name(name: &[u8], above: Option<(&[u8], &SoftwareSigner)>) -> (Vec<u8>, SoftwareSigner, Vec<u8>) {
    let pair = software::generate(KeyAlgorithm::P256).unwrap();
    let own = SoftwareSigner::from_pkcs8(KeyAlgorithm::P256, &pair.pkcs8).unwrap();
    let (issuer, signer) = above.unwrap_or((name, &own));
    let above_id = above.map(|(_, signer)| key_identifier(signer.public_key()).unwrap());
    let template = Template {
        serial: &SerialNumber::draw(entropy().as_ref()).unwrap(),
        signature: SignatureAlgorithm::EcdsaP256Sha256,
        issuer,
        validity: Validity::new(START - days(1), START + days(3_000)).unwrap(),
        subject: DistinguishedName::from_der(name).unwrap(),
        spki: own.public_key(),
        names: &[],
        key_usage: 0x0600,
        usages: &[],
        critical_usages: false,
        policies: &[],
        ca: Some(None),
        name_constraints: None,
        subject_key_id: None,
        authority_key_id: above_id.as_deref(),
        pointers: None,
        ocsp_no_check: false,
        no_rev_avail: false,
    };
    let tbs = template.build().unwrap();
    let signature = futures_util::FutureExt::now_or_never(signer.sign(&tbs)).unwrap().unwrap();
    let algorithm = algorithm_identifier(SignatureAlgorithm::EcdsaP256Sha256);
    let der = der::sequence(&[&tbs, &algorithm, &der::bit_string(&signature)]);
    (der, own, pair.pkcs8.to_vec())
}

/// Names as CAs of the nineties wrote them.
pub fn old_names() -> Vec<(&'static str, Vec<u8>)> {
    let one = |id, tag, value: &[u8]| der::sequence(&[&der::oid(&id), &der::tlv(tag, value)]);
    let rdn = |attributes: &[Vec<u8>]| der::set_of(attributes.to_vec());
    let name = |rdns: &[Vec<u8>]| der::sequence(&rdns.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let c = || rdn(&[one(oids::COUNTRY, der::PRINTABLE_STRING, b"DE")]);
    let cn = |tag, value: &[u8]| rdn(&[one(oids::COMMON_NAME, tag, value)]);
    let ou = |text: &[u8]| rdn(&[one(oids::ORGANIZATIONAL_UNIT, der::PRINTABLE_STRING, text)]);
    let utf16: Vec<u8> = "Größe CA".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let utf32: Vec<u8> = "Größe CA".chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
    vec![
        ("repeated RDNs", name(&[c(), ou(b"One"), ou(b"Two"), ou(b"Two"), cn(der::PRINTABLE_STRING, b"Twice")])),
        (
            "a multi-valued RDN",
            name(&[
                c(),
                rdn(&[
                    one(oids::COMMON_NAME, der::PRINTABLE_STRING, b"Both"),
                    one(oids::SERIAL_NUMBER, der::PRINTABLE_STRING, b"42"),
                ]),
            ]),
        ),
        ("T61", name(&[c(), cn(der::TELETEX_STRING, b"Gr\xf6\xdfe CA")])),
        ("BMP", name(&[c(), cn(der::BMP_STRING, &utf16)])),
        ("Universal", name(&[c(), cn(der::UNIVERSAL_STRING, &utf32)])),
        ("blanks and case", name(&[c(), cn(der::PRINTABLE_STRING, b"  Lab   CA ")])),
        ("a mail address", name(&[c(), rdn(&[one(oids::EMAIL_ADDRESS, der::IA5_STRING, b"ca@example.com")])])),
        ("CN before C", name(&[cn(der::UTF8_STRING, "Größe".as_bytes()), c()])),
    ]
}

/// An extension in DER beside those of the shape.
pub fn extension(oid: &str, critical: bool, value: &[u8]) -> openssl::x509::X509Extension {
    use openssl::asn1::{Asn1Object, Asn1OctetString};
    let oid = Asn1Object::from_str(oid).unwrap();
    let value = Asn1OctetString::new_from_bytes(value).unwrap();
    openssl::x509::X509Extension::new_from_der(&oid, critical, &value).unwrap()
}
