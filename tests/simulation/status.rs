//! CRLs and OCSP answers, fetched as clients do and judged by OpenSSL.

use std::collections::HashSet;

use axum::body::Body;
use axum::http::Request;
use chancery::model::crl::CrlNumber;
use chancery::pki::crl_facts::CrlFacts;
use openssl::hash::MessageDigest;
use openssl::ocsp::{OcspCertId, OcspCertStatus, OcspFlag, OcspRequest, OcspResponse, OcspResponseStatus};
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509Crl};

use crate::client::{Answer, fetch};
use crate::node::{Died, Node};

/// What a verifier trusts and knows.
pub struct Verifier {
    pub issuer: X509,
    store: X509Store,
}

/// What an OCSP answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Good,
    Revoked,
    Unknown,
    TryLater,
}

/// A CRL that OpenSSL has verified.
pub struct List {
    pub number: CrlNumber,
    pub bytes: Vec<u8>,
    serials: HashSet<String>,
    this_update: i64,
    next_update: i64,
}

impl Verifier {
    pub fn fetch(node: &Node) -> Verifier {
        let take = |path: &str| {
            let answer = node.ask(fetch(path)).expect("nothing kills it");
            assert_eq!(answer.status, 200, "{path}: {}", answer.told());
            answer.body
        };
        let root = X509::from_pem(&take("/root.pem")).unwrap();
        let issuer = X509::from_der(&take("/issuers/tls-1.der")).unwrap();
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(root).unwrap();
        // the time of the week is not the machine's
        store.set_flags(X509VerifyFlags::NO_CHECK_TIME).unwrap();
        Verifier { issuer, store: store.build() }
    }

    /// The certificate was signed by the issuer.
    pub fn signed(&self, certificate: &X509) -> bool {
        certificate.verify(&self.issuer.public_key().unwrap()).unwrap_or(false)
    }

    pub fn ocsp(&self, node: &Node, certificate: &[u8]) -> Result<Said, Died> {
        let certificate = X509::from_der(certificate).unwrap();
        let id = || OcspCertId::from_cert(MessageDigest::sha1(), &certificate, &self.issuer).unwrap();
        let mut request = OcspRequest::new().unwrap();
        request.add_id(id()).unwrap();
        let http = Request::post("/ocsp/tls-1").header("content-type", "application/ocsp-request");
        let answer = node.ask(http.body(Body::from(request.to_der().unwrap())).unwrap())?;
        Ok(self.read_ocsp(&answer, &id()))
    }

    fn read_ocsp(&self, answer: &Answer, id: &OcspCertId) -> Said {
        if answer.status == 503 {
            return Said::TryLater;
        }
        assert_eq!(answer.status, 200, "OCSP: {}", answer.told());
        let response = OcspResponse::from_der(&answer.body).expect("an OCSP answer");
        if response.status() != OcspResponseStatus::SUCCESSFUL {
            assert_eq!(response.status(), OcspResponseStatus::TRY_LATER);
            return Said::TryLater;
        }
        let basic = response.basic().unwrap();
        let mut chain = Stack::new().unwrap();
        chain.push(self.issuer.clone()).unwrap();
        basic.verify(&chain, &self.store, OcspFlag::empty()).expect("OpenSSL verifies the OCSP answer");
        match basic.find_status(id).expect("the answer is about the certificate").status {
            OcspCertStatus::GOOD => Said::Good,
            OcspCertStatus::REVOKED => Said::Revoked,
            _ => Said::Unknown,
        }
    }

    /// None: the server has none to serve now.
    pub fn crl(&self, node: &Node, path: &str) -> Result<Option<List>, Died> {
        let answer = node.ask(fetch(path))?;
        if answer.status == 503 {
            return Ok(None);
        }
        assert_eq!(answer.status, 200, "{path}: {}", answer.told());
        let crl = X509Crl::from_der(&answer.body).expect("a CRL");
        assert!(crl.verify(&self.issuer.public_key().unwrap()).unwrap(), "OpenSSL verifies {path}");
        let revoked = crl.get_revoked();
        let serials = revoked
            .into_iter()
            .flatten()
            .map(|entry| entry.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_ascii_lowercase());
        let facts = CrlFacts::parse(&answer.body).unwrap();
        Ok(Some(List {
            number: facts.crl_number().expect("a CRL number"),
            serials: serials.collect(),
            this_update: seconds(crl.last_update()),
            next_update: seconds(crl.next_update().expect("a nextUpdate")),
            bytes: answer.body,
        }))
    }
}

impl List {
    pub fn has(&self, serial: &str) -> bool {
        self.serials.contains(serial)
    }

    /// Would a verifier accept it at this Unix time?
    pub fn is_current(&self, now: i64) -> bool {
        self.this_update <= now && now < self.next_update
    }
}

fn seconds(time: &openssl::asn1::Asn1TimeRef) -> i64 {
    let difference = openssl::asn1::Asn1Time::from_unix(0).unwrap().diff(time).unwrap();
    i64::from(difference.days) * 86_400 + i64::from(difference.secs)
}
