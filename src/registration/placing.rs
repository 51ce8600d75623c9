//! New orders of many clients in one commit: each with its authorizations, challenges and audit event. Which names
//! need a proof, and whether there is room for the order, is decided in that transaction; one that is refused leaves
//! the others alone.

use std::sync::Arc;

use serde_json::json;

use super::limits::Room;
use super::orders::{OrderView, Wanted};
use super::proofs::{Had, Proof};
use super::renewal::{check_slot, slot_taken};
use super::{Directory, proofs};
use crate::authority::batch::WriteGroup;
use crate::clock::Timestamp;
use crate::error::{ErrorKind, Result};
use crate::model::acme::{AuthorizationStatus, Order, OrderStatus};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::grant::Grant;
use crate::model::id::AuthorizationId;
use crate::store::{Store, Tx, authorizations, challenges, orders};

/// One order on its way to the disk: all that needs no transaction is checked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub actor: Actor,
    pub address: String,
    pub directory: Arc<Directory>,
    pub grant: Option<Grant>,
    pub order: Order,
    /// The thumbprint of the account's key that signed.
    pub key: [u8; 32],
    pub names: Vec<Wanted>,
}

pub(super) struct Writer(pub(super) Store);

impl WriteGroup<Asked, OrderView> for Writer {
    type Begun = Tx;

    async fn begin(&self) -> Result<Tx> {
        self.0.begin_group(&Actor::system("acme")).await
    }

    async fn write(&self, mut tx: Tx, rows: Arc<Vec<Asked>>) -> Result<Vec<Result<OrderView>>> {
        let mut room = Room::read(&mut tx, &rows).await?;
        let had = Had::read(&mut tx, &rows).await?;
        let mut placed: Vec<(OrderView, Vec<Proof>)> = Vec::with_capacity(rows.len());
        let mut results = Vec::with_capacity(rows.len());
        for row in rows.iter() {
            match place(&mut tx, &mut room, &had, row).await {
                Ok((view, proofs)) => {
                    audit(&mut tx, row);
                    results.push(Ok(view.clone()));
                    placed.push((view, proofs));
                }
                Err(error) if error.is_refusal() => results.push(Err(error)),
                Err(error) => return Err(error),
            }
        }
        if placed.is_empty() {
            return Ok(results);
        }
        room.save(&mut tx).await?;
        if let Err(error) = insert(&mut tx, &placed).await {
            // alone, it is the order that lost a race for the certificate that it replaces
            return match rows.as_slice() {
                [row] if error.kind == ErrorKind::Conflict => Ok(vec![Err(slot_taken(error, &row.order))]),
                _ => Err(error),
            };
        }
        tx.commit().await?;
        Ok(results)
    }
}

async fn place(tx: &mut Tx, room: &mut Room, had: &Had, row: &Asked) -> Result<(OrderView, Vec<Proof>)> {
    check_slot(tx, &row.order).await?;
    let proofs = proofs::of_order(tx.store(), row, had)?;
    room.take(row)?;
    let mut order = row.order.clone();
    order.expires_at = planted!(
        "order-outlives-its-proof",
        order.expires_at,
        proofs.iter().map(|p| p.authorization.expires_at).fold(order.expires_at, Timestamp::min)
    );
    if planted!(
        "order-is-ready-with-one-proof",
        proofs.iter().any(|p| p.authorization.status == AuthorizationStatus::Valid),
        proofs.iter().all(|p| p.authorization.status == AuthorizationStatus::Valid)
    ) {
        order.status = OrderStatus::Ready;
    }
    let authorizations = proofs.iter().map(|p| p.authorization.id).collect();
    Ok((OrderView { order, authorizations }, proofs))
}

/// Orders before what refers to them.
async fn insert(tx: &mut Tx, placed: &[(OrderView, Vec<Proof>)]) -> Result<()> {
    orders::insert(tx, &placed.iter().map(|(view, _)| &view.order).collect::<Vec<_>>()).await?;
    let fresh: Vec<&Proof> =
        placed.iter().flat_map(|(_, proofs)| proofs).filter(|p| p.challenges.is_some()).collect();
    let rows: Vec<_> = fresh.iter().map(|proof| (&proof.authorization, proof.is_granted())).collect();
    authorizations::insert(tx, &rows).await?;
    challenges::insert(tx, &fresh.iter().flat_map(|proof| proof.challenges.iter().flatten()).collect::<Vec<_>>())
        .await?;
    let rests = |(view, _): &'_ (OrderView, Vec<Proof>)| -> (_, Vec<AuthorizationId>) {
        (view.order.id, view.authorizations.clone())
    };
    let rests: Vec<_> = placed.iter().map(rests).collect();
    orders::cover(tx, rests.iter().map(|(id, list)| (*id, list.as_slice()))).await
}

fn audit(tx: &mut Tx, row: &Asked) {
    let order = &row.order;
    let detail = json!({"names": order.identifiers, "profile": order.profile, "directory": order.directory,
        "replaces": order.replaces, "from": row.address});
    tx.audit_as(&row.actor, AuditEvent::done("order.created", format!("order:{}", order.id), detail));
}
