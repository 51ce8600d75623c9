//! Keys that the server makes, in PKCS#12. OpenSSL opens the files.

use base64::Engine as _;
use openssl::pkcs12::Pkcs12;
use serde_json::{Value, json};

use super::room::Room;
use crate::on_both_engines;

const CERTIFICATES: &str = "/api/v1/certificates";

/// The file of an answer, opened.
fn opened(answer: &Value, password: &str) -> openssl::pkcs12::ParsedPkcs12_2 {
    let der = base64::engine::general_purpose::STANDARD.decode(answer["pkcs12"].as_str().unwrap()).unwrap();
    let file = Pkcs12::from_der(&der).unwrap();
    assert!(file.parse2("wrong").is_err());
    file.parse2(password).unwrap()
}

on_both_engines! {
    async fn a_key_that_the_server_makes_comes_as_pkcs12_where_that_is_asked_for(at) {
        let room = Room::over(at).await;
        for key in ["P-256", "RSA-2048", "Ed25519"] {
            let body = json!({"names": ["web.lab.example"], "profile": "tls-server", "key": key, "pkcs12": {}});
            let made = room.post(&room.admin, CERTIFICATES, &body).await;
            let answer = made.json();
            assert_eq!(made.status, 201, "{answer}");
            assert!(answer.get("private_key").is_none(), "the key is in one place");
            let file = opened(&answer, answer["pkcs12_password"].as_str().unwrap());
            let leaf = file.cert.unwrap();
            assert!(leaf.public_key().unwrap().public_eq(&file.pkey.unwrap()), "{key}");
            assert_eq!(String::from_utf8(leaf.to_pem().unwrap()).unwrap(), answer["certificate"].as_str().unwrap());
            assert_eq!(file.ca.unwrap().len(), 1);
        }
        let body = json!({"names": ["web.lab.example"], "profile": "tls-server", "pkcs12": {"password": "given", "legacy": null}});
        let answer = room.post(&room.admin, CERTIFICATES, &body).await.json();
        assert!(answer.get("pkcs12_password").is_none(), "{answer}");
        assert!(opened(&answer, "given").pkey.is_some());
        // the record has neither
        let path = format!("{CERTIFICATES}/{}", answer["id"].as_str().unwrap());
        let record = room.get(&room.admin, &path).await.json();
        assert!(record.get("pkcs12").is_none() && record.get("pkcs12_password").is_none(), "{record}");
    }

    async fn pkcs12_is_refused_before_anything_is_issued(at) {
        let room = Room::over(at).await;
        let count = || async { room.get(&room.admin, "/api/v1/certificates?profile=tls-server").await.json()["items"].as_array().unwrap().len() };
        let before = count().await;
        let csr = std::fs::read_to_string(format!("{}/tests/data/csr/opnsense-eku.csr", env!("CARGO_MANIFEST_DIR"))).unwrap();
        for (body, words) in [
            (json!({"csr": csr, "profile": "tls-server", "pkcs12": {}}), "does not have the private key of a CSR"),
            (json!({"names": ["a.lab.example"], "profile": "tls-server", "pkcs12": {"password": ""}}), "1 to 200 printable ASCII"),
            (json!({"names": ["a.lab.example"], "profile": "tls-server", "pkcs12": {"password": "ü"}}), "1 to 200 printable ASCII"),
            (json!({"names": ["a.lab.example"], "profile": "tls-server", "pkcs12": true}), "pkcs12"),
            (json!({"names": ["a.lab.example"], "profile": "tls-server", "pkcs12": {"pass": "x"}}), "pass"),
        ] {
            let answer = room.post(&room.admin, CERTIFICATES, &body).await;
            assert!(answer.status.is_client_error(), "{body}");
            assert!(answer.json().to_string().contains(words), "{}", answer.json());
        }
        assert_eq!(count().await, before);
    }
}
