//! A tls-alpn-01 responder with any certificate: the right one, and every wrong one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::Acceptor;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::LazyConfigAcceptor;

use super::support::key_authorization;
use crate::support::wait::until;

const ACME_IDENTIFIER: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 1, 31];

/// A certificate that is made when it is served.
#[derive(Clone, Default)]
pub struct Leaf {
    pub names: Vec<SanType>,
    /// Value of acmeIdentifier and whether it is critical, as often as it stands.
    pub identifiers: Vec<(Vec<u8>, bool)>,
    /// Octets of ballast in an extension that nobody knows.
    pub ballast: usize,
    pub signed: Signed,
    /// Certificates that are sent behind it.
    pub followers: usize,
    /// Long over.
    pub expired: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Signed {
    #[default]
    ByItself,
    ByAnother,
    /// By its own key, with another name for the issuer.
    UnderAnotherName,
    /// By itself, with the last octet changed.
    Wrongly,
}

pub fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

pub fn ip(address: &str) -> SanType {
    SanType::IpAddress(address.parse().unwrap())
}

/// DER of an OCTET STRING.
pub fn octets(content: &[u8]) -> Vec<u8> {
    [&[4, content.len() as u8], content].concat()
}

pub fn expected_digest() -> Vec<u8> {
    digest(&SHA256, key_authorization().as_bytes()).as_ref().to_vec()
}

impl Leaf {
    /// What proves control over a name.
    pub fn right(name: SanType) -> Leaf {
        Leaf { names: vec![name], identifiers: vec![(octets(&expected_digest()), true)], ..Leaf::default() }
    }

    fn make(&self) -> (Vec<CertificateDer<'static>>, KeyPair) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = self.names.clone();
        let extension = |(value, critical): &(Vec<u8>, bool)| {
            let mut extension = CustomExtension::from_oid_content(&ACME_IDENTIFIER, value.clone());
            extension.set_criticality(*critical);
            extension
        };
        params.custom_extensions = self.identifiers.iter().map(extension).collect();
        if self.ballast > 0 {
            let unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![0x41; self.ballast]);
            params.custom_extensions.push(unknown);
        }
        if self.expired {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        let mut chain = vec![match self.signed {
            Signed::ByAnother => {
                let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
                // the same empty name: only the signature is another's
                let issuer = Issuer::new(params.clone(), other);
                params.signed_by(&key, &issuer).unwrap().der().clone()
            }
            Signed::UnderAnotherName => {
                // the same key: only the issuer's name is another
                let issuer = Issuer::new(CertificateParams::default(), &key);
                params.signed_by(&key, &issuer).unwrap().der().clone()
            }
            Signed::ByItself => params.self_signed(&key).unwrap().der().clone(),
            Signed::Wrongly => {
                let mut bytes = params.self_signed(&key).unwrap().der().to_vec();
                *bytes.last_mut().unwrap() ^= 1;
                bytes.into()
            }
        }];
        for _ in 0..self.followers {
            chain.push(CertificateDer::from(b"no certificate at all".to_vec()));
        }
        (chain, key)
    }
}

/// What is said in the handshake beside the certificate.
#[derive(Clone)]
pub struct Manner {
    pub protocols: Vec<&'static str>,
    pub versions: &'static [&'static SupportedProtocolVersion],
    /// Signs with another key than the certificate's.
    pub stolen: bool,
    /// Application data behind the handshake.
    pub chatter: bool,
}

pub const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
pub const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

impl Default for Manner {
    fn default() -> Self {
        Manner { protocols: vec!["acme-tls/1"], versions: rustls::ALL_VERSIONS, stolen: false, chatter: false }
    }
}

pub fn config(leaf: &Leaf, manner: &Manner) -> Arc<ServerConfig> {
    let (chain, mut key) = leaf.make();
    if manner.stolen {
        key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    }
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let key = provider::sign::any_supported_type(&key).unwrap();
    // not `with_single_cert`, which reads the certificate and refuses some of these
    let certified = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)));
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(manner.versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(certified);
    config.alpn_protocols = manner.protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// What a client said and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    pub server_name: Option<String>,
    pub protocols: Vec<String>,
    /// Signatures by RSA keys stand before those by ECDSA keys.
    pub rsa_first: bool,
    /// Bytes of application data.
    pub data: usize,
    /// It said goodbye, so that the end was no accident.
    pub closed_cleanly: bool,
}

pub struct AlpnServer {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    _tasks: JoinSet<()>,
}

impl AlpnServer {
    pub async fn start(bind: &str, leaf: Leaf, manner: Manner) -> AlpnServer {
        let listener = TcpListener::bind(bind).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let log = heard.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (log, config, manner) = (log.clone(), config(&leaf, &manner), manner.clone());
                open.spawn(async move {
                    let heard = serve(stream, config, &manner).await;
                    log.lock().unwrap().push(heard);
                });
            }
        });
        AlpnServer { address, heard, _tasks: tasks }
    }

    /// What the only client said, when it is gone.
    pub async fn heard(&self) -> Heard {
        until("a client to come and go", async || self.heard.lock().unwrap().first().cloned()).await
    }
}

pub async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, config: Arc<ServerConfig>, manner: &Manner) -> Heard {
    let mut heard = Heard::default();
    let Ok(start) = LazyConfigAcceptor::new(Acceptor::default(), stream).await else { return heard };
    let hello = start.client_hello();
    heard.server_name = hello.server_name().map(str::to_owned);
    heard.protocols = hello.alpn().into_iter().flatten().map(|p| String::from_utf8_lossy(p).into_owned()).collect();
    let schemes: Vec<_> = hello.signature_schemes().iter().map(|scheme| format!("{scheme:?}")).collect();
    let first = |kind: &str| schemes.iter().position(|scheme| scheme.starts_with(kind));
    heard.rsa_first = first("RSA_").zip(first("ECDSA_")).is_some_and(|(rsa, ecdsa)| rsa < ecdsa);
    let Ok(mut tls) = start.into_stream(config).await else { return heard };
    if manner.chatter {
        let _ = tls.write_all(b"CANARY").await;
    }
    let mut data = Vec::new();
    heard.closed_cleanly = tls.read_to_end(&mut data).await.is_ok();
    heard.data = data.len();
    heard
}
