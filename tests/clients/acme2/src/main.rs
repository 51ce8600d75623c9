//! What a Rust program does with the crate acme2 (2022; its last release), as a command for old-clients.sh:
//!
//!     obtain OUT NAME…      OUT.full.pem and OUT.key, by http-01 from the folder CHALLENGES
//!
//! DIRECTORY and ROOT name the server and its root, KEY the file of the account's key. The crate cannot revoke.

use std::env::{args, var};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use acme2::{
    Account, AccountBuilder, AuthorizationStatus, Csr, DirectoryBuilder, OrderBuilder, OrderStatus,
    gen_ec_p256_private_key, gen_rsa_private_key,
};
use openssl::pkey::{PKey, Private};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const PAUSE: Duration = Duration::from_millis(300);
const ATTEMPTS: usize = 60;

fn main() -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}

async fn run() -> Result<()> {
    let words: Vec<String> = args().skip(1).collect();
    match words.split_first() {
        Some((command, [out, names @ ..])) if command == "obtain" => obtain(&account().await?, out, names).await,
        _ => Err("acme2-client obtain OUT NAME…".into()),
    }
}

async fn account() -> Result<Arc<Account>> {
    let root = reqwest::Certificate::from_pem(&fs::read(var("ROOT")?)?)?;
    let client = reqwest::Client::builder().add_root_certificate(root).build()?;
    let directory = DirectoryBuilder::new(var("DIRECTORY")?).http_client(client).build().await?;
    let mut builder = AccountBuilder::new(directory);
    builder
        .private_key(account_key()?)
        .contact(vec!["mailto:ops@chancery.test".into()])
        .terms_of_service_agreed(true);
    Ok(builder.build().await?)
}

fn account_key() -> Result<PKey<Private>> {
    let path = var("KEY")?;
    if let Ok(pem) = fs::read(&path) {
        return Ok(PKey::private_key_from_pem(&pem)?);
    }
    let key = gen_rsa_private_key(2048)?;
    fs::write(path, key.private_key_to_pem_pkcs8()?)?;
    Ok(key)
}

async fn obtain(account: &Arc<Account>, out: &str, names: &[String]) -> Result<()> {
    let mut builder = OrderBuilder::new(account.clone());
    for name in names {
        builder.add_dns_identifier(name.clone());
    }
    let order = builder.build().await?;
    for authorization in order.authorizations().await? {
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let challenge = authorization.get_challenge("http-01").ok_or("http-01 is not offered")?;
        let token = challenge.token.clone().ok_or("the challenge has no token")?;
        let answer = challenge.key_authorization()?.ok_or("the challenge has no token")?;
        fs::write(Path::new(&var("CHALLENGES")?).join(token), answer)?;
        let challenge = challenge.validate().await?.wait_done(PAUSE, ATTEMPTS).await?;
        let authorization = authorization.wait_done(PAUSE, ATTEMPTS).await?;
        if authorization.status != AuthorizationStatus::Valid {
            return Err(format!("the challenge is {:?}: {:?}", challenge.status, challenge.error).into());
        }
    }
    let order = order.wait_ready(PAUSE, ATTEMPTS).await?;
    let key = gen_ec_p256_private_key()?;
    let order = order.finalize(Csr::Automatic(key.clone())).await?.wait_done(PAUSE, ATTEMPTS).await?;
    if order.status != OrderStatus::Valid {
        return Err(format!("the order is {:?}: {:?}", order.status, order.error).into());
    }
    let mut chain = Vec::new();
    for certificate in order.certificate().await?.ok_or("the order has no certificate")? {
        chain.extend(certificate.to_pem()?);
    }
    fs::write(format!("{out}.key"), key.private_key_to_pem_pkcs8()?)?;
    Ok(fs::write(format!("{out}.full.pem"), chain)?)
}
