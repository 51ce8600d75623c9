//! The roots that are to be trusted: from a file, from a server by fingerprint, from a context, or from the installation
//! of this host. While a trust domain changes its root there are two of them.

use std::path::Path;

use crate::authority::own::OWN_DOMAIN;
use crate::cli::session::{Context, Target};
use crate::client::anchor::{self, Fingerprint};
use crate::error::{Error, ErrorKind, Result};
use crate::pki::input::{self, Input};
use crate::pki::pem;
use crate::server::settings::Flags;

#[derive(Debug, Clone)]
pub struct Root {
    pub der: Vec<u8>,
    pub fingerprint: Fingerprint,
    /// The common name, for people.
    pub subject: String,
}

impl Root {
    pub fn new(der: Vec<u8>) -> Result<Root> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&der)
            .map_err(|e| Error::malformed("the root is no certificate").because(e))?;
        if !parsed.is_ca() || parsed.subject().as_raw() != parsed.issuer().as_raw() {
            let fix = "name the root, not an intermediate or a server's certificate: `chancery bootstrap` fetches it";
            let allowed = "a self-signed certificate of a CA";
            return Err(Error::refused(ErrorKind::Refused, "trust.root", parsed.subject(), allowed, fix)
                .explained(format!("{} is not a self-signed CA certificate", parsed.subject())));
        }
        let subject = parsed.subject().iter_common_name().next().and_then(|n| n.as_str().ok());
        let subject = subject.map_or_else(|| parsed.subject().to_string(), str::to_owned);
        Ok(Root { fingerprint: Fingerprint::of(&der), subject, der })
    }

    pub fn pem(&self) -> String {
        pem::encode(pem::CERTIFICATE, &self.der)
    }

    /// The name that it has in stores: ours by its beginning, one root by its end.
    pub fn label(&self) -> String {
        let hex = self.fingerprint.to_string();
        format!("chancery-{}", hex.get(..8).unwrap_or(&hex))
    }

    /// Whether a PEM text holds it.
    pub fn is_in(&self, text: &str) -> bool {
        pem::decode_all(text).is_ok_and(|blocks| blocks.iter().any(|b| b.der == self.der))
    }
}

/// Every root of the bundle that the server's own certificate belongs to, the one of the fingerprint first. What a
/// fingerprint was given for is compared; the others come from that server, over TLS under the compared root.
pub async fn find(context: &Context, fingerprint: Option<&str>) -> Result<Vec<Root>> {
    let Target { url, root, .. } = context.target()?;
    let expected = fingerprint.map(Fingerprint::parse).transpose()?;
    match (url, root) {
        (url, Some(file)) => {
            let found = matching(from_file(&file)?, expected)?;
            match (url, found.as_slice()) {
                (Some(url), [one]) => with_bundle(url.trim_end_matches('/'), one.clone(), Vec::new()).await,
                _ => Ok(found),
            }
        }
        (Some(url), None) => {
            let expected = expected.ok_or_else(|| {
                Error::malformed(format!(
                    "a root is only trusted when it is known: give --fingerprint F beside --url {url}, or --root FILE"
                ))
            })?;
            let url = url.trim_end_matches('/');
            with_bundle(url, Root::new(anchor::pinned_root(url, expected).await?)?, Vec::new()).await
        }
        (None, None) => {
            let mut all = of_this_host(context).await?;
            if let Some(expected) = expected {
                matching(all.clone(), Some(expected))?;
                all.sort_by_key(|root| root.fingerprint != expected);
            }
            Ok(all)
        }
    }
}

/// The root that has the fingerprint, alone; all of them where none was given.
fn matching(found: Vec<Root>, expected: Option<Fingerprint>) -> Result<Vec<Root>> {
    let Some(expected) = expected else { return Ok(found) };
    let prints: Vec<_> = found.iter().map(|root| root.fingerprint.to_string()).collect();
    let same: Vec<Root> = found.into_iter().filter(|root| root.fingerprint == expected).collect();
    if !same.is_empty() {
        return Ok(same);
    }
    let fix = "do not trust this root; ask whoever runs the server for it again";
    let (value, allowed) = (prints.join(", "), format!("the fingerprint given, {expected}"));
    let wrong = format!("the root has the fingerprint {value}, and {expected} was given");
    Err(Error::refused(ErrorKind::Refused, "trust.fingerprint", value, allowed, fix).explained(wrong))
}

/// With what else the server has in its bundle. A server that cannot be reached under this root, because it moves to its next
/// one at this moment, leaves it at what was `known` before.
pub(in crate::cli) async fn with_bundle(url: &str, root: Root, known: Vec<Root>) -> Result<Vec<Root>> {
    let path = format!("/bundles/{OWN_DOMAIN}.pem");
    let answer = anchor::read(url, &root.der, &path).await.ok().filter(|answer| answer.status == 200);
    let text = answer.and_then(|answer| String::from_utf8(answer.body).ok());
    let others = match text.and_then(|text| pem::decode_all(&text).ok()).filter(|blocks| !blocks.is_empty()) {
        Some(blocks) => blocks.into_iter().map(|block| Root::new(block.der)).collect::<Result<Vec<_>>>()?,
        None => known,
    };
    let others = others.into_iter().filter(|other| other.der != root.der).collect::<Vec<_>>();
    Ok(std::iter::once(root).chain(others).collect())
}

pub(in crate::cli) fn from_file(path: &Path) -> Result<Vec<Root>> {
    let bytes = std::fs::read(path)
        .map_err(|e| Error::malformed(format!("cannot read the root from {}: {e}", path.display())))?;
    let certificates: Vec<_> = match input::read(&bytes)? {
        Input::Der(der) => vec![der],
        Input::Blocks(blocks) => {
            blocks.into_iter().filter(|b| b.label == pem::CERTIFICATE).map(|block| block.der).collect()
        }
    };
    match certificates.is_empty() {
        true => Err(Error::malformed(format!("{} holds no certificate", path.display()))),
        false => certificates.into_iter().map(Root::new).collect(),
    }
}

/// That of the server's own certificate first, then what else stands in its bundle.
async fn of_this_host(context: &Context) -> Result<Vec<Root>> {
    let app = context.local_app(&Flags::new()).await?;
    let own = app.authority.own_root();
    let own = own.ok_or_else(|| Error::inconsistent("this installation has no root for tls"))?;
    let snapshot = app.authority.snapshot();
    let others = snapshot.roots(OWN_DOMAIN).into_iter().filter(|der| *der != own.as_slice()).map(<[u8]>::to_vec);
    std::iter::once(own.clone()).chain(others).map(Root::new).collect()
}
