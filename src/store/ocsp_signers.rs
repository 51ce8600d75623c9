//! Which issuers sign their OCSP answers with their own key. The column stands apart from the issuer's record, which an
//! older binary writes without it.

use std::collections::HashSet;

use super::engine::{On, q, statements};
use crate::error::Result;
use crate::model::id::IssuerId;
use crate::model::issuer::OcspSigner;

statements! {
    SELF_SIGNING = "SELECT id FROM issuers WHERE ocsp_signer = 'issuer'";
    SET = "UPDATE issuers SET ocsp_signer = $2 WHERE id = $1 AND ocsp_signer <> $2";
}

/// The issuers whose own key signs their OCSP answers.
pub async fn issuers<'a>(on: impl Into<On<'a>>) -> Result<HashSet<IssuerId>> {
    q(SELF_SIGNING).fetch_all(on).await?.iter().map(|row| row.id("id")).collect()
}

/// False when it is so already.
pub async fn set<'a>(on: impl Into<On<'a>>, id: IssuerId, signer: OcspSigner) -> Result<bool> {
    Ok(q(SET).bind(id.to_vec()).bind(signer.name()).execute(on).await? == 1)
}
