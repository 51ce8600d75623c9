//! Alternate chains (RFC 8555 §7.4.2; F5): an issuer that another CA certified too. OpenSSL judges each chain.

use chancery::clock::{Timestamp, days};
use chancery::keys::software::{self, SoftwareSigner};
use chancery::model::key::{KeyAlgorithm, SignatureAlgorithm};
use chancery::model::serial::SerialNumber;
use chancery::model::validity::Validity;
use chancery::pki::algorithm::algorithm_identifier;
use chancery::pki::name::{DistinguishedName, SubjectFields};
use chancery::pki::signer::Signer;
use chancery::pki::tbs::{Template, key_identifier};
use chancery::pki::{der, pem};
use futures_util::FutureExt;

use super::client::{Client, Reply, leaf_der};
use super::eab::admin;
use super::world::{World, worlds};
use crate::hierarchy::{certified_by_openssl, openssl_at, roots, rule};

/// A CA of others: one name and key.
struct Corporate {
    name: Vec<u8>,
    signer: SoftwareSigner,
}

impl Corporate {
    fn new() -> Corporate {
        let pair = software::generate(KeyAlgorithm::P256).unwrap();
        let name = DistinguishedName::build(&SubjectFields::common_name("Corporate Root")).unwrap();
        let signer = SoftwareSigner::from_pkcs8(KeyAlgorithm::P256, &pair.pkcs8).unwrap();
        Corporate { name: name.as_der().to_vec(), signer }
    }

    /// A certificate for this name and key; its own for none.
    fn certify(&self, world: &World, below: Option<(&[u8], &[u8])>, until: Timestamp) -> Vec<u8> {
        let (subject, spki) = below.unwrap_or((&self.name, self.signer.public_key()));
        let above = key_identifier(self.signer.public_key()).unwrap();
        let template = Template {
            serial: &SerialNumber::draw(world.store.entropy.as_ref()).unwrap(),
            signature: SignatureAlgorithm::EcdsaP256Sha256,
            issuer: &self.name,
            validity: Validity::new(world.now().truncated() - days(1), until.truncated()).unwrap(),
            subject: DistinguishedName::from_der(subject).unwrap(),
            spki,
            names: &[],
            key_usage: 0x0600,
            usages: &[],
            critical_usages: false,
            policies: &[],
            ca: Some(None),
            name_constraints: None,
            subject_key_id: None,
            authority_key_id: below.is_some().then_some(above.as_slice()),
            pointers: None,
            ocsp_no_check: false,
            no_rev_avail: false,
        };
        let tbs = template.build().unwrap();
        let signature = self.signer.sign(&tbs).now_or_never().unwrap().unwrap();
        let algorithm = algorithm_identifier(SignatureAlgorithm::EcdsaP256Sha256);
        der::sequence(&[&tbs, &algorithm, &der::bit_string(&signature)])
    }
}

fn alternates(reply: &Reply) -> Vec<String> {
    let links = reply.headers.get_all("link").iter().map(|v| v.to_str().unwrap());
    let found = links.filter_map(|l| l.strip_suffix(";rel=\"alternate\"")).map(|l| l[1..l.len() - 1].to_owned());
    let mut found: Vec<_> = found.collect();
    found.sort();
    found
}

#[tokio::test]
async fn f5_a_cross_signed_issuer_has_alternate_chains_that_list_each_other() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (certificate, pem_text, _) = client.certificate(&["a.example.org"]).await;
        let first = client.get(&certificate).await.expect(200);
        assert_eq!(alternates(&first), Vec::<String>::new());
        let own_root = roots(&world.authority, "tls");

        let corporate = Corporate::new();
        let snapshot = world.authority.snapshot();
        let issuer = snapshot.issuer("tls-1").unwrap();
        let ours = (issuer.subject(), issuer.sealed_key.public_key.as_slice());
        let root = corporate.certify(&world, None, world.now() + days(4_000));
        let cross = corporate.certify(&world, Some(ours), world.now() + days(200));
        world.authority.install_issuer(&admin(), &[cross.clone(), root.clone()]).await.unwrap();

        // the usual chain stays, and the other stands beside it
        let main = client.get(&certificate).await.expect(200);
        assert_eq!(main.text, pem_text);
        let [other] = alternates(&main).try_into().unwrap();
        let alternate = client.get(&other).await.expect(200);
        assert_eq!(alternate.header("content-type"), "application/pem-certificate-chain");
        assert_eq!(alternates(&alternate), std::slice::from_ref(&certificate));
        let (leaf, chain) = (leaf_der(&main.text), |text: &str| pem::certificates(text).unwrap().split_off(1));
        assert_eq!(leaf_der(&alternate.text), leaf);
        assert_eq!(chain(&alternate.text), std::slice::from_ref(&cross));
        let judged = |chain: &[Vec<u8>], roots: &[Vec<u8>]| openssl_at(&leaf, chain, roots, world.now());
        let corporate_root = std::slice::from_ref(&root);
        assert_eq!(judged(&chain(&main.text), &own_root), "ok");
        assert_eq!(judged(&chain(&alternate.text), corporate_root), "ok");
        assert_ne!(judged(&chain(&main.text), corporate_root), "ok");
        assert_ne!(judged(&chain(&alternate.text), &own_root), "ok");

        // another certificate of the same root is no other way up, another one of the issuer is
        let again = corporate.certify(&world, None, world.now() + days(5_000));
        let renewed = corporate.certify(&world, Some(ours), world.now() + days(300));
        world.authority.install_issuer(&admin(), &[renewed.clone(), again]).await.unwrap();
        let three = alternates(&client.get(&certificate).await);
        assert_eq!(three.len(), 2, "{three:?}");
        assert!(three.contains(&other), "its URL stays");
        for url in &three {
            let mut listed = alternates(&client.get(url).await.expect(200));
            listed.push(url.clone());
            let mut all = three.clone();
            all.push(certificate.clone());
            listed.sort();
            all.sort();
            assert_eq!(listed, all);
        }
        // nobody else has them, and there are no others
        let stranger = Client::register(&world).await;
        stranger.get(&other).await.refused(404, "malformed");
        client.get(&format!("{certificate}/0000000000000000")).await.refused(404, "malformed");
        client.post(&other, "{}").await.refused(400, "malformed");

        // one that ended is none any more
        world.clock.advance(days(250));
        let left = alternates(&client.get(&certificate).await.expect(200));
        assert_eq!(left.len(), 1, "{left:?}");
        client.get(&other).await.refused(404, "malformed");
    }
}

/// Certificates from before name the issuer's own key identifier: a chain with another one would not verify.
#[tokio::test]
async fn f5_a_cross_certificate_with_another_key_identifier_is_refused() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (certificate, ..) = client.certificate(&["a.example.org"]).await;
        let csr = world.authority.request_again(&admin(), "tls-1").await.unwrap();
        let (cross, root) = certified_by_openssl(&csr);
        let refused = world.authority.install_issuer(&admin(), &[cross, root]).await;
        assert_eq!(rule(refused), "issuer.key_identifier");
        let reply = client.get(&certificate).await.expect(200);
        assert_eq!(alternates(&reply), Vec::<String>::new());
        let chain = pem::certificates(&reply.text).unwrap().split_off(1);
        let roots = roots(&world.authority, "tls");
        assert_eq!(openssl_at(&leaf_der(&reply.text), &chain, &roots, world.now()), "ok");
    }
}
