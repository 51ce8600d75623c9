//! Issuers, profiles and responders, read once and immutable; swapped whole when a version row moves.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::{chain, ended_rows, revoked_cas};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::id::IssuerId;
use crate::model::issuer::{
    Anchor, Domain, Issuer, IssuerCertificate, IssuerRole, IssuerState, OcspSigner, Responder,
};
use crate::model::status_lifetimes::StatusLifetimes;
use crate::pki::ca_certificate::CaCertificate;
use crate::pki::issuer::IssuerKey;
use crate::pki::key_policy;
use crate::pki::ocsp_request::IssuerHashes;
use crate::pki::ocsp_response::OcspResponder;
use crate::pki::path::IssuingPath;
use crate::pki::profile::{Profile, ProfileConfig};
use crate::pki::signer::{KeyStore, SealedKey};
use crate::pki::tbs::{TbsView, key_identifier, split_certificate};
use crate::store::bad_rows::BadRow;
use crate::store::hierarchy::Checked;
use crate::store::versions::{self, Versions};
use crate::store::{Store, hierarchy, ocsp_signers, profiles, status_lifetimes};

#[derive(Debug, Default)]
pub struct Snapshot {
    pub versions: Versions,
    pub domains: Vec<Domain>,
    /// CA certificates of others above our issuers.
    pub anchors: Vec<Anchor>,
    /// By slug.
    pub issuers: BTreeMap<String, Arc<LoadedIssuer>>,
    /// By slug.
    pub profiles: BTreeMap<String, Arc<LoadedProfile>>,
    /// Profiles whose row was changed in the database: the sentence by which each is refused.
    refused_profiles: BTreeMap<String, String>,
    /// Rows that cannot be used, and so are not among the above.
    pub bad_rows: Vec<BadRow>,
    /// SHA-256 of the public key of every key that this installation holds: CAs, OCSP responders, audit.
    own_keys: HashSet<[u8; 32]>,
}

/// An issuer with its certificates that are not revoked, the one first that new ones chain to, and its key when the
/// seal is loaded.
#[derive(Debug)]
pub struct LoadedIssuer {
    pub issuer: Issuer,
    /// Those that are not revoked; when all are revoked, all of them, so that the issuer goes on publishing.
    pub certificates: Vec<IssuerCertificate>,
    /// Its certificate with every CA above it: what they permit together.
    pub path: IssuingPath,
    pub ocsp_signer: OcspSigner,
    pub lifetimes: StatusLifetimes,
    /// Since when every certificate of this issuer is revoked. `issuer.state` is then `revoked`, whoever revoked them.
    pub revoked_at: Option<Timestamp>,
    /// The CA elsewhere that revoked them; it may take that back.
    pub revoked_by: Option<String>,
    /// That CA put at least one of them on hold: the issuer comes back when it takes that back.
    pub on_hold: bool,
    /// The state of its row, which a revocation by a CA elsewhere leaves as it is.
    pub stored_state: IssuerState,
    /// What goes with its leaves in DER: its own certificate first, the intermediates above it, no root.
    pub chain: Vec<Vec<u8>>,
    /// Every way up, its own first; cross-certificates are only alternates.
    pub chains: Vec<chain::Chain>,
    /// Its name in DER.
    subject: Vec<u8>,
    /// What authorityKeyIdentifier says below it from now on.
    pub key_id: Vec<u8>,
    /// What it said: that one, and more where others certified the issuer with another.
    key_ids: Vec<Vec<u8>>,
    pub sealed_key: SealedKey,
    /// SubjectPublicKeyInfo of its certificate. The one in the row of the key bears no MAC.
    public_key: Vec<u8>,
    /// None while the key's seal is not loaded (a root in `serve`, everything when locked).
    pub key: Option<Arc<IssuerKey>>,
    /// Who signs OCSP answers: the delegate that expires last, when the status seal is loaded; or the issuer's own key.
    pub responder: Option<LoadedResponder>,
    /// Under which OCSP clients know the issuer.
    pub hashes: IssuerHashes,
    /// Why it signs nothing: its key cannot be used. Or its row or its certificate was changed in the database, and it is in no bundle.
    pub refused: Option<String>,
}

#[derive(Debug)]
pub struct LoadedResponder {
    pub responder: OcspResponder,
    /// It is the issuer's own key, no delegate.
    pub is_issuer: bool,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

#[derive(Debug)]
pub struct LoadedProfile {
    pub profile: Profile,
    pub config: ProfileConfig,
    pub revision: i64,
    pub updated_at: Timestamp,
}

impl LoadedIssuer {
    /// Its name in DER.
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// The key by which its signatures are verified.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// The key identifiers of every certificate that it ever had.
    pub(super) fn key_ids(&self) -> impl Iterator<Item = &[u8]> {
        self.key_ids.iter().map(Vec::as_slice)
    }

    pub(super) fn has_other_key_ids(&self) -> bool {
        self.other_key_ids().next().is_some()
    }

    /// Does this stand as the authority key identifier in certificates that it signed?
    pub fn is_named_by(&self, key_id: &[u8]) -> bool {
        self.key_ids.iter().any(|own| own == key_id)
    }

    /// May its key sign CRLs? Some roots of others may not.
    pub fn signs_crls(&self) -> bool {
        self.path.cas().first().is_none_or(|own| own.signs_crls)
    }

    /// The certificate that new ones chain to.
    pub fn certificate(&self) -> Result<&IssuerCertificate> {
        let missing = || Error::inconsistent(format!("issuer {} has no certificate", self.issuer.slug));
        self.certificates.first().ok_or_else(missing)
    }
}

impl Snapshot {
    pub(super) async fn load(store: &Store, keys: &dyn KeyStore) -> Result<Snapshot> {
        // the versions are read first: a change in between is read again by the next refresh
        let versions = versions::read(store).await?;
        let (sealed, mut bad_rows) = hierarchy::all_keys(store).await?;
        let sealed: BTreeMap<_, _> = sealed.into_iter().map(|k| (k.id.bytes(), k)).collect();
        let own_keys = sealed.values().map(|key| key_policy::sha256(&key.public_key)).collect();
        let checked = hierarchy::checked_certificates(store).await?;
        let responders = hierarchy::responders(store, store.now()).await?;
        let mut anchors = hierarchy::checked_anchors(store).await?;
        let (mut all, bad_issuers) = hierarchy::checked_issuers(store).await?;
        bad_rows.extend(bad_issuers);
        ended_rows::refuse_ended(store, &mut all, &checked, &mut anchors).await?;
        let anchors = anchors.into_iter().filter(|(_, refused)| refused.is_none());
        let anchors: Vec<Anchor> = anchors.map(|(anchor, _)| anchor).collect();
        let (all, refused) = without_changed(all, &checked);
        let certificates = usable(checked);
        let revoked = revoked_cas::read(store, &all, &certificates, &anchors).await?;
        let self_signing = ocsp_signers::issuers(store).await?;
        let lifetimes = status_lifetimes::all(store).await?;
        let live: Vec<_> = certificates.iter().filter(|c| !revoked.contains_key(&c.id)).cloned().collect();
        let above = chain::Above::read(&all, &live, &anchors, store.now());
        let mut issuers = BTreeMap::new();
        for mut issuer in all {
            let id = issuer.id;
            let Some(sealed_key) = sealed.get(&issuer.key_id.bytes()).cloned() else {
                let missing = Error::inconsistent(format!("its key {} is missing or cannot be read", issuer.key_id));
                bad_rows.push(BadRow::new("issuers", &issuer.slug, &missing));
                continue;
            };
            let of = |from: &[IssuerCertificate]| -> Vec<_> {
                from.iter().filter(|c| c.issuer_id == issuer.id).cloned().collect()
            };
            let mut own = of(&live);
            let stored_state = issuer.state;
            let (mut revocation, mut on_hold) = (None, false);
            // a cross-certificate that is not revoked gives a revoked key nothing back
            if own.is_empty() || issuer.state == IssuerState::Revoked {
                let every = of(&certificates);
                revocation = every.iter().filter_map(|c| revoked.get(&c.id)).max().cloned();
                on_hold = stored_state != IssuerState::Revoked
                    && every.iter().filter_map(|c| revoked.get(&c.id)).any(|found| found.on_hold);
                if own.is_empty() {
                    own = every;
                }
            }
            if revocation.is_some() {
                issuer.state = IssuerState::Revoked;
            }
            let refused = refused.get(&issuer.id).cloned();
            let chains = above.chains(&issuer.domain, &own);
            let path = match chains.first() {
                Some(usual) => {
                    chain::own_first(&mut own, usual);
                    usual.path().clone()
                }
                None => IssuingPath::default(),
            };
            let opened = match own.first() {
                Some(_) if keys.can_open(sealed_key.purpose) && !sealed_key.is_offline() => {
                    let opened = keys.open(&sealed_key).and_then(|key| IssuerKey::new(&issuer, path.clone(), key));
                    opened.map(|key| Some(Arc::new(key)))
                }
                _ => Ok(None),
            };
            let (key, refused) = match opened {
                Ok(key) => (key, refused),
                Err(error) => {
                    let bad = BadRow::new("keys", issuer.key_id.to_string(), &error);
                    let refused = bad.to_string();
                    bad_rows.push(bad);
                    (None, Some(refused))
                }
            };
            let responder = match responders.iter().find(|r| r.issuer_id == issuer.id) {
                _ if self_signing.contains(&id) => key.as_deref().map(own_responder).transpose()?,
                Some(newest) => match load_responder(newest, sealed.get(&newest.key_id.bytes()), keys) {
                    Ok(responder) => responder,
                    Err(error) => {
                        bad_rows.push(BadRow::new("keys", newest.key_id.to_string(), &error));
                        None
                    }
                },
                None => None,
            };
            let (hashes, subject, public_key) = match named(&issuer, own.first()) {
                Ok(named) => named,
                Err(error) => {
                    bad_rows.push(BadRow::new("issuers", &issuer.slug, &error));
                    continue;
                }
            };
            let (chain, chains) = match issuer.role {
                IssuerRole::Root => (Vec::new(), Vec::new()),
                IssuerRole::Issuing => (chains.first().map(|usual| usual.ders.clone()).unwrap_or_default(), chains),
            };
            let key_id = key_ids(own.get(..1).unwrap_or_default()).pop().unwrap_or_default();
            // revoked ones too: what was issued under them stays known by its identifier
            let key_ids = key_ids(&of(&certificates));
            let loaded = LoadedIssuer {
                certificates: own,
                path,
                ocsp_signer: if self_signing.contains(&id) { OcspSigner::Issuer } else { OcspSigner::Delegate },
                lifetimes: lifetimes.get(&id).copied().unwrap_or_default(),
                revoked_at: revocation.as_ref().map(|revocation| revocation.at),
                revoked_by: revocation.and_then(|revocation| revocation.by),
                on_hold,
                stored_state,
                chain,
                chains,
                subject,
                key_id,
                key_ids,
                sealed_key,
                public_key,
                key,
                issuer,
                responder,
                hashes,
                refused,
            };
            issuers.insert(loaded.issuer.slug.clone(), Arc::new(loaded));
        }
        let mut loaded_profiles = BTreeMap::new();
        let mut refused_profiles = BTreeMap::new();
        let (stored, bad_profiles) = profiles::all(store).await?;
        bad_rows.extend(bad_profiles);
        for row in stored {
            if let Some(refused) = row.refused {
                refused_profiles.insert(row.slug, refused);
                continue;
            }
            match load_profile(&row.config, row.revision, row.updated_at) {
                Ok(loaded) => drop(loaded_profiles.insert(row.slug, Arc::new(loaded))),
                Err(error) => bad_rows.push(BadRow::new("profiles", row.slug, &error)),
            }
        }
        let domains = hierarchy::domains(store).await?;
        Ok(Snapshot {
            versions,
            domains,
            anchors,
            issuers,
            profiles: loaded_profiles,
            refused_profiles,
            bad_rows,
            own_keys,
        })
    }

    /// A certificate for a key of the CA itself would let the holder's name stand for the CA.
    pub fn check_own_key(&self, spki_sha256: &[u8; 32], kind: ErrorKind) -> Result<()> {
        if !self.own_keys.contains(spki_sha256) {
            return Ok(());
        }
        let value = "a public key that this CA holds itself (an issuer's, an OCSP responder's or the audit's)";
        Err(Error::refused(kind, "key.own", value, "a key of the certificate's own", "make a new key").explained("the request has a public key that this CA holds itself (an issuer's, an OCSP responder's or the audit's)"))
    }

    /// An object whose row cannot be used, in the sentence by which it is refused.
    fn check_row(&self, table: &str, slug: &str) -> Result<()> {
        match self.bad_rows.iter().find(|bad| bad.table == table && bad.row == slug) {
            Some(bad) => Err(Error::inconsistent(bad.to_string())),
            None => Ok(()),
        }
    }

    pub fn profile(&self, slug: &str) -> Result<&Arc<LoadedProfile>> {
        if let Some(refused) = self.refused_profiles.get(slug) {
            return Err(Error::new(ErrorKind::Forbidden, refused.clone()));
        }
        self.check_row("profiles", slug)?;
        self.profiles.get(slug).ok_or_else(|| {
            let known: Vec<_> = self.profiles.keys().map(String::as_str).collect();
            let (value, known) = (format!("profile \"{}\"", crate::model::identifier::shown(slug)), known.join(", "));
            let sentence = format!("{value} does not exist; name one of {known}");
            let fix = "name a profile that exists";
            Error::refused(ErrorKind::InvalidProfile, "profile.exists", value, known, fix).saying(sentence)
        })
    }

    pub fn issuer(&self, slug: &str) -> Result<&Arc<LoadedIssuer>> {
        self.check_row("issuers", slug)?;
        let known = || self.issuers.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let missing = || {
            Error::not_found(format!("issuer \"{}\"; name one of {}", crate::model::identifier::shown(slug), known()))
        };
        self.issuers.get(slug).ok_or_else(missing)
    }

    pub fn issuer_by_id(&self, id: IssuerId) -> Option<&Arc<LoadedIssuer>> {
        self.issuers.values().find(|i| i.issuer.id == id)
    }

    /// The roots of a domain in DER: its own that are trusted, then those of others above its issuers.
    pub fn roots(&self, domain: &str) -> Vec<&[u8]> {
        let is_root = |i: &&Arc<LoadedIssuer>| i.issuer.domain == domain && i.issuer.role == IssuerRole::Root;
        let roots = self.issuers.values().filter(is_root).filter(|i| i.issuer.state.is_trusted());
        let own = roots.flat_map(|i| i.certificates.iter().map(|c| c.der.as_slice()));
        let others = self.anchors.iter().filter(|a| a.domain == domain && a.standing.is_trusted());
        own.chain(others.map(|a| a.der.as_slice())).filter(|der| chain::is_self_issued(der)).collect()
    }

    /// The certificates above an issuer's leaf, without the root: the issuer's own first.
    pub fn chain(&self, issuer: IssuerId) -> Vec<&[u8]> {
        self.issuer_by_id(issuer).map(|i| i.chain.iter().map(Vec::as_slice).collect()).unwrap_or_default()
    }

    /// Every CA certificate of a domain: of its issuers and of others above them.
    pub fn ca_certificates(&self, domain: &str) -> Vec<&[u8]> {
        let issuers = self.issuers.values().filter(|i| i.issuer.domain == domain);
        let own = issuers.flat_map(|i| i.certificates.iter().map(|c| c.der.as_slice()));
        own.chain(self.anchors.iter().filter(|a| a.domain == domain).map(|a| a.der.as_slice())).collect()
    }
}

fn load_profile(text: &str, revision: i64, updated_at: Timestamp) -> Result<LoadedProfile> {
    let config: ProfileConfig =
        serde_json::from_str(text).map_err(|e| Error::inconsistent("it is not its JSON").because(e))?;
    let profile = Profile::new(config.clone())?;
    Ok(LoadedProfile { profile, config, revision, updated_at })
}

/// Issuers with the sentence by which each is refused. One whose row or only certificates were changed in the database is in
/// no bundle and signs nothing; its CRLs go on.
fn without_changed(
    issuers: Checked<Issuer>,
    certificates: &Checked<IssuerCertificate>,
) -> (Vec<Issuer>, BTreeMap<IssuerId, String>) {
    let (mut all, mut refused) = (Vec::new(), BTreeMap::new());
    for (mut issuer, changed) in issuers {
        let own = || certificates.iter().filter(|(certificate, _)| certificate.issuer_id == issuer.id);
        let all_changed = own().all(|(_, refused)| refused.is_some());
        let changed = changed.or_else(|| own().find_map(|(_, refused)| refused.clone()).filter(|_| all_changed));
        if let Some(changed) = changed {
            issuer.state =
                if issuer.state == IssuerState::Revoked { IssuerState::Revoked } else { IssuerState::Removed };
            refused.insert(issuer.id, changed);
        }
        all.push(issuer);
    }
    (all, refused)
}

/// Certificates that are as this CA wrote them; of an issuer that has no other, all.
fn usable(certificates: Checked<IssuerCertificate>) -> Vec<IssuerCertificate> {
    let good: HashSet<_> =
        certificates.iter().filter(|(_, refused)| refused.is_none()).map(|(c, _)| c.issuer_id.bytes()).collect();
    let keeps = |(c, refused): &(IssuerCertificate, Option<String>)| {
        refused.is_none() || !good.contains(&c.issuer_id.bytes())
    };
    certificates.into_iter().filter(keeps).map(|(certificate, _)| certificate).collect()
}

/// One that cannot be read names nothing; `subject` refuses an issuer without a readable certificate.
fn key_ids(certificates: &[IssuerCertificate]) -> Vec<Vec<u8>> {
    let read = certificates.iter().filter_map(|c| CaCertificate::read(&c.der).ok());
    let mut ids: Vec<_> = read.filter_map(|ca| ca.subject_key_id.or_else(|| key_identifier(&ca.spki).ok())).collect();
    ids.sort();
    ids.dedup();
    ids
}

fn load_responder(row: &Responder, key: Option<&SealedKey>, keys: &dyn KeyStore) -> Result<Option<LoadedResponder>> {
    let Some(key) = key.filter(|k| keys.can_open(k.purpose)) else { return Ok(None) };
    let responder = OcspResponder::delegated(keys.open(key)?, &row.der)
        .map_err(|e| Error::inconsistent("an OCSP responder has no readable key").because(e))?;
    Ok(Some(LoadedResponder { responder, is_issuer: false, not_before: row.not_before, not_after: row.not_after }))
}

/// An issuer that signs its OCSP answers itself.
fn own_responder(key: &IssuerKey) -> Result<LoadedResponder> {
    let responder = OcspResponder::issuer(key.signer().clone())
        .map_err(|e| Error::inconsistent("the public key of an issuer cannot be read").because(e))?;
    let validity = key.validity();
    let (not_before, not_after) = (validity.not_before(), validity.not_after());
    Ok(LoadedResponder { responder, is_issuer: true, not_before, not_after })
}

/// How OCSP clients know an issuer, its name in DER, and its key: those of its certificate.
fn named(issuer: &Issuer, certificate: Option<&IssuerCertificate>) -> Result<(IssuerHashes, Vec<u8>, Vec<u8>)> {
    let unreadable = || Error::inconsistent(format!("issuer {} has no readable certificate", issuer.slug));
    let certificate = certificate.ok_or_else(unreadable)?;
    let (tbs, ..) = split_certificate(&certificate.der).map_err(|e| unreadable().because(e))?;
    let view = TbsView::parse(tbs).map_err(|e| unreadable().because(e))?;
    let hashes = IssuerHashes::of(view.subject, view.spki).map_err(|e| unreadable().because(e))?;
    Ok((hashes, view.subject.to_vec(), view.spki.to_vec()))
}
