//! What the CA asks for on loopback: the file of http-01, the certificate of tls-alpn-01, the record of dns-01 (a file
//! that dns.py reads).

use std::collections::HashMap;
use std::env::var;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};

use crate::Result;

/// By token, and by name.
#[derive(Debug, Default)]
pub struct Answers {
    files: Arc<Mutex<HashMap<String, String>>>,
    certificates: Arc<Certificates>,
}

#[derive(Debug, Default)]
struct Certificates(Mutex<HashMap<String, Arc<CertifiedKey>>>);

impl Answers {
    pub fn listen() -> Result<Answers> {
        let answers = Answers::default();
        match var("CHALLENGE").as_deref() {
            Ok("http-01") => {
                let (listener, files) = (bind("HTTP01_PORT")?, Arc::clone(&answers.files));
                thread::spawn(move || listener.incoming().flatten().for_each(|s| drop(answer(s, &files))));
            }
            Ok("tls-alpn-01") => {
                let (listener, resolver) = (bind("TLS_ALPN01_PORT")?, Arc::clone(&answers.certificates));
                let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver);
                config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
                let config = Arc::new(config);
                thread::spawn(move || listener.incoming().flatten().for_each(|s| drop(handshake(s, &config))));
            }
            _ => {}
        }
        Ok(answers)
    }

    pub fn http(&self, token: &str, text: &str) {
        self.files.lock().expect("no thread panics with it").insert(token.to_owned(), text.to_owned());
    }

    pub fn text(&self, name: &str, value: &str) -> Result<()> {
        let name = name.trim_start_matches("*.");
        Ok(fs::write(format!("{}/_acme-challenge.{name}", var("TEXTS")?), format!("{value}\n"))?)
    }

    pub fn tls(&self, name: &str, digest: &[u8]) -> Result<()> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der())?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key)?;
        let both = Arc::new(CertifiedKey::new(vec![certificate], key));
        self.certificates.0.lock().expect("no thread panics with it").insert(name.to_owned(), both);
        Ok(())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.lock().ok()?.get(hello.server_name()?).cloned()
    }
}

fn bind(port: &str) -> Result<TcpListener> {
    Ok(TcpListener::bind(("127.0.0.1", var(port)?.parse()?))?)
}

fn answer(mut stream: TcpStream, files: &Mutex<HashMap<String, String>>) -> Result<()> {
    let mut head = [0; 2048];
    let length = stream.read(&mut head)?;
    let head = String::from_utf8_lossy(&head[..length]);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let token = path.trim_start_matches("/.well-known/acme-challenge/");
    let text = files.lock().expect("no thread panics with it").get(token).cloned();
    let (status, text) = text.map_or(("404 Not Found", String::new()), |text| ("200 OK", text));
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len())?;
    Ok(())
}

fn handshake(mut stream: TcpStream, config: &Arc<ServerConfig>) -> Result<()> {
    let mut tls = ServerConnection::new(Arc::clone(config))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    tls.send_close_notify();
    tls.complete_io(&mut stream)?;
    Ok(())
}
