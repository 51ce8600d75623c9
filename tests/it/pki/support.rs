//! Keys and requests for the tests: ordinary ones by OpenSSL, crooked ones written octet by octet.

use chancery::keys::software::{SoftwareSigner, generate};
use chancery::model::key::{KeyAlgorithm, SignatureAlgorithm};
use chancery::pki::algorithm::algorithm_identifier;
use chancery::pki::name::{DistinguishedName, SubjectFields};
use chancery::pki::signer::Signer;
use chancery::pki::{der, oids};

pub fn signer(algorithm: KeyAlgorithm) -> SoftwareSigner {
    let pair = generate(algorithm).unwrap();
    SoftwareSigner::from_pkcs8(algorithm, &pair.pkcs8).unwrap()
}

pub fn sign(signer: &dyn Signer, message: &[u8]) -> Vec<u8> {
    futures_util::future::FutureExt::now_or_never(signer.sign(message)).unwrap().unwrap()
}

/// A CSR in parts, each of which a test may spoil.
pub struct Csr<'a> {
    pub signer: &'a dyn Signer,
    pub version: Vec<u8>,
    pub subject: Vec<u8>,
    pub spki: Vec<u8>,
    pub attributes: Vec<Vec<u8>>,
    pub algorithm: Vec<u8>,
}

impl<'a> Csr<'a> {
    pub fn new(signer: &'a dyn Signer) -> Self {
        Csr {
            signer,
            version: der::unsigned(&[0]),
            subject: DistinguishedName::empty().as_der().to_vec(),
            spki: signer.public_key().to_vec(),
            attributes: Vec::new(),
            algorithm: algorithm_identifier(SignatureAlgorithm::for_key(signer.algorithm())),
        }
    }

    pub fn common_name(self, text: &str) -> Self {
        let subject = DistinguishedName::build(&SubjectFields::common_name(text)).unwrap().as_der().to_vec();
        Csr { subject, ..self }
    }

    /// GeneralNames as (tag, content).
    pub fn san(self, names: &[(u8, &[u8])]) -> Self {
        let names: Vec<_> = names.iter().map(|(tag, content)| der::tlv(*tag, content)).collect();
        let value = der::sequence(&names.iter().map(Vec::as_slice).collect::<Vec<_>>());
        self.extensions(&[der::extension(&oids::SUBJECT_ALT_NAME, false, &value)])
    }

    pub fn extensions(mut self, extensions: &[Vec<u8>]) -> Self {
        let list = der::sequence(&extensions.iter().map(Vec::as_slice).collect::<Vec<_>>());
        self.attributes.push(attribute(&oids::EXTENSION_REQUEST, &list));
        self
    }

    pub fn build(&self) -> Vec<u8> {
        let attributes: Vec<_> = self.attributes.iter().map(Vec::as_slice).collect();
        let attributes = der::constructed(der::context_constructed(0), &attributes);
        let info = der::sequence(&[&self.version, &self.subject, &self.spki, &attributes]);
        let signature = sign(self.signer, &info);
        der::sequence(&[&info, &self.algorithm, &der::bit_string(&signature)])
    }
}

pub fn attribute(id: &::der::oid::ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::oid(id), &der::tlv(der::SET, value)])
}
