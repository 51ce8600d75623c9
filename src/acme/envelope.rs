//! From an HTTP request to a signed request of somebody (RFC 8555 §6.2–§6.5): media type, size, shape, key,
//! signature, url, nonce, in this order. The signature comes before the nonce, so that nobody else can spend it.

use std::sync::Arc;

use axum::extract::{FromRequest, OriginalUri, Path, Request};
use axum::http::{Extensions, header};
use std::collections::HashMap;

use super::Acme;
use super::jwk::Jwk;
use super::jws::{Jws, MAX_BODY, Payload, Signed};
use super::urls::Urls;
use crate::error::{Error, ErrorKind, Result};
use crate::http::client_address::ClientAddress;
use crate::http::extract::read_of_stranger;
use crate::http::layers::{Tracked, Who};
use crate::model::acme::{Account, AccountKey};
use crate::model::id::AccountId;
use crate::pki::key_policy::KeyPolicy;
use crate::registration::{Directory, Origin, active};

/// A request whose JWS has the right shape; nothing is verified yet.
pub struct Envelope {
    pub acme: Acme,
    pub directory: Arc<Directory>,
    pub urls: Urls,
    pub origin: Origin,
    pub query: Option<String>,
    /// With its query, as it was asked for.
    path: String,
    ids: HashMap<String, String>,
    jws: Jws,
    extensions: Extensions,
}

impl FromRequest<Acme> for Envelope {
    type Rejection = Error;

    async fn from_request(request: Request, acme: &Acme) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        media_type(&parts.headers)?;
        use axum::RequestPartsExt;
        let Path(ids) =
            parts.extract::<Path<HashMap<String, String>>>().await.map_err(|_| Error::not_found("ACME resource"))?;
        let directory = acme.registration.shared_directory(ids.get("directory").map_or("", String::as_str))?;
        // nesting cuts the prefix off `uri`; the client signed the whole
        let uri = parts.extensions.get::<OriginalUri>().map_or_else(|| parts.uri.clone(), |o| o.0.clone());
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let body = read_of_stranger(&parts, body, MAX_BODY).await?;
        Ok(Envelope {
            urls: Urls::new(acme, &directory.slug),
            path: path.to_owned(),
            jws: Jws::parse(&body)?,
            query: uri.query().map(str::to_owned),
            origin: Origin {
                address: ClientAddress::text(&parts.extensions),
                request_id: parts.extensions.get::<Tracked>().map_or_else(String::new, |t| t.0.to_string()),
            },
            acme: acme.clone(),
            directory,
            ids,
            extensions: parts.extensions,
        })
    }
}

impl Envelope {
    /// The id in the path, or not found.
    pub fn id<T: std::str::FromStr>(&self, what: &str) -> Result<T> {
        super::urls::id(self.ids.get("id").map_or("", String::as_str), what)
    }

    /// What stands in the path there, if the route has such a part.
    pub fn part(&self, name: &str) -> Option<&str> {
        self.ids.get(name).map(String::as_str)
    }

    pub fn signed_by_key(&self) -> bool {
        matches!(self.jws.signer, Signed::ByKey(_))
    }

    /// Signed with the key of a valid account of this directory.
    pub async fn by_account(&self) -> Result<(Account, Payload)> {
        let (account, payload) = self.by_holder().await?;
        Ok((active(account)?, payload))
    }

    /// The same, whatever has become of the account.
    pub async fn by_holder(&self) -> Result<(Account, Payload)> {
        let Signed::ByAccount(kid) = &self.jws.signer else {
            return Err(Error::malformed("this request is signed by an account: send \"kid\", not \"jwk\""));
        };
        let (account, payload) = self.verified(self.account_of(kid).await?).await?;
        Who::is(&self.extensions, self.origin.account(&account));
        self.fresh(Some(&account)).await?;
        Ok((account, payload))
    }

    /// The account may be what is remembered of it, and have another key since, which another process gave it.
    async fn verified(&self, account: Account) -> Result<(Account, Payload)> {
        let error = match self.jws.verify(&Jwk::from_canonical(&account.key.jwk)?) {
            Ok(payload) => return Ok((account, payload)),
            Err(error) => error,
        };
        let now = self.acme.registration.reread(&account).await?;
        if now.key.thumbprint == account.key.thumbprint {
            return Err(error);
        }
        let payload = self.jws.verify(&Jwk::from_canonical(&now.key.jwk)?)?;
        Ok((now, payload))
    }

    /// Signed with the key that it carries. `policy` judges that key: an account's must be good, a certificate's
    /// was when we issued.
    pub async fn by_key(&self, policy: &KeyPolicy) -> Result<(AccountKey, Payload)> {
        let Signed::ByKey(jwk) = &self.jws.signer else {
            return Err(Error::malformed("this request is signed with a key of its own: send \"jwk\", not \"kid\""));
        };
        let key = account_key(jwk, policy)?;
        let payload = self.jws.verify(jwk)?;
        self.fresh(None).await?;
        Ok((key, payload))
    }

    /// The URL that the JWS names; the inner JWS of a key change or of a binding must name the same.
    pub fn url(&self) -> &str {
        &self.jws.url
    }

    async fn account_of(&self, kid: &str) -> Result<Account> {
        let missing = || {
            Error::new(
                ErrorKind::AccountDoesNotExist,
                "\"kid\" names no account here: register with newAccount first",
            )
        };
        // the stored URL counts, so that an account outlives a change of the external URL
        let id: AccountId = kid.rsplit('/').next().unwrap_or_default().parse().map_err(|_| missing())?;
        let account = self.acme.registration.account(&self.directory.slug, id).await?;
        account.filter(|a| a.url == kid).ok_or_else(missing)
    }

    /// `url` is this request's, and the nonce has not been used. An account whose URL was made when this server had
    /// another external URL may go on with the URLs that it knows: they differ in what stands before the path, which
    /// is not the client's to choose but what we gave out. Another URL is unauthorized (RFC 8555 §6.4; Pebble and
    /// Boulder say malformed).
    async fn fresh(&self, account: Option<&Account>) -> Result<()> {
        let ours = format!("{}{}", self.acme.external_url, self.path);
        let known = account.and_then(base).map(|base| format!("{base}{}", self.path));
        if self.jws.url != ours && known.as_ref() != Some(&self.jws.url) {
            return Err(Error::new(
                ErrorKind::Forbidden,
                format!("\"url\" in the protected header is not the URL of this request, which is {}", start(&ours)),
            ));
        }
        let nonce = self.jws.nonce.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::BadNonce, "the protected header has no \"nonce\": take the one in Replay-Nonce")
        })?;
        self.acme.registration.nonces.redeem(nonce).await
    }
}

/// A query may be as long as its sender likes.
fn start(url: &str) -> &str {
    url.char_indices().nth(200).and_then(|(end, _)| url.get(..end)).unwrap_or(url)
}

/// The external URL of the time when the account was made.
fn base(account: &Account) -> Option<&str> {
    account.url.strip_suffix(&format!("/acme/{}/account/{}", account.directory, account.id))
}

/// The three forms in which an account's key is kept, if the policy accepts it.
pub fn account_key(jwk: &Jwk, policy: &KeyPolicy) -> Result<AccountKey> {
    let public_key = jwk.spki()?;
    policy.check(&public_key)?;
    Ok(AccountKey { jwk: jwk.canonical(), thumbprint: jwk.thumbprint(), public_key })
}

fn media_type(headers: &axum::http::HeaderMap) -> Result<()> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/jose+json") {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::UnsupportedMediaType,
        "ACME requests have Content-Type: application/jose+json (RFC 8555 §6.2)",
    ))
}
