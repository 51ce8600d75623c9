//! `ca root offline|online`: the private key of a root leaves the database for a file, and comes back. Under a password
//! the file is PKCS#8 that OpenSSL reads; without one it is the row as root.key seals it. The key is removed only once
//! the file was read back: a crash in between leaves it in both places.

use serde_json::json;

use super::create::no_key;
use crate::authority::Authority;
use crate::authority::snapshot::LoadedIssuer;
use crate::entropy::random;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::issuer::IssuerRole;
use crate::pki::signer::{KeyPurpose, SealedKey};
use crate::pki::{pbes2, pem, private_key};
use crate::store::hierarchy;
use crate::store::versions::{self, Topic};

const SEALED: &str = "CHANCERY SEALED ROOT KEY";

impl Authority {
    /// The file: what it is, the key, and the root's certificate.
    pub fn export_root(&self, slug: &str, password: Option<&[u8]>) -> Result<String> {
        let snapshot = self.snapshot();
        let root = root(snapshot.issuer(slug)?)?;
        if root.key.is_none() {
            return Err(no_key(root));
        }
        let key = match password {
            Some(password) => {
                let pkcs8 = self.keys.reveal(&root.sealed_key)?;
                let (salt, iv) =
                    (random::<16>(self.store.entropy.as_ref())?, random::<16>(self.store.entropy.as_ref())?);
                pem::encode("ENCRYPTED PRIVATE KEY", &pbes2::encrypt(&pkcs8, password, &salt, iv)?)
            }
            None => pem::encode(SEALED, &root.sealed_key.sealed),
        };
        let issuer = &root.issuer;
        let opens = if password.is_some() { "the password" } else { "root.key of this installation" };
        Ok(format!(
            "Root key of Chancery, opened by {opens}. Bring it back with: chancery ca root online FILE\n\
             issuer: {}\ndomain: {}\nkind: {}\n{key}{}",
            issuer.slug,
            issuer.domain,
            root.sealed_key.algorithm,
            pem::encode(pem::CERTIFICATE, &root.certificate()?.der)
        ))
    }

    /// Removes the private key of a root that `file` holds, once that file opens to the very key.
    pub async fn take_root_offline(
        &self,
        actor: &Actor,
        slug: &str,
        file: &str,
        password: Option<&[u8]>,
    ) -> Result<()> {
        let snapshot = self.snapshot();
        let root = root(snapshot.issuer(slug)?)?;
        let (of, _) = self.open_file(file, password)?;
        if of.issuer.id != root.issuer.id {
            return Err(Error::inconsistent(format!("the file that was just written is not of root {slug}")));
        }
        let mut tx = self.begin_change(actor).await?;
        if !hierarchy::set_sealed(&mut tx, root.sealed_key.id, &[], &root.sealed_key.sealed).await? {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the key of root {slug} changed meanwhile; try again"),
            ));
        }
        versions::bump(&mut tx, Topic::Hierarchy).await?;
        let detail = json!({"issuer": slug, "by_password": password.is_some()});
        tx.audit(AuditEvent::done("root.offline", format!("issuer:{}", root.issuer.id), detail));
        tx.commit().await?;
        self.reload().await
    }

    /// Brings the key in `file` back. Returns the slug of its root.
    pub async fn bring_root_online(&self, actor: &Actor, file: &str, password: Option<&[u8]>) -> Result<String> {
        let (root, sealed) = self.open_file(file, password)?;
        let slug = root.issuer.slug.clone();
        if !root.sealed_key.is_offline() {
            return Err(Error::refused(
                ErrorKind::Conflict,
                "root.offline",
                format!("root {slug}, whose key is in the database"),
                "a root that was taken offline",
                "nothing needs to be done",
            )
            .explained(format!("root {slug} is not offline: its key is in the database")));
        }
        let mut tx = self.begin_change(actor).await?;
        if !hierarchy::set_sealed(&mut tx, sealed.id, &sealed.sealed, &[]).await? {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the key of root {slug} changed meanwhile; try again"),
            ));
        }
        versions::bump(&mut tx, Topic::Hierarchy).await?;
        tx.audit(AuditEvent::done("root.online", format!("issuer:{}", root.issuer.id), json!({"issuer": slug})));
        tx.commit().await?;
        self.reload().await?;
        Ok(slug)
    }

    /// The root whose key a file holds, and the key sealed for its row.
    fn open_file(&self, file: &str, password: Option<&[u8]>) -> Result<(std::sync::Arc<LoadedIssuer>, SealedKey)> {
        let snapshot = self.snapshot();
        let roots = || snapshot.issuers.values().filter(|i| i.issuer.role == IssuerRole::Root);
        let blocks = pem::decode_all(file)?;
        if let Some(block) = blocks.iter().find(|block| block.label == SEALED) {
            for root in roots() {
                let key = SealedKey { sealed: block.der.clone(), ..root.sealed_key.clone() };
                if self.keys.open(&key).is_ok() {
                    return Ok((root.clone(), key));
                }
            }
            self.need(KeyPurpose::Root, "opening the file of an offline root")?;
            let detail = "the file is not of a root of this installation, or root.key is not the one that sealed it";
            return Err(Error::refused(
                ErrorKind::Unprocessable,
                "root.key",
                detail,
                "the file and the root.key of one installation",
                "name the right root.key with --root-key",
            )
            .explained(detail));
        }
        let pkcs8 = private_key::read(file.as_bytes(), password)?;
        for root in roots() {
            let key = self.keys.import(root.sealed_key.id, root.sealed_key.purpose, &pkcs8)?;
            if key.public_key == root.sealed_key.public_key {
                return Ok((root.clone(), key));
            }
        }
        let value = "a private key that is of no root here";
        Err(Error::refused(
            ErrorKind::Unprocessable,
            "root.key",
            value,
            "the key of a root of this installation",
            "a CA of others is taken by `chancery ca import`",
        )
        .explained("the private key belongs to no root of this installation"))
    }
}

fn root(issuer: &std::sync::Arc<LoadedIssuer>) -> Result<&std::sync::Arc<LoadedIssuer>> {
    if issuer.issuer.role == IssuerRole::Root {
        return Ok(issuer);
    }
    Err(Error::refused(
        ErrorKind::Unprocessable,
        "root.role",
        format!("issuer {}, which is no root", issuer.issuer.slug),
        "a root: an issuer signs every day",
        "name a root of `chancery ca list`",
    )
    .explained(format!(
        "issuer {} is not a root, and only the key of a root can be taken offline: an issuer signs every day",
        issuer.issuer.slug
    )))
}
