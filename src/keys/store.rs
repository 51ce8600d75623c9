//! `Keys`: the key store over sealed rows. Three seals, each optional: root (commands only), unlock (issuers and
//! internal secrets) and status (OCSP responders, so that status goes on while the server is locked).

use std::sync::Arc;

use zeroize::Zeroizing;

use super::seal::{KeyMaterial, OpenError, Seal, refusal};
use super::software::{self, SoftwareSigner};
use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind, Result};
use crate::model::id::KeyId;
use crate::model::key::KeyAlgorithm;
use crate::pki::signer::{KeyPurpose, KeyStore, SealedKey, Signer};

/// What is sealed at init to recognise a wrong unlock key.
const CHECK: &[u8] = b"this database belongs to this unlock key";
const CHECK_LABEL: &str = "key-check";
const STATUS_LABEL: &str = "status-key";

/// Makes and opens keys under the seals that are loaded. Cheap to share in an `Arc`.
#[derive(Debug)]
pub struct Keys {
    entropy: Arc<dyn Entropy>,
    root: Option<Seal>,
    unlock: Option<Seal>,
    status: Option<Seal>,
}

impl Keys {
    /// Without any seal: nothing opens.
    pub fn locked(entropy: Arc<dyn Entropy>) -> Self {
        Keys { entropy, root: None, unlock: None, status: None }
    }

    pub fn with_root(mut self, material: &KeyMaterial) -> Result<Self> {
        self.root = Some(Seal::new(material)?);
        Ok(self)
    }

    pub fn with_unlock(mut self, material: &KeyMaterial) -> Result<Self> {
        self.unlock = Some(Seal::new(material)?);
        Ok(self)
    }

    pub fn with_status(mut self, material: &KeyMaterial) -> Result<Self> {
        self.status = Some(Seal::new(material)?);
        Ok(self)
    }

    /// What init stores in the database.
    pub fn key_check(&self) -> Result<Vec<u8>> {
        self.unlocked()?.seal(self.entropy.as_ref(), CHECK_LABEL, b"", CHECK)
    }

    /// Is the unlock key that of this database? `stored` is what `key_check` gave at init.
    pub fn verify_key_check(&self, stored: &[u8]) -> Result<()> {
        match self.unlocked()?.open(CHECK_LABEL, b"", stored) {
            Ok(text) if *text == CHECK => Ok(()),
            Err(OpenError::OtherKey { sealed_with, loaded }) => Err(Error::new(
                ErrorKind::Locked,
                format!(
                    "the unlock key {loaded} is not the one of this database, which is {sealed_with}: name the right file with --unlock-key, or another database"
                ),
            )),
            Err(other) => Err(refusal("the check value of the unlock key", "unlock", other)),
            Ok(_) => Err(refusal("the check value of the unlock key", "unlock", OpenError::Tampered)),
        }
    }

    /// A new key of the status seal, and the same wrapped for the database.
    pub fn new_status_key(&self) -> Result<(KeyMaterial, Vec<u8>)> {
        let material = KeyMaterial::generate(self.entropy.as_ref())?;
        let wrapped = self.unlocked()?.seal(self.entropy.as_ref(), STATUS_LABEL, b"", material.bytes())?;
        Ok((material, wrapped))
    }

    /// The key of the status seal from the database, for `with_status` and the copy in `status.key`.
    pub fn open_status_key(&self, wrapped: &[u8]) -> Result<KeyMaterial> {
        let what = "the status key in the database";
        let bytes = self.unlocked()?.open(STATUS_LABEL, b"", wrapped).map_err(|e| refusal(what, "unlock", e))?;
        KeyMaterial::from_bytes(&bytes).ok_or_else(|| refusal(what, "unlock", OpenError::Format))
    }

    /// Seals a secret that the server must read back (EAB keys, …). `label` says what it is, `id` whose.
    pub fn seal_bytes(&self, label: &str, id: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
        self.unlocked()?.seal(self.entropy.as_ref(), &internal_label(label), id, plaintext)
    }

    pub fn open_bytes(&self, label: &str, id: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let opened = self.unlocked()?.open(&internal_label(label), id, sealed);
        opened.map_err(|e| refusal(&format!("a sealed value of kind {label}"), "unlock", e))
    }

    fn unlocked(&self) -> Result<&Seal> {
        self.seal_of(KeyPurpose::Internal)
    }

    fn slot(&self, purpose: KeyPurpose) -> (Option<&Seal>, &'static str) {
        match purpose {
            KeyPurpose::Root => (self.root.as_ref(), "root"),
            KeyPurpose::Issuer | KeyPurpose::Internal => (self.unlock.as_ref(), "unlock"),
            KeyPurpose::Responder => (self.status.as_ref(), "status"),
        }
    }

    fn seal_of(&self, purpose: KeyPurpose) -> Result<&Seal> {
        let (seal, _) = self.slot(purpose);
        seal.ok_or_else(|| Error::new(ErrorKind::Locked, locked(purpose)))
    }
}

impl KeyStore for Keys {
    fn generate(&self, id: KeyId, algorithm: KeyAlgorithm, purpose: KeyPurpose) -> Result<SealedKey> {
        // first the seal: nothing is made that cannot be kept
        let seal = self.seal_of(purpose)?;
        let pair = software::generate(algorithm)?;
        let sealed = seal.seal(self.entropy.as_ref(), key_label(purpose), &id.bytes(), &pair.pkcs8)?;
        Ok(SealedKey { id, purpose, algorithm, public_key: pair.public_key, sealed })
    }

    fn open(&self, key: &SealedKey) -> Result<Arc<dyn Signer>> {
        let (_, name) = self.slot(key.purpose);
        let opened = self.seal_of(key.purpose)?.open(key_label(key.purpose), &key.id.bytes(), &key.sealed);
        let pkcs8 = opened.map_err(|e| refusal(&format!("{} key {}", key.purpose.name(), key.id), name, e))?;
        let signer = SoftwareSigner::from_pkcs8(key.algorithm, &pkcs8)?;
        if signer.public_key() != key.public_key {
            return Err(Error::inconsistent(format!(
                "the public key in the row of {} is not that of its private key; restore the row from a backup and run `chancery fsck`",
                key.id
            )));
        }
        Ok(Arc::new(signer))
    }

    fn import(&self, id: KeyId, purpose: KeyPurpose, pkcs8: &[u8]) -> Result<SealedKey> {
        let seal = self.seal_of(purpose)?;
        let (algorithm, pair) = software::read(pkcs8)?;
        let sealed = seal.seal(self.entropy.as_ref(), key_label(purpose), &id.bytes(), &pair.pkcs8)?;
        Ok(SealedKey { id, purpose, algorithm, public_key: pair.public_key, sealed })
    }

    fn reveal(&self, key: &SealedKey) -> Result<Zeroizing<Vec<u8>>> {
        if key.purpose != KeyPurpose::Root {
            return Err(Error::new(ErrorKind::Refused, "only the key of a root leaves the database"));
        }
        let (_, name) = self.slot(key.purpose);
        let opened = self.seal_of(key.purpose)?.open(key_label(key.purpose), &key.id.bytes(), &key.sealed);
        opened.map_err(|e| refusal(&format!("root key {}", key.id), name, e))
    }

    fn can_open(&self, purpose: KeyPurpose) -> bool {
        self.slot(purpose).0.is_some()
    }

    fn seal_secret(&self, label: &str, id: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
        self.seal_bytes(label, id, plaintext)
    }

    fn open_secret(&self, label: &str, id: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        self.open_bytes(label, id, sealed)
    }

    fn seal_status(&self, label: &str, id: &[u8], plaintext: Vec<u8>) -> Result<Vec<u8>> {
        let seal = self.seal_of(KeyPurpose::Responder)?;
        seal.seal_large(self.entropy.as_ref(), &status_label(label), id, plaintext)
    }

    fn open_status(&self, label: &str, id: &[u8], sealed: Vec<u8>) -> Result<Vec<u8>> {
        let opened = self.seal_of(KeyPurpose::Responder)?.open_large(&status_label(label), id, sealed);
        opened.map_err(|e| refusal(&format!("a sealed value of kind {label}"), "status", e))
    }
}

fn key_label(purpose: KeyPurpose) -> &'static str {
    match purpose {
        KeyPurpose::Root => "key/root",
        KeyPurpose::Issuer => "key/issuer",
        KeyPurpose::Responder => "key/responder",
        KeyPurpose::Internal => "key/internal",
    }
}

/// Never one of the labels above, whatever the caller says.
fn internal_label(label: &str) -> String {
    format!("internal/{label}")
}

fn status_label(label: &str) -> String {
    format!("status/{label}")
}

fn locked(purpose: KeyPurpose) -> &'static str {
    match purpose {
        KeyPurpose::Root => {
            "this needs root.key, which a server never loads; run the `chancery ca` command on the host that has it, with --root-key FILE where it is not in the data directory"
        }
        KeyPurpose::Issuer | KeyPurpose::Internal => {
            "the unlock key is not loaded, because this process was started locked; restart it with its unlock key, without --locked (CHANCERY_LOCKED, or locked in the configuration file)"
        }
        KeyPurpose::Responder => {
            "the status key is not loaded: start once with the unlock key, which writes status.key into the data directory"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;
    use crate::pki::algorithm::verify;

    const PURPOSES: [KeyPurpose; 4] =
        [KeyPurpose::Root, KeyPurpose::Issuer, KeyPurpose::Responder, KeyPurpose::Internal];

    fn material() -> KeyMaterial {
        KeyMaterial::generate(&SystemEntropy::new()).unwrap()
    }

    fn locked_keys() -> Keys {
        Keys::locked(Arc::new(SystemEntropy::new()))
    }

    fn all() -> Keys {
        let keys = locked_keys().with_root(&material()).unwrap().with_unlock(&material()).unwrap();
        keys.with_status(&material()).unwrap()
    }

    fn id(n: u8) -> KeyId {
        KeyId::from_bytes([n; 16])
    }

    #[tokio::test]
    async fn a_sealed_key_opens_and_signs() {
        let keys = all();
        for purpose in PURPOSES {
            let sealed = keys.generate(id(1), KeyAlgorithm::P256, purpose).unwrap();
            let signer = keys.open(&sealed).unwrap();
            let signature = signer.sign(b"tbs").await.unwrap();
            verify(&sealed.public_key, b"tbs", &signature).unwrap();
        }
    }

    #[test]
    fn each_changed_byte_of_a_row_is_refused() {
        let keys = all();
        let good = keys.generate(id(1), KeyAlgorithm::P256, KeyPurpose::Issuer).unwrap();
        for at in 0..good.sealed.len() {
            let mut bad = good.clone();
            bad.sealed[at] ^= 0x01;
            assert!(keys.open(&bad).is_err(), "byte {at}");
        }
        for at in 0..good.public_key.len() {
            let mut bad = good.clone();
            bad.public_key[at] ^= 0x80;
            assert_eq!(keys.open(&bad).unwrap_err().kind, ErrorKind::Inconsistent);
        }
    }

    #[test]
    fn rows_swapped_between_ids_or_purposes_do_not_open() {
        let keys = all();
        let one = keys.generate(id(1), KeyAlgorithm::P256, KeyPurpose::Issuer).unwrap();
        let two = keys.generate(id(2), KeyAlgorithm::P256, KeyPurpose::Issuer).unwrap();
        let swapped = SealedKey { sealed: two.sealed.clone(), public_key: two.public_key, ..one.clone() };
        assert_eq!(keys.open(&swapped).unwrap_err().kind, ErrorKind::Inconsistent);
        let moved = SealedKey { purpose: KeyPurpose::Internal, ..one.clone() };
        assert_eq!(keys.open(&moved).unwrap_err().kind, ErrorKind::Inconsistent);
        let recast = SealedKey { algorithm: KeyAlgorithm::P384, ..one };
        assert_eq!(keys.open(&recast).unwrap_err().kind, ErrorKind::Inconsistent);
    }

    #[test]
    fn a_wrong_unlock_key_is_one_sentence() {
        let (right, wrong) = (all(), all());
        let check = right.key_check().unwrap();
        right.verify_key_check(&check).unwrap();
        let error = wrong.verify_key_check(&check).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Locked);
        assert!(error.detail.contains("--unlock-key"), "{error}");
        let key = right.generate(id(1), KeyAlgorithm::P256, KeyPurpose::Issuer).unwrap();
        assert_eq!(wrong.open(&key).unwrap_err().kind, ErrorKind::Locked);
        for at in 0..check.len() {
            let mut bad = check.clone();
            bad[at] ^= 1;
            assert!(right.verify_key_check(&bad).is_err());
        }
    }

    #[test]
    fn a_purpose_without_its_seal_is_locked() {
        let keys = locked_keys();
        let row = all().generate(id(1), KeyAlgorithm::P256, KeyPurpose::Issuer).unwrap();
        for purpose in PURPOSES {
            assert!(!keys.can_open(purpose));
            let made = keys.generate(id(1), KeyAlgorithm::P256, purpose).unwrap_err();
            let opened = keys.open(&SealedKey { purpose, ..row.clone() }).unwrap_err();
            assert_eq!((made.kind, opened.kind), (ErrorKind::Locked, ErrorKind::Locked));
        }
        assert_eq!(keys.key_check().unwrap_err().kind, ErrorKind::Locked);
        assert_eq!(keys.seal_bytes("eab", b"1", b"x").unwrap_err().kind, ErrorKind::Locked);
    }

    #[test]
    fn a_locked_server_with_the_status_key_opens_responders_only() {
        let unlock = material();
        let open = locked_keys().with_unlock(&unlock).unwrap();
        let (status, wrapped) = open.new_status_key().unwrap();
        assert_eq!(open.open_status_key(&wrapped).unwrap().bytes(), status.bytes());
        let open = open.with_status(&status).unwrap();
        let responder = open.generate(id(1), KeyAlgorithm::P256, KeyPurpose::Responder).unwrap();
        let issuer = open.generate(id(2), KeyAlgorithm::P256, KeyPurpose::Issuer).unwrap();
        let locked = locked_keys().with_status(&status).unwrap();
        assert!(locked.can_open(KeyPurpose::Responder) && !locked.can_open(KeyPurpose::Issuer));
        locked.open(&responder).unwrap();
        assert_eq!(locked.open(&issuer).unwrap_err().kind, ErrorKind::Locked);
        assert!(all().open_status_key(&wrapped).is_err());
    }

    #[test]
    fn what_lies_under_the_status_seal_opens_while_locked_and_only_there() {
        let (status, keys) = (material(), locked_keys());
        let open = locked_keys().with_unlock(&material()).unwrap().with_status(&status).unwrap();
        let sealed = open.seal_status("crl", b"one", b"a list".to_vec()).unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"a list"));
        let locked = locked_keys().with_status(&status).unwrap();
        assert_eq!(locked.open_status("crl", b"one", sealed.clone()).unwrap(), b"a list");
        assert!(locked.open_status("crl", b"two", sealed.clone()).is_err());
        assert!(locked.open_status("other", b"one", sealed.clone()).is_err());
        assert_eq!(keys.open_status("crl", b"one", sealed.clone()).unwrap_err().kind, ErrorKind::Locked);
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(locked.open_status("crl", b"one", bad).is_err(), "byte {at}");
            assert!(locked.open_status("crl", b"one", sealed[..at].to_vec()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn internal_secrets_are_bound_to_label_and_id() {
        let keys = all();
        let sealed = keys.seal_bytes("eab", b"one", b"hmac key").unwrap();
        assert_eq!(**keys.open_bytes("eab", b"one", &sealed).unwrap(), *b"hmac key");
        assert!(keys.open_bytes("eab", b"two", &sealed).is_err());
        assert!(keys.open_bytes("checkpoint", b"one", &sealed).is_err());
        // a key row cannot be read as an internal secret
        let key = keys.generate(id(1), KeyAlgorithm::P256, KeyPurpose::Internal).unwrap();
        assert!(keys.open_bytes("key/internal", &id(1).bytes(), &key.sealed).is_err());
    }
}
