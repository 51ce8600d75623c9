//! The root that is to be trusted: from a file, from a server by fingerprint, from a context, or from the
//! installation of this host.

use std::path::Path;

use crate::cli::session::{Context, Target};
use crate::client::anchor::{self, Fingerprint};
use crate::error::{Error, ErrorKind, Result};
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
            return Err(Error::refused(ErrorKind::Refused, "trust.root", parsed.subject(), allowed, fix));
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

pub async fn find(context: &Context, fingerprint: Option<&str>) -> Result<Root> {
    let Target { url, root, .. } = context.target()?;
    let expected = fingerprint.map(Fingerprint::parse).transpose()?;
    let found = match (url, root) {
        (_, Some(file)) => from_file(&file)?,
        (Some(url), None) => {
            let expected = expected.ok_or_else(|| {
                Error::malformed(format!(
                    "a root is only trusted when it is known: give --fingerprint F beside --url {url}, or --root FILE"
                ))
            })?;
            Root::new(anchor::pinned_root(url.trim_end_matches('/'), expected).await?)?
        }
        (None, None) => of_this_host(context).await?,
    };
    match expected {
        Some(expected) if expected != found.fingerprint => Err(Error::refused(
            ErrorKind::Refused,
            "trust.fingerprint",
            found.fingerprint,
            format!("the fingerprint given, {expected}"),
            "do not trust this root; ask whoever runs the server for it again",
        )),
        _ => Ok(found),
    }
}

fn from_file(path: &Path) -> Result<Root> {
    let bytes = std::fs::read(path)
        .map_err(|e| Error::malformed(format!("cannot read the root from {}: {e}", path.display())))?;
    let blocks = std::str::from_utf8(&bytes).ok().and_then(|text| pem::decode_all(text).ok()).unwrap_or_default();
    let mut certificates = blocks.into_iter().filter(|b| b.label == pem::CERTIFICATE);
    match (certificates.next(), certificates.next()) {
        (None, _) => Root::new(bytes),
        (Some(one), None) => Root::new(one.der),
        (Some(_), Some(_)) => Err(Error::malformed(format!(
            "{} holds several certificates; trust is given to one root at a time",
            path.display()
        ))),
    }
}

async fn of_this_host(context: &Context) -> Result<Root> {
    let app = context.local_app(&Flags::new()).await?;
    let der = app.authority.own_root();
    Root::new(der.ok_or_else(|| Error::inconsistent("this installation has no root for tls"))?)
}
