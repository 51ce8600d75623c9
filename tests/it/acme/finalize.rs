//! Finalize and download (F1–F6); states of orders are in orders.rs.

use chancery::store::engine::q;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::stack::Stack;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Name, X509ReqBuilder};
use serde_json::{Value, json};

use super::client::{Client, Reply, b64, csr, leaf_der, url, with_headers};
use super::state::everything;
use super::world::worlds;
use crate::support::stores::plain;

async fn finalize(client: &Client<'_>, order: &Value, csr: impl AsRef<[u8]>) -> Reply {
    client.post(order["finalize"].as_str().unwrap(), &json!({"csr": b64(csr)}).to_string()).await
}

fn p256() -> PKey<Private> {
    let group = openssl::ec::EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap()
}

/// A CSR as OpenSSL makes it. `names` are `DNS:…`, `email:…` and so on; none is no SAN.
fn openssl_csr(key: &PKey<Private>, digest: MessageDigest, common_name: &str, names: &[&str]) -> Vec<u8> {
    with_extensions(key, digest, common_name, names, |_| {})
}

fn with_extensions(
    key: &PKey<Private>,
    digest: MessageDigest,
    common_name: &str,
    names: &[&str],
    more: impl FnOnce(&mut Stack<openssl::x509::X509Extension>),
) -> Vec<u8> {
    let mut request = X509ReqBuilder::new().unwrap();
    request.set_version(0).unwrap();
    request.set_pubkey(key).unwrap();
    if !common_name.is_empty() {
        let mut subject = X509Name::builder().unwrap();
        subject.append_entry_by_nid(Nid::COMMONNAME, common_name).unwrap();
        request.set_subject_name(&subject.build()).unwrap();
    }
    let mut extensions = Stack::new().unwrap();
    if !names.is_empty() {
        let mut san = SubjectAlternativeName::new();
        for name in names {
            match name.split_once(':').unwrap() {
                ("DNS", value) => san.dns(value),
                ("email", value) => san.email(value),
                ("URI", value) => san.uri(value),
                ("IP", value) => san.ip(value),
                other => panic!("{other:?}"),
            };
        }
        extensions.push(san.build(&request.x509v3_context(None)).unwrap()).unwrap();
    }
    more(&mut extensions);
    if !extensions.is_empty() {
        request.add_extensions(&extensions).unwrap();
    }
    request.sign(key, digest).unwrap();
    request.build().to_der().unwrap()
}

/// A CSR whose subject is an organization.
fn in_group(key: &PKey<Private>, group: &str, name: &str) -> Vec<u8> {
    let mut request = X509ReqBuilder::new().unwrap();
    request.set_pubkey(key).unwrap();
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_nid(Nid::ORGANIZATIONNAME, group).unwrap();
    request.set_subject_name(&subject.build()).unwrap();
    let san = SubjectAlternativeName::new().dns(name.trim_start_matches("DNS:")).build(&request.x509v3_context(None));
    let mut extensions = Stack::new().unwrap();
    extensions.push(san.unwrap()).unwrap();
    request.add_extensions(&extensions).unwrap();
    request.sign(key, MessageDigest::sha256()).unwrap();
    request.build().to_der().unwrap()
}

#[tokio::test]
async fn f1_a_request_that_is_none_is_refused_and_the_order_stays_ready() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (order_url, order) = client.ready_order(&["a.example.org"]).await;
        let before = everything(&world).await;
        let (good, _) = csr(&["a.example.org"]);
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let key = p256();
        let names = ["DNS:a.example.org"];
        let rsa = |bits| PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
        let pem = chancery::pki::pem::encode("CERTIFICATE REQUEST", &good);
        let koblitz = openssl::ec::EcGroup::from_curve_name(Nid::SECP256K1).unwrap();
        let koblitz = PKey::from_ec_key(openssl::ec::EcKey::generate(&koblitz).unwrap()).unwrap();
        for (what, der) in [
            ("garbage", vec![7; 300]),
            ("nothing", Vec::new()),
            ("PEM", pem.into_bytes()),
            ("an octet behind it", [&good[..], &[0]].concat()),
            ("another signature", flipped),
            ("SHA-1", openssl_csr(&key, MessageDigest::sha1(), "", &names)),
            ("MD5", openssl_csr(&rsa(2048), MessageDigest::md5(), "", &names)),
            ("RSA 1024", openssl_csr(&rsa(1024), MessageDigest::sha256(), "", &names)),
            ("secp256k1", openssl_csr(&koblitz, MessageDigest::sha256(), "", &names)),
            ("a group of Kubernetes", in_group(&key, "system:masters", names[0])),
        ] {
            let reply = finalize(&client, &order, &der).await;
            assert_eq!((reply.status, reply.problem().as_str()), (400, "badCSR"), "{what}: {}", reply.text);
        }
        let padded = format!("{}=", b64(&good));
        for csr in [json!(padded), json!(1), json!(null), json!([])] {
            let payload = json!({"csr": csr}).to_string();
            client.post(order["finalize"].as_str().unwrap(), &payload).await.refused(400, "malformed");
        }
        assert_eq!(everything(&world).await, before);
        assert_eq!(client.get(&order_url).await.expect(200).json()["status"], "ready");
        finalize(&client, &order, openssl_csr(&key, MessageDigest::sha256(), "", &names)).await.expect(200);
    }
}

/// Pebble answers 403 unauthorized; RFC 8555 §7.4 suggests badCSR, as Boulder does.
#[tokio::test]
async fn f2_the_names_are_exactly_those_of_the_order() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (order_url, order) = client.ready_order(&["a.example.org", "b.example.org"]).await;
        let before = everything(&world).await;
        let (key, sha) = (p256(), MessageDigest::sha256());
        let two = ["DNS:a.example.org", "DNS:b.example.org"];
        for (what, der) in [
            ("one missing", openssl_csr(&key, sha, "", &two[..1])),
            ("one more", openssl_csr(&key, sha, "", &[two[0], two[1], "DNS:c.example.org"])),
            ("another", openssl_csr(&key, sha, "", &[two[0], "DNS:c.example.org"])),
            ("a wildcard above", openssl_csr(&key, sha, "", &["DNS:*.example.org"])),
            ("an address", openssl_csr(&key, sha, "", &[two[0], two[1], "IP:192.0.2.1"])),
            ("a mail address", openssl_csr(&key, sha, "", &[two[0], two[1], "email:a@example.org"])),
            ("a URI", openssl_csr(&key, sha, "", &[two[0], two[1], "URI:https://a.example.org/"])),
            ("another common name", openssl_csr(&key, sha, "c.example.org", &two)),
            ("no name at all", openssl_csr(&key, sha, "", &[])),
        ] {
            let reply = finalize(&client, &order, &der).await;
            assert_eq!((reply.status, reply.problem().as_str()), (400, "badCSR"), "{what}: {}", reply.text);
            assert_eq!(client.get(&order_url).await.expect(200).json()["status"], "ready", "{what}");
        }
        assert_eq!(everything(&world).await, before);
        // in any order and case, and one of them as common name
        let der =
            openssl_csr(&key, sha, "A.example.ORG", &["DNS:B.example.org", "DNS:a.EXAMPLE.org", "DNS:b.example.org"]);
        let done = finalize(&client, &order, &der).await.expect(200).json();
        assert_eq!(done["status"], "valid", "{done}");
        let pem = client.get(done["certificate"].as_str().unwrap()).await.expect(200).text;
        let leaf = X509::from_der(&leaf_der(&pem)).unwrap();
        let mut names: Vec<_> =
            leaf.subject_alt_names().unwrap().iter().map(|n| n.dnsname().unwrap().to_owned()).collect();
        names.sort();
        assert_eq!(names, ["a.example.org", "b.example.org"]);
    }
}

#[tokio::test]
async fn f3_a_common_name_of_the_order_counts_as_a_name() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (key, sha) = (p256(), MessageDigest::sha256());
        // RFC 8555 §7.4 takes names from either place; Boulder wants the common name among the SAN
        for (names, common_name, san) in [
            (&["a.example.org"][..], "a.example.org", &[][..]),
            (&["a.example.org", "b.example.org"], "a.example.org", &["DNS:b.example.org"]),
        ] {
            let (_, order) = client.ready_order(names).await;
            let done = finalize(&client, &order, openssl_csr(&key, sha, common_name, san)).await.expect(200).json();
            let pem = client.get(done["certificate"].as_str().unwrap()).await.expect(200).text;
            let leaf = X509::from_der(&leaf_der(&pem)).unwrap();
            assert_eq!(leaf.subject_alt_names().unwrap().len(), names.len());
        }
    }
}

#[tokio::test]
async fn f4_nothing_but_key_and_names_is_taken_from_a_request() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, order) = client.ready_order(&["a.example.org"]).await;
        let (key, sha) = (p256(), MessageDigest::sha256());
        let der = with_extensions(&key, sha, "", &["DNS:a.example.org"], |list| {
            list.push(BasicConstraints::new().critical().ca().pathlen(3).build().unwrap()).unwrap();
            list.push(KeyUsage::new().critical().key_cert_sign().crl_sign().build().unwrap()).unwrap();
            list.push(ExtendedKeyUsage::new().other("2.5.29.37.0").code_signing().build().unwrap()).unwrap();
        });
        let done = finalize(&client, &order, der).await.expect(200).json();
        let pem = client.get(done["certificate"].as_str().unwrap()).await.expect(200).text;
        let text = String::from_utf8(X509::from_der(&leaf_der(&pem)).unwrap().to_text().unwrap()).unwrap();
        assert!(
            !text.contains("CA:TRUE") && !text.contains("Certificate Sign") && !text.contains("CRL Sign"),
            "{text}"
        );
        assert!(!text.contains("Any Extended Key Usage") && !text.contains("Code Signing"), "{text}");
        assert!(text.contains("TLS Web Server Authentication"), "{text}");
    }
}

#[tokio::test]
async fn f5_a_certificate_is_downloaded_as_a_chain() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (certificate, _, _) = client.certificate(&["a.example.org"]).await;
        let reply = client.get(&certificate).await.expect(200);
        assert_eq!(reply.header("content-type"), "application/pem-certificate-chain");
        assert!(!reply.text.contains('\r') && reply.text.starts_with("-----BEGIN CERTIFICATE-----\n"));
        assert!(reply.text.ends_with("-----END CERTIFICATE-----\n") && !reply.text.contains("\n\n"));
        let outside = reply
            .text
            .split("-----END CERTIFICATE-----\n")
            .all(|part| part.is_empty() || part.starts_with("-----BEGIN CERTIFICATE-----\n"));
        assert!(outside && !reply.text.contains("PRIVATE"), "{}", reply.text);
        let chain = X509::stack_from_pem(reply.text.as_bytes()).unwrap();
        assert!(chain.len() >= 2, "leaf and an intermediate at least");
        for pair in chain.windows(2) {
            assert!(pair[0].verify(&pair[1].public_key().unwrap()).unwrap());
            assert_eq!(pair[0].issuer_name().try_cmp(pair[1].subject_name()).unwrap(), std::cmp::Ordering::Equal);
        }
        // every alternate is fetched and names the others
        let alternates = alternates(&reply);
        for alternate in &alternates {
            let other = client.get(alternate).await.expect(200);
            assert_eq!(leaf_der(&other.text), leaf_der(&reply.text));
            assert_eq!(super::finalize::alternates(&other).len(), alternates.len());
        }
        let accepted = async |accept: &str| {
            let header =
                json!({"alg": "ES256", "kid": client.kid, "nonce": client.nonce().await, "url": certificate});
            let headers = [("content-type", "application/jose+json"), ("accept", accept)];
            let body = client.key.jws(&header.to_string(), "").to_string().into_bytes();
            with_headers(&world, "POST", &certificate, &headers, body).await
        };
        for accept in
            ["application/pem-certificate-chain", "*/*", "application/*", "application/pkix-cert, */*;q=0.1"]
        {
            assert_eq!(accepted(accept).await.expect(200).text, reply.text, "{accept}");
        }
        // an issued certificate is given whatever the client asks for it with
        for accept in ["application/pkix-cert", "text/plain", "application/json", "", ";;,"] {
            let given = accepted(accept).await.expect(200);
            assert_eq!(
                (given.header("content-type"), given.text.as_str()),
                ("application/pem-certificate-chain", reply.text.as_str())
            );
        }
    }
}

fn alternates(reply: &Reply) -> Vec<String> {
    let links = reply.headers.get_all("link").iter().map(|l| l.to_str().unwrap().to_owned());
    links.filter(|l| l.ends_with("rel=\"alternate\"")).map(|l| l[1..l.find('>').unwrap()].to_owned()).collect()
}

#[tokio::test]
async fn f6_a_certificate_is_its_accounts_and_always_the_same() {
    for world in worlds().await {
        let (client, other) = (Client::register(&world).await, Client::register(&world).await);
        let (certificate, pem, _) = client.certificate(&["a.example.org"]).await;
        let foreign = other.get(&certificate).await.refused(404, "malformed");
        let missing = other.get(&url("certificate/crt_00000000000000000000000000")).await.refused(404, "malformed");
        assert_eq!(foreign.json()["detail"], missing.json()["detail"]);
        for _ in 0..3 {
            assert_eq!(client.get(&certificate).await.expect(200).text, pem);
        }
        client.post(&url("revoke"), &json!({"certificate": b64(leaf_der(&pem))}).to_string()).await.expect(200);
        assert_eq!(client.get(&certificate).await.expect(200).text, pem);
    }
}

/// A ready order whose proofs cannot be found any more is refused, whoever lost them: an older binary beside this one, or
/// somebody with access to the database.
#[tokio::test]
async fn an_order_without_its_authorizations_is_refused() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let names = ["a.example.org", "b.example.org"];
        for (lost, missing) in [
            ("DELETE FROM acme_order_authorizations", "a.example.org"),
            ("DELETE FROM acme_order_authorizations WHERE position = 1", "b.example.org"),
            (
                "UPDATE acme_authorizations SET account_id = (SELECT id FROM acme_accounts WHERE id <> account_id LIMIT 1)",
                "a.example.org",
            ),
            (
                "UPDATE acme_authorizations SET value = 'other.example.org' WHERE value = 'b.example.org'",
                "b.example.org",
            ),
        ] {
            Client::register(&world).await;
            let (order_url, order) = client.ready_order(&names).await;
            q(plain(lost)).execute(&world.store.db).await.unwrap();
            let reply = finalize(&client, &order, csr(&names).0).await.refused(403, "orderNotReady");
            let detail = reply.json()["detail"].as_str().unwrap().to_owned();
            assert_eq!(detail, format!("the order has no authorization for {missing}; make a new order"), "{lost}");
            assert_eq!(client.get(&order_url).await.json()["status"], "ready", "nothing was signed");
            q(plain("DELETE FROM acme_order_authorizations")).execute(&world.store.db).await.unwrap();
        }
    }
}

/// What ended a proof ends its orders too; an order that says ready all the same is judged by its proofs.
#[tokio::test]
async fn an_order_whose_proof_has_ended_is_refused() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let names = ["a.example.org", "b.example.org"];
        for (end, status) in [
            ("UPDATE acme_authorizations SET status = 'deactivated' WHERE value = 'b.example.org'", "deactivated"),
            ("UPDATE acme_authorizations SET expires_at = 1 WHERE value = 'b.example.org'", "expired"),
        ] {
            let (_, order) = client.ready_order(&names).await;
            q(plain(end)).execute(&world.store.db).await.unwrap();
            let reply = finalize(&client, &order, csr(&names).0).await.refused(403, "orderNotReady");
            let expected = format!("the order's authorization for b.example.org is {status}; make a new order");
            assert_eq!(reply.json()["detail"], expected);
        }
    }
}

#[tokio::test]
async fn a_server_whose_clock_is_wrong_says_so_at_finalize_and_records_revocations() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (order_url, order) = client.ready_order(&["a.example.org"]).await;
        let (_, other) = client.ready_order(&["b.example.org"]).await;
        let issued = finalize(&client, &other, csr(&["b.example.org"]).0).await.expect(200).json();
        let chain = client.post(issued["certificate"].as_str().unwrap(), "").await.expect(200).text;
        world.clock.jump(-600);
        let refused = finalize(&client, &order, csr(&["a.example.org"]).0).await;
        assert_eq!(refused.status, 503, "{}", refused.text);
        let told = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(told.starts_with("this server's clock is 10 minutes behind "), "{told}");
        assert_eq!(client.get(&order_url).await.expect(200).json()["status"], "ready");
        // what takes trust away is not kept waiting for a clock; it is dated by the reference time
        let leaf = b64(leaf_der(&chain));
        client.post(&url("revoke"), &json!({"certificate": leaf}).to_string()).await.expect(200);
        world.clock.jump(600);
        finalize(&client, &order, csr(&["a.example.org"]).0).await.expect(200);
    }
}
