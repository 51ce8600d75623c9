//! Trust domains and issuers: made, imported, taken offline. OpenSSL judges what they sign.

pub mod corporate;
mod crl_numbers;
mod cross;
mod domain_lists;
mod domains;
mod fetched_crls;
mod findings;
mod first_crls;
mod foreign;
mod imported;
mod moves;
mod offline;
mod paths;
mod permits;
mod retention;
mod revocation;
mod revoked_elsewhere;
mod states;

use std::sync::Arc;

use chancery::authority::Authority;
use chancery::authority::guard::Guard;
use chancery::authority::hierarchy::plan::Wanted;
use chancery::authority::issue::{Issuance, Issued};
use chancery::error::Result;
use chancery::keys::software;
use chancery::model::actor::Actor;
use chancery::model::identifier::Identifier;
use chancery::model::key::KeyAlgorithm;
use chancery::model::validity::RequestedValidity;
use chancery::pki::key_policy::KeyPolicy;
use chancery::pki::request::CertificateRequest;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509StoreContext};

use crate::support::stores::START;

pub fn actor() -> Actor {
    Actor::host(0, "test")
}

pub fn wanted(domain: &str) -> Wanted {
    Wanted { domain: domain.into(), ..Wanted::default() }
}

/// The rule that refused.
pub fn rule<T: std::fmt::Debug>(outcome: Result<T>) -> String {
    outcome.unwrap_err().rule.expect("a refusal names its rule").name
}

/// A certificate of `profile` for a fresh P-256 key.
pub async fn issue(authority: &Arc<Authority>, profile: &str, cn: Option<&str>, names: &[&str]) -> Result<Issued> {
    let pair = software::generate(KeyAlgorithm::P256).unwrap();
    let names = names.iter().map(|n| Identifier::guess(n).unwrap()).collect();
    let key = KeyPolicy::default().check(&pair.public_key).unwrap();
    let issuance = Issuance {
        profile: profile.into(),
        issuer: None,
        request: CertificateRequest::for_key(key, names),
        names: None,
        common_name: cn.map(str::to_owned),
        subject: chancery::pki::name::SubjectFields::default(),
        validity: RequestedValidity::default(),
        guard: Guard::default(),
    };
    authority.issue(&actor(), issuance).await
}

/// What OpenSSL says: `ok`, or its word for what is wrong.
pub fn openssl(leaf: &[u8], chain: &[Vec<u8>], roots: &[Vec<u8>]) -> String {
    openssl_at(leaf, chain, roots, START)
}

pub fn openssl_at(leaf: &[u8], chain: &[Vec<u8>], roots: &[Vec<u8>], at: chancery::clock::Timestamp) -> String {
    let mut store = X509StoreBuilder::new().unwrap();
    store.set_flags(X509VerifyFlags::X509_STRICT).unwrap();
    for root in roots {
        store.add_cert(X509::from_der(root).unwrap()).unwrap();
    }
    let mut param = openssl::x509::verify::X509VerifyParam::new().unwrap();
    param.set_time(at.secs() + 60);
    store.set_param(&param).unwrap();
    let store = store.build();
    let mut untrusted = Stack::new().unwrap();
    for der in chain {
        untrusted.push(X509::from_der(der).unwrap()).unwrap();
    }
    let leaf = X509::from_der(leaf).unwrap();
    let mut context = X509StoreContext::new().unwrap();
    context
        .init(&store, &leaf, &untrusted, |c| {
            c.verify_cert().map(|ok| if ok { "ok".to_owned() } else { c.error().error_string().to_owned() })
        })
        .unwrap()
}

/// A certificate for the CA of a CSR with the root above it, as OpenSSL makes them: with a key identifier of its own kind.
pub fn certified_by_openssl(csr: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let csr = openssl::x509::X509Req::from_der(csr).unwrap();
    let shape = corporate::Shape { days: 9_000, ..corporate::Shape::default() };
    let root = corporate::Ca::root("Corp Root", &shape);
    let cross = root.sign(csr.subject_name(), &csr.public_key().unwrap(), &shape);
    (cross.to_der().unwrap(), root.der())
}

pub fn roots(authority: &Authority, domain: &str) -> Vec<Vec<u8>> {
    authority.snapshot().roots(domain).into_iter().map(<[u8]>::to_vec).collect()
}
