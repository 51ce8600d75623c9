//! Everything that a request or a job can reach. Made once by `server/running.rs`; handlers hold it in an `Arc`.

use std::fmt;
use std::sync::Arc;

use crate::access::Access;
use crate::authority::Authority;
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::error::Result;
use crate::keys::store::Keys;
use crate::model::actor::Actor;
use crate::pki::pem;
use crate::registration::Registration;
use crate::store::Store;
use crate::validation::{Validator, download};

pub struct App {
    pub store: Store,
    pub keys: Arc<Keys>,
    pub authority: Arc<Authority>,
    pub access: Arc<Access>,
    pub registration: Arc<Registration>,
    pub validator: Arc<Validator>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub urls: Urls,
    /// Started without the unlock key: issuing answers 503, status goes on.
    pub locked: bool,
}

impl App {
    /// What other processes changed: revocations, hierarchy and profiles; then tokens and directories too.
    pub async fn refresh(&self) -> Result<()> {
        self.authority.poll_revocations().await?;
        if self.authority.refresh().await? {
            self.access.forget();
        }
        self.registration.refresh().await
    }

    /// Compares the database with what is remembered of it; a change means other tokens and sessions.
    pub async fn remember(&self) -> Result<()> {
        if self.authority.remember().await? {
            self.access.forget();
        }
        Ok(())
    }

    /// Writes what was counted of refused requests: of the minutes that are over, or all of it at the end.
    pub async fn write_refusals(&self, all: bool) {
        self.access.refusals.flush(all).await;
        self.registration.refusals.flush(all).await;
        self.registration.write_attempts(all).await;
    }

    /// Fetches the CRLs of CAs elsewhere that stand above our issuers. One that fails does not keep the others waiting.
    pub async fn fetch_foreign_crls(&self) -> Result<()> {
        const LIMIT: usize = 32 << 20;
        if !self.store.is_clock_right().await? {
            return Ok(());
        }
        let actor = Actor::job("foreign-crls");
        for ca in self.authority.foreign_crls_due().await? {
            let mut failure = None;
            for text in &ca.urls {
                let Ok(url) = url::Url::parse(text) else { continue };
                let stored = match self.validator.download(&url, LIMIT).await {
                    Ok(body) => {
                        let der = pem::crl(&body).unwrap_or(body);
                        self.authority.store_foreign_crl(&actor, &ca, text, &der).await.map_err(|e| e.detail)
                    }
                    Err(error) => Err(download::sentence(&error)),
                };
                match stored {
                    Ok(_) => {
                        failure = None;
                        break;
                    }
                    Err(why) => failure = Some((text, why)),
                }
            }
            if let Some((url, why)) = failure {
                tracing::warn!(url, why, "the CRL of a CA elsewhere could not be fetched");
                self.authority.foreign_crl_failed(&ca, url, &why).await?;
            }
        }
        Ok(())
    }

    /// What time ends: orders, authorizations, nonces, sessions, idempotency keys.
    pub async fn housekeep(&self) -> Result<()> {
        if !self.store.is_clock_right().await? {
            return Ok(());
        }
        self.registration.housekeep().await?;
        self.access.housekeep().await?;
        crate::store::idempotency::clean(&self.store, self.clock.now()).await.map(drop)
    }
}

/// Where clients reach this server; no slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urls {
    /// Base of ACME URLs and links.
    pub external: Arc<str>,
    /// Base of CRL, OCSP and issuer pointers of issuers made from now on.
    pub status: Arc<str>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "App({}, {:?})", self.urls.external, self.store)
    }
}
