//! Finalize (RFC 8555 §7.4): CSR against order, then one certificate. The order moves ready → processing → valid
//! inside the authority's own two transactions, so of a hundred finalize requests one issues.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;

use super::attempts::Tried;
use super::limits::{name_set, own_set};
use super::orders::{OrderView, refusal};
use super::under_grant::check_client_auth;
use super::{Directory, ORDER_LIFETIME, Origin, Registration};
use crate::authority::chain::Chain;
use crate::authority::guard::{Guard, NameSet};
use crate::authority::issue::Issuance;
use crate::authority::recovery::Processing;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result, Subproblem};
use crate::model::acme::{Account, Authorization, AuthorizationStatus, Order, OrderStatus};
use crate::model::certificate::Certificate;
use crate::model::id::{CertificateId, OrderId};
use crate::model::identifier::Identifier;
use crate::model::validity::RequestedValidity;
use crate::pki::key_policy::{KeyPolicy, PublicKeyInfo};
use crate::pki::name::SubjectFields;
use crate::pki::request::{CertificateRequest, note_version};
use crate::store::authorizations::HeldAuthorization;
use crate::store::{accounts, authorizations, certificates};

/// How long a client is kept waiting; a slower signature is polled for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A certificate as it is downloaded.
#[derive(Debug, Clone)]
pub struct Download {
    pub certificate: Certificate,
    pub der: Vec<u8>,
    /// Intermediates by every way up; the first one is given unless another is asked for.
    pub chains: Vec<Chain>,
}

impl Registration {
    pub async fn finalize(
        self: &Arc<Self>,
        origin: &Origin,
        account: &Account,
        id: OrderId,
        csr: &[u8],
    ) -> Result<OrderView> {
        let OrderView { order, authorizations } = self.order_to_finalize(account, id).await?;
        let status = order.shown_status(self.store.now());
        if status != OrderStatus::Ready {
            let error = Error::new(ErrorKind::OrderNotReady, not_ready(status));
            return self.refused_attempt(&origin.account(account), Tried::finalize(origin, &order), error).await;
        }
        let checked = async {
            let issuance = self.checked(account, &order, csr).await?;
            self.check_caa(account, &order).await.map(|()| issuance)
        };
        let issuance = match checked.await {
            Ok(issuance) => issuance,
            // the order stays ready, so that the client may send another CSR, or a zone be mended
            Err(error) => {
                return self.refused_attempt(&origin.account(account), Tried::finalize(origin, &order), error).await;
            }
        };
        let (authority, actor) = (Arc::clone(&self.authority), origin.account(account));
        let (told, mut intended) = oneshot::channel();
        let mut issuing = tokio::spawn(async move { authority.issue_telling(&actor, issuance, Some(told)).await });
        let done = match tokio::time::timeout(PATIENCE, &mut issuing).await {
            Ok(done) => Some(done),
            // the order is this request's once its intent is there, and says processing; until then it may be lost
            Err(_) => tokio::select! {
                done = &mut issuing => Some(done),
                Ok(()) = &mut intended => None,
            },
        };
        match done {
            Some(Ok(Ok(issued))) => {
                let certificate_id = Some(issued.certificate.id);
                note_renewal(order.replaces.is_some(), issued.renews);
                let order = Order { status: OrderStatus::Valid, certificate_id, ..order };
                Ok(OrderView { order, authorizations })
            }
            Some(Ok(Err(error))) => {
                self.refused_attempt(&origin.account(account), Tried::finalize(origin, &order), error).await
            }
            Some(Err(ended)) => Err(Error::internal("the issuance task ended early", ended)),
            // it goes on; the order says processing until it is done
            None => self.order_view(account, id).await,
        }
    }

    /// The order, made ready again when its finalization ended with the server that ran it. While another server runs
    /// it, a moment is given for the database to learn that the server has ended.
    async fn order_to_finalize(&self, account: &Account, id: OrderId) -> Result<OrderView> {
        let view = self.order_view(account, id).await?;
        let processing = view.order.status == OrderStatus::Processing;
        let Some(certificate) = view.order.certificate_id.filter(|_| processing) else { return Ok(view) };
        match self.authority.settled(certificate).await? {
            Processing::Over => self.order_view(account, id).await,
            Processing::Elsewhere | Processing::Here => Ok(view),
        }
    }

    async fn checked(&self, account: &Account, order: &Order, csr: &[u8]) -> Result<Issuance> {
        let directory = self.shared_directory(&order.directory)?;
        // one that was withdrawn since is told first, whatever the CSR is like (draft-ietf-acme-profiles §4)
        directory.profile(Some(&order.profile))?;
        permitted(&directory, order)?;
        if order.directory != account.directory {
            return Err(Error::inconsistent(format!("order {} is of another directory than its account", order.id)));
        }
        let proofs = self.check_authorizations(order).await?;
        let granted = self.granted(account, &proofs).await?;
        check_client_auth(&self.authority.snapshot(), &order.profile, granted.is_some())?;
        let request = CertificateRequest::from_der(csr, &KeyPolicy::default()).map_err(|refusal| {
            let mut error = Error::from(refusal);
            // at finalize whatever is wrong with a CSR is badCSR
            error.kind = ErrorKind::BadCsr;
            error
        })?;
        note_version(&request, "acme");
        let groups = self.authority.snapshot().profile(&order.profile)?.profile.check_groups(request.subject());
        groups.map_err(|mut error| {
            error.kind = ErrorKind::BadCsr;
            error
        })?;
        same_names(order, &request)?;
        self.check_account_key(request.public_key(), ErrorKind::BadCsr).await?;
        let snapshot = self.authority.snapshot();
        let domain = snapshot.profile(&order.profile)?.profile.domain();
        let set = name_set(&order.directory, &order.identifiers);
        Ok(Issuance {
            issuer: Some(
                directory.issuer(&snapshot, domain, &order.identifiers, self.store.now())?.issuer.slug.clone(),
            ),
            profile: order.profile.clone(),
            request,
            names: Some(order.identifiers.clone()),
            common_name: None,
            subject: SubjectFields::default(),
            validity: RequestedValidity {
                not_before: order.not_before,
                not_after: order.not_after,
                ttl: None,
                like_before: None,
                asked_at: Some(self.placed_at(order)),
            },
            guard: Guard {
                order: Some(order.id),
                key: Some(account.key.thumbprint),
                grant: granted,
                set: Some(NameSet {
                    own: own_set(order.account_id, &set),
                    row: set,
                    limit: directory.config.limits.certificates,
                }),
                ..Guard::default()
            },
        })
    }

    /// When an order was placed. The row bears no MAC: it says no earlier time than its id, and none that is longer ago than an
    /// order lives.
    fn placed_at(&self, order: &Order) -> Timestamp {
        order.created_at.max(order.id.time()).max(self.store.now() - ORDER_LIFETIME)
    }

    /// No account's key is certified, on any surface (RFC 8555 §11.1): whoever has it would speak for the account.
    pub async fn check_account_key(&self, key: &PublicKeyInfo, kind: ErrorKind) -> Result<()> {
        if planted!("account-key-is-certified", true, !accounts::has_key(&self.store.db.keyed(), key.spki()).await?) {
            return Ok(());
        }
        let (value, allowed) = ("a public key that is an ACME account's", "a key of the certificate's own");
        Err(Error::refused(kind, "key.account", value, allowed, "make a new key for the CSR (RFC 8555 §11.1)")
            .explained("the CSR has the public key of an ACME account; a certificate needs a key of its own"))
    }

    /// Every authorization of the order is valid now, whatever time the order itself has left, and together they cover
    /// every identifier: an order whose links to its proofs were lost has none, and is refused.
    async fn check_authorizations(&self, order: &Order) -> Result<Vec<HeldAuthorization>> {
        let now = self.store.now();
        let proofs = authorizations::proofs(&self.store, order.id).await?;
        for HeldAuthorization { authorization, .. } in &proofs {
            let status = authorization.shown_status(now);
            if planted!("finalized-without-a-valid-proof", false, status != AuthorizationStatus::Valid) {
                let (name, status) = (authorization.name()?, status.name());
                return Err(not_proved(format!("the order's authorization for {name} is {status}")));
            }
        }
        let proved = |name: &Identifier| proofs.iter().any(|proof| proves(&proof.authorization, order, name));
        match order.identifiers.iter().find(|name| !proved(name)) {
            Some(name) => planted!(
                "finalized-without-authorizations",
                {
                    let _ = name;
                    Ok(proofs)
                },
                Err(not_proved(format!("the order has no authorization for {name}")))
            ),
            None => Ok(proofs),
        }
    }

    /// The certificate of one of this account's orders, revoked or not; the same bytes every time.
    pub async fn certificate(&self, account: &Account, id: CertificateId) -> Result<Download> {
        let missing = || Error::not_found("certificate");
        let found = certificates::find_with_der(&self.store, id).await?;
        let (certificate, der) = found
            .filter(|(c, _)| planted!("others-download-certificates", true, c.account_id == Some(account.id)))
            .ok_or_else(missing)?;
        let der = der.ok_or_else(missing)?;
        let chains = self.authority.chains_of(&certificate, &der)?;
        Ok(Download { certificate, der, chains })
    }
}

/// A wildcard rests on the proof of a name above it where the client offered that name (RFC 9444 §4.3).
fn proves(authorization: &Authorization, order: &Order, name: &Identifier) -> bool {
    let zone_covers = match (&authorization.identifier, name) {
        (Identifier::Dns(zone), Identifier::Dns(asked)) => {
            authorization.subdomains
                && asked.is_wildcard()
                && asked.base() != zone.as_str()
                && asked.is_within(zone.as_str())
        }
        _ => false,
    };
    authorization.account_id == order.account_id && (authorization.covers(name) || zone_covers)
}

fn not_proved(what: String) -> Error {
    Error::new(ErrorKind::OrderNotReady, format!("{what}; make a new order"))
}

/// Counts a certificate that replaces one (RFC 9773 §5), or whose account had one for the same names before.
fn note_renewal(replaces: bool, renews: bool) {
    match (replaces, renews) {
        (true, _) => metrics::counter!("chancery_acme_renewals_total", "ari" => "replaced").increment(1),
        (false, true) => metrics::counter!("chancery_acme_renewals_total", "ari" => "none").increment(1),
        (false, false) => {}
    }
}

/// The directory's rules over names as they are now: an operator may have tightened them since the order was made.
fn permitted(directory: &Directory, order: &Order) -> Result<()> {
    let refused = |name: &Identifier| {
        let error = directory.check_name(name).err()?;
        let identifier = Some((name.kind().to_owned(), name.value()));
        Some(Subproblem { kind: error.kind, detail: error.detail, identifier, pointer: None, rule: error.rule })
    };
    let bad: Vec<Subproblem> = order.identifiers.iter().filter_map(refused).collect();
    if bad.is_empty() { Ok(()) } else { Err(refusal(bad)) }
}

/// The names of the CSR, its CN included, are exactly those of the order, in any order (RFC 8555 §7.4).
fn same_names(order: &Order, request: &CertificateRequest) -> Result<()> {
    let asked = request.names();
    let ordered: BTreeSet<_> = order.identifiers.iter().cloned().collect();
    if planted!("csr-with-other-names", true, asked == ordered) {
        return Ok(());
    }
    let list =
        |names: Vec<_>| json!(names.iter().take(3).map(ToString::to_string).collect::<Vec<String>>()).to_string();
    let missing: Vec<_> = ordered.difference(&asked).collect();
    let extra: Vec<_> = asked.difference(&ordered).collect();
    Err(Error::refused(
        ErrorKind::BadCsr,
        "csr.names",
        format!("a CSR that lacks {} and adds {}", list(missing.clone()), list(extra.clone())),
        "exactly the names of the order",
        "make the CSR for these names, or a new order",
    )
    .explained(format!(
        "the CSR must have exactly the names of the order: it lacks {} and adds {}",
        list(missing),
        list(extra)
    )))
}

fn not_ready(status: OrderStatus) -> String {
    let why = match status {
        OrderStatus::Pending => "its authorizations are not all valid yet: complete a challenge of each",
        OrderStatus::Processing => "it is being finalized: poll the order",
        OrderStatus::Valid => "it was finalized before: download the certificate or make a new order",
        OrderStatus::Invalid => "make a new order",
        OrderStatus::Ready => "repeat the request",
    };
    format!("the order is {}: {why}", status.name())
}
