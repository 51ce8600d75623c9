//! What a Rust program does with the crate instant-acme, as a command for instant-acme.sh: one account in HOME_FILE.
//!
//!     obtain OUT NAME…      OUT.pem (leaf), OUT.chain.pem, OUT.key; by CHALLENGE, PROFILE if it is set, and in place of
//!                           the certificate in REPLACES if it is set
//!     renewal CERT          the suggested window (RFC 9773)
//!     revoke CERT           superseded, by the account
//!     new-key               a new key for the account (RFC 8555 §7.3.5)
//!
//! DIRECTORY and ROOT name the server and its root; EAB_KID and EAB_HMAC bind a new account.

mod answers;

use std::env::{args, var};
use std::error::Error;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeType, ExternalAccountKey,
    Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy, RevocationReason, RevocationRequest,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use answers::Answers;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}

async fn run() -> Result<()> {
    let all: Vec<String> = args().skip(1).collect();
    let words: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut account = account().await?;
    match words.as_slice() {
        ["obtain", out, names @ ..] => obtain(&account, out, names).await,
        ["renewal", certificate] => renewal(&account, certificate).await,
        ["revoke", certificate] => {
            let certificate = CertificateDer::from_pem_file(certificate)?;
            let reason = Some(RevocationReason::Superseded);
            Ok(account.revoke(&RevocationRequest { certificate: &certificate, reason }).await?)
        }
        ["new-key"] => keep(&account.update_key().await?),
        _ => Err("see the first lines of main.rs".into()),
    }
}

/// The account of HOME_FILE, or a new one.
async fn account() -> Result<Account> {
    let builder = || Account::builder_with_root(var("ROOT")?).map_err(Box::<dyn Error>::from);
    if let Ok(text) = fs::read_to_string(var("HOME_FILE")?) {
        return Ok(builder()?.from_credentials(serde_json::from_str(&text)?).await?);
    }
    let external = match var("EAB_KID") {
        Ok(kid) => Some(ExternalAccountKey::new(kid, &URL_SAFE_NO_PAD.decode(var("EAB_HMAC")?)?)),
        Err(_) => None,
    };
    let contact = ["mailto:ops@chancery.test"];
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) = builder()?.create(&new, var("DIRECTORY")?, external.as_ref()).await?;
    keep(&credentials)?;
    Ok(account)
}

fn keep(credentials: &AccountCredentials) -> Result<()> {
    Ok(fs::write(var("HOME_FILE")?, serde_json::to_string(credentials)?)?)
}

async fn obtain(account: &Account, out: &str, names: &[&str]) -> Result<()> {
    let identifiers: Vec<Identifier> = names.iter().map(|name| identifier(name)).collect();
    let mut new = NewOrder::new(&identifiers);
    let (profile, replaces) = (var("PROFILE").ok(), var("REPLACES").ok());
    if let Some(profile) = &profile {
        new = new.profile(profile);
    }
    let replaced = replaces.map(CertificateDer::from_pem_file).transpose()?;
    if let Some(der) = &replaced {
        new = new.replaces(CertificateIdentifier::try_from(der)?);
    }
    let mut order = account.new_order(&new).await?;
    let answers = Answers::listen()?;
    let mut authorizations = order.authorizations();
    while let Some(next) = authorizations.next().await {
        let mut authorization = next?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let wanted = match var("CHALLENGE")?.as_str() {
            "http-01" => ChallengeType::Http01,
            "dns-01" => ChallengeType::Dns01,
            "tls-alpn-01" => ChallengeType::TlsAlpn01,
            other => return Err(format!("no challenge is called {other}").into()),
        };
        let mut challenge = authorization.challenge(wanted.clone()).ok_or("the challenge is not offered")?;
        let (name, key) = (challenge.identifier().to_string(), challenge.key_authorization());
        match wanted {
            ChallengeType::Http01 => answers.http(&challenge.token, key.as_str()),
            ChallengeType::Dns01 => answers.text(&name, &key.dns_value())?,
            _ => answers.tls(&name, key.digest().as_ref())?,
        }
        challenge.set_ready().await?;
    }
    let status = order.poll_ready(&RetryPolicy::default()).await?;
    if status != OrderStatus::Ready {
        return Err(format!("the order is {status:?}").into());
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&RetryPolicy::default()).await?;
    let end = "-----END CERTIFICATE-----\n";
    let (leaf, above) = chain.split_once(end).ok_or("no certificate in the answer")?;
    fs::write(format!("{out}.pem"), format!("{leaf}{end}"))?;
    fs::write(format!("{out}.chain.pem"), above)?;
    fs::write(format!("{out}.key"), key)?;
    let state = order.state();
    println!("profile {}", state.profile.as_deref().unwrap_or("none"));
    println!("replaces {}", state.replaces.is_some());
    Ok(())
}

fn identifier(name: &str) -> Identifier {
    name.parse().map_or_else(|_| Identifier::Dns(name.to_owned()), Identifier::Ip)
}

async fn renewal(account: &Account, certificate: &str) -> Result<()> {
    let der = CertificateDer::from_pem_file(certificate)?;
    let (info, again) = account.renewal_info(&CertificateIdentifier::try_from(&der)?).await?;
    let window = &info.suggested_window;
    println!("{} {} {}", window.start.unix_timestamp(), window.end.unix_timestamp(), again.as_secs());
    Ok(())
}
