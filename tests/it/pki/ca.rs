//! A root, an issuer below it, and what they issue, all through `pki`; and the verifiers that judge the result.

use std::sync::Arc;
use std::time::Duration;

use chancery::clock::{Timestamp, days};
use chancery::entropy::{SeededEntropy, SystemEntropy};
use chancery::error::Error;
use chancery::model::id::{IssuerId, KeyId};
use chancery::model::identifier::Identifier;
use chancery::model::issuer::{Former, Issuer, IssuerRole, IssuerState};
use chancery::model::key::KeyAlgorithm;
use chancery::model::serial::SerialNumber;
use chancery::model::validity::{RequestedValidity, Validity};
use chancery::pki::issuer::{Ask, IssuerKey, NewIssuer, prepare_root, seal_root};
use chancery::pki::key_policy::KeyPolicy;
use chancery::pki::name::SubjectFields;
use chancery::pki::path::IssuingPath;
use chancery::pki::prepared::{Prepared, SealedCertificate};
use chancery::pki::profile::{ExtendedKeyUsage, Profile, shipped};
use chancery::pki::request::CertificateRequest;
use chancery::pki::signer::Signer;
use futures_util::FutureExt;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509PurposeId, X509StoreContext};

use super::support::signer;

/// 2026-06-01T00:00:00Z
pub const NOW: Timestamp = Timestamp::from_secs(1_780_272_000);

pub const ALL_USAGES: [ExtendedKeyUsage; 5] = [
    ExtendedKeyUsage::ServerAuth,
    ExtendedKeyUsage::ClientAuth,
    ExtendedKeyUsage::CodeSigning,
    ExtendedKeyUsage::EmailProtection,
    ExtendedKeyUsage::TimeStamping,
];

pub struct Ca {
    pub root: Vec<u8>,
    pub root_key: IssuerKey,
    pub issuing: Vec<u8>,
    pub key: IssuerKey,
}

impl Ca {
    pub fn new(root: KeyAlgorithm, issuing: KeyAlgorithm) -> Self {
        Ca::with_usages(root, issuing, &ALL_USAGES)
    }

    pub fn with_usages(root: KeyAlgorithm, issuing: KeyAlgorithm, usages: &[ExtendedKeyUsage]) -> Self {
        let root_signer: Arc<dyn Signer> = Arc::new(signer(root));
        let record = issuer("tls-root", IssuerRole::Root);
        let prepared = prepare_root(record.id, "Test Root", root_signer.as_ref(), serial(), life(3650)).unwrap();
        let root = seal_root(root_signer.as_ref(), prepared).now_or_never().unwrap().unwrap().into_der();
        let root_key = IssuerKey::new(&record, IssuingPath::read(&[&root]).unwrap(), root_signer).unwrap();

        let signer: Arc<dyn Signer> = Arc::new(signer(issuing));
        let below = NewIssuer {
            name: "Test Issuing",
            spki: signer.public_key(),
            usages,
            constraints: None,
            validity: life(1095),
        };
        let prepared = root_key.prepare_issuing(&below, serial()).unwrap();
        let issuing = seal(&root_key, prepared).into_der();
        let key = IssuerKey::new(
            &issuer("tls-1", IssuerRole::Issuing),
            IssuingPath::read(&[&issuing, &root]).unwrap(),
            signer,
        )
        .unwrap();
        Ca { root, root_key, issuing, key }
    }

    pub fn issue(&self, profile: &str, names: &[&str]) -> Result<SealedCertificate, Error> {
        self.issue_to(profile, KeyAlgorithm::P256, ask(names))
    }

    pub fn issue_to(&self, profile: &str, key: KeyAlgorithm, ask: Ask) -> Result<SealedCertificate, Error> {
        let request = request(signer(key).public_key());
        self.key.prepare(&shipped_profile(profile), &request, &ask).map(|prepared| seal(&self.key, prepared))
    }
}

pub fn seal(key: &IssuerKey, prepared: Prepared) -> SealedCertificate {
    key.seal(prepared).now_or_never().unwrap().unwrap()
}

pub fn request(spki: &[u8]) -> CertificateRequest {
    CertificateRequest::for_key(KeyPolicy::default().check(spki).unwrap(), Vec::new())
}

pub fn shipped_profile(name: &str) -> Profile {
    Profile::new(shipped().into_iter().find(|config| config.name == name).unwrap()).unwrap()
}

pub fn ask(names: &[&str]) -> Ask {
    Ask {
        serial: serial(),
        now: NOW,
        names: Some(names.iter().map(|name| Identifier::guess(name).unwrap()).collect()),
        common_name: None,
        subject: SubjectFields::default(),
        validity: RequestedValidity::default(),
        via_acme: false,
        own_hosts: vec!["ca.example.test".into()],
        granted: Vec::new(),
        reserved_allowed: false,
    }
}

pub fn serial() -> SerialNumber {
    SerialNumber::draw(&SystemEntropy::new()).unwrap()
}

pub fn life(length: u64) -> Validity {
    Validity::new(NOW - days(1), NOW + days(length)).unwrap()
}

pub fn issuer(slug: &str, role: IssuerRole) -> Issuer {
    // ids of one time and seed would be equal
    let seed = slug.bytes().fold(7, |seed: u64, b| seed * 31 + u64::from(b));
    let entropy = SeededEntropy::new(seed);
    Issuer {
        id: IssuerId::new(NOW, &entropy).unwrap(),
        slug: slug.into(),
        domain: "tls".into(),
        name: slug.into(),
        role,
        key_id: KeyId::new(NOW, &entropy).unwrap(),
        parent_id: None,
        state: IssuerState::Active,
        is_default: true,
        former: Former::Ordinary,
        status_url: "http://ca.example.test:8080".into(),
        crl_counter: 0,
        crl_dirty: false,
        crl_retained_since: None,
        created_at: NOW,
    }
}

/// OpenSSL's verdict with X509_STRICT.
pub struct Openssl<'a> {
    pub purpose: X509PurposeId,
    pub host: Option<&'a str>,
    pub at: Timestamp,
}

impl Openssl<'_> {
    pub fn server() -> Self {
        Openssl { purpose: X509PurposeId::SSL_SERVER, host: None, at: NOW }
    }

    pub fn verify(&self, leaf: &[u8], above: &[&[u8]], root: &[u8]) -> Result<(), String> {
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(X509::from_der(root).unwrap()).unwrap();
        let mut rules = X509VerifyParam::new().unwrap();
        rules.set_flags(X509VerifyFlags::X509_STRICT | X509VerifyFlags::CHECK_SS_SIGNATURE).unwrap();
        rules.set_time(self.at.secs());
        rules.set_purpose(self.purpose).unwrap();
        if let Some(host) = self.host {
            rules.set_host(host).unwrap();
        }
        store.set_param(&rules).unwrap();
        let mut chain = Stack::new().unwrap();
        above.iter().for_each(|der| chain.push(X509::from_der(der).unwrap()).unwrap());
        let leaf = X509::from_der(leaf).unwrap();
        let mut context = X509StoreContext::new().unwrap();
        context
            .init(&store.build(), &leaf, &chain, |c| Ok(c.verify_cert()?.then_some(()).ok_or(c.error().to_string())))
            .unwrap()
    }
}

/// webpki's verdict: the chain for this usage, and then the name.
pub fn webpki(
    leaf: &[u8],
    above: &[u8],
    root: &[u8],
    usage: webpki::KeyUsage,
    host: &str,
    at: Timestamp,
) -> Result<(), String> {
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    let (leaf, above, root) = (CertificateDer::from(leaf), [CertificateDer::from(above)], CertificateDer::from(root));
    let anchors = [webpki::anchor_from_trusted_cert(&root).map_err(|e| format!("anchor: {e}"))?];
    let leaf = webpki::EndEntityCert::try_from(&leaf).map_err(|e| format!("leaf: {e}"))?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at.secs()).unwrap()));
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    leaf.verify_for_usage(algorithms, &anchors, &above, time, usage, None, None)
        .map_err(|e| format!("chain: {e}"))?;
    leaf.verify_is_valid_for_subject_name(&ServerName::try_from(host).unwrap()).map_err(|e| format!("name: {e}"))
}

/// The dotted name of the rule that refused.
pub fn rule<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    let error = outcome.expect_err("a refusal");
    error.rule.map_or_else(|| format!("{:?}", error.kind), |rule| rule.name)
}
