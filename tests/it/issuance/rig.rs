//! An authority whose entropy and signing keys fail on demand, and one issuance that holds an order and an
//! Idempotency-Key.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use chancery::authority::Authority;
use chancery::authority::guard::{Guard, IdempotencyClaim};
use chancery::authority::hierarchy::initialise;
use chancery::authority::issue::{Issuance, Issued};
use chancery::clock::days;
use chancery::entropy::Entropy;
use chancery::error::{Error, ErrorKind, Result};
use chancery::keys::software;
use chancery::keys::store::Keys;
use chancery::model::acme::{Account, AccountKey, AccountStatus, Order, OrderStatus};
use chancery::model::actor::Actor;
use chancery::model::id::{AccountId, KeyId, OrderId};
use chancery::model::identifier::Identifier;
use chancery::model::key::KeyAlgorithm;
use chancery::model::validity::RequestedValidity;
use chancery::pki::key_policy::KeyPolicy;
use chancery::pki::name::SubjectFields;
use chancery::pki::request::CertificateRequest;
use chancery::pki::signer::{KeyPurpose, KeyStore, SealedKey, SignError, Signer};
use chancery::store::{Store, accounts, orders};
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::support::stores::{At, START, all_keys, entropy};

static NUMBER: AtomicU64 = AtomicU64::new(1);

pub struct Rig {
    pub store: Store,
    pub authority: Arc<Authority>,
    pub trouble: Arc<Trouble>,
    pub keys: Arc<Keys>,
}

/// What goes wrong from now on.
#[derive(Debug)]
pub struct Trouble {
    pub entropy: AtomicBool,
    /// The next serial is the one before.
    pub repeat_serial: AtomicBool,
    last_serial: Mutex<[u8; 20]>,
    pub signer: Mutex<SignerState>,
    /// Signatures wait for a permit while the state is `Waits`.
    pub gate: Semaphore,
    /// One permit for each signature that has come to the gate.
    pub arrived: Semaphore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignerState {
    Works,
    Unavailable,
    SignsWrongly,
    Waits,
}

impl Rig {
    pub async fn on(at: &At) -> Rig {
        let trouble = Arc::new(Trouble::none());
        let chance = Arc::new(TroubledEntropy(entropy(), trouble.clone()));
        let store = Store::new(at.connect().await, Arc::new(at.clock.clone()), chance).unwrap();
        let (keys, founding) = all_keys();
        assert!(initialise(&store, keys.as_ref(), &founding).await.unwrap());
        let troubled = troubled(keys.clone(), trouble.clone());
        let authority = Authority::open(store.clone(), troubled, vec![]).await.unwrap();
        accounts::insert(&store, &account()).await.unwrap();
        Rig { store, authority, trouble, keys }
    }

    pub fn signer(&self, state: SignerState) {
        *self.trouble.signer.lock().unwrap() = state;
    }

    /// A new order that is ready.
    pub async fn order(&self) -> OrderId {
        let id = OrderId::new(self.store.now(), self.store.entropy.as_ref()).unwrap();
        let order = Order {
            id,
            account_id: ACCOUNT,
            directory: "default".into(),
            status: OrderStatus::Ready,
            identifiers: vec![],
            profile: "tls-server".into(),
            not_before: None,
            not_after: None,
            error: None,
            certificate_id: None,
            replaces: None,
            expires_at: START + days(7),
            created_at: START,
        };
        let mut tx = self.store.begin(&actor()).await.unwrap();
        orders::insert(&mut tx, &[&order]).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    pub async fn issue(&self, issuance: Issuance) -> Result<Issued> {
        self.authority.issue(&actor(), issuance).await
    }

    pub async fn order_status(&self, id: OrderId) -> OrderStatus {
        orders::find(&self.store, id).await.unwrap().unwrap().status
    }
}

pub const ACCOUNT: AccountId = AccountId::from_bytes([1; 16]);

pub fn actor() -> Actor {
    Actor::host(0, "test")
}

pub fn guard(order: OrderId) -> Guard {
    let claim = IdempotencyClaim {
        actor: "host:0".into(),
        key: order.to_string(),
        request_sha256: [1; 32],
        expires_at: START + days(1),
    };
    Guard { order: Some(order), idempotency: Some(claim), ..Guard::default() }
}

/// A request for a new name and key.
pub fn issuance(guard: Guard) -> Issuance {
    let pair = software::generate(KeyAlgorithm::P256).unwrap();
    let name = format!("host-{}.example.test", NUMBER.fetch_add(1, Ordering::Relaxed));
    let key = KeyPolicy::default().check(&pair.public_key).unwrap();
    Issuance {
        profile: "tls-server".into(),
        issuer: None,
        request: CertificateRequest::for_key(key, vec![Identifier::dns(&name).unwrap()]),
        names: None,
        common_name: None,
        subject: SubjectFields::default(),
        validity: RequestedValidity::default(),
        guard,
    }
}

fn account() -> Account {
    Account {
        id: ACCOUNT,
        directory: "default".into(),
        status: AccountStatus::Valid,
        key: AccountKey { jwk: "{}".into(), thumbprint: [8; 32], public_key: vec![1] },
        contact: vec![],
        url: String::new(),
        terms_agreed: true,
        terms_url: None,
        grant: None,
        binding: None,
        created_at: START,
        created_from: String::new(),
    }
}

#[derive(Debug)]
struct TroubledEntropy(Arc<dyn Entropy>, Arc<Trouble>);

impl Entropy for TroubledEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<()> {
        if self.1.entropy.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "no random bytes"));
        }
        self.0.fill(buffer)?;
        // only serials are drawn as 20 bytes
        if buffer.len() == 20 {
            let mut last = self.1.last_serial.lock().unwrap();
            if self.1.repeat_serial.swap(false, Ordering::SeqCst) {
                buffer.copy_from_slice(last.as_slice());
            }
            last.copy_from_slice(buffer);
        }
        Ok(())
    }
}

impl Trouble {
    pub fn none() -> Trouble {
        Trouble {
            entropy: AtomicBool::new(false),
            repeat_serial: AtomicBool::new(false),
            last_serial: Mutex::new([0; 20]),
            signer: Mutex::new(SignerState::Works),
            gate: Semaphore::new(0),
            arrived: Semaphore::new(0),
        }
    }
}

/// Keys whose signers do what `trouble` says.
pub fn troubled(keys: Arc<Keys>, trouble: Arc<Trouble>) -> Arc<dyn KeyStore> {
    Arc::new(TroubledKeys(keys, trouble))
}

#[derive(Debug)]
struct TroubledKeys(Arc<Keys>, Arc<Trouble>);

impl KeyStore for TroubledKeys {
    fn generate(&self, id: KeyId, algorithm: KeyAlgorithm, purpose: KeyPurpose) -> Result<SealedKey> {
        self.0.generate(id, algorithm, purpose)
    }

    fn open(&self, key: &SealedKey) -> Result<Arc<dyn Signer>> {
        Ok(Arc::new(TroubledSigner(self.0.open(key)?, self.1.clone())))
    }

    fn import(&self, id: KeyId, purpose: KeyPurpose, pkcs8: &[u8]) -> Result<SealedKey> {
        self.0.import(id, purpose, pkcs8)
    }

    fn reveal(&self, key: &SealedKey) -> Result<zeroize::Zeroizing<Vec<u8>>> {
        self.0.reveal(key)
    }

    fn can_open(&self, purpose: KeyPurpose) -> bool {
        self.0.can_open(purpose)
    }

    fn seal_secret(&self, label: &str, id: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
        self.0.seal_secret(label, id, plaintext)
    }

    fn open_secret(&self, label: &str, id: &[u8], sealed: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>> {
        self.0.open_secret(label, id, sealed)
    }

    fn seal_status(&self, label: &str, id: &[u8], plaintext: Vec<u8>) -> Result<Vec<u8>> {
        self.0.seal_status(label, id, plaintext)
    }

    fn open_status(&self, label: &str, id: &[u8], sealed: Vec<u8>) -> Result<Vec<u8>> {
        self.0.open_status(label, id, sealed)
    }
}

#[derive(Debug)]
struct TroubledSigner(Arc<dyn Signer>, Arc<Trouble>);

impl Signer for TroubledSigner {
    fn algorithm(&self) -> KeyAlgorithm {
        self.0.algorithm()
    }

    fn public_key(&self) -> &[u8] {
        self.0.public_key()
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        let state = *self.1.signer.lock().unwrap();
        Box::pin(async move {
            match state {
                SignerState::Works => self.0.sign(message).await,
                SignerState::Unavailable => Err(SignError::Unavailable("the HSM is away".into())),
                SignerState::SignsWrongly => self.0.sign(b"something else").await,
                SignerState::Waits => {
                    self.1.arrived.add_permits(1);
                    self.1.gate.acquire().await.expect("the gate is not closed").forget();
                    self.0.sign(message).await
                }
            }
        })
    }
}
