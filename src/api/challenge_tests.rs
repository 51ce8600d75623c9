//! The validator run now for one name.

use axum::Json as Reply;
use axum::extract::State;

use super::{Api, acme_accounts, acme_orders, acme_shape, refused};
use crate::access::Caller;
use crate::api::document::WriteProblems;
use crate::error::Result;
use crate::http::extract::Json;
use crate::registration::challenge_tests;
use crate::wire::acme_lists::{ChallengeTest, ChallengeTestRequest};

/// Test an ACME challenge now
///
/// Runs the validator for a name as an order would, and tells every step. Without an order nobody has put an answer
/// in place: the verdict is then `open` when everything before it works. 30 tests in 10 minutes a caller.
#[utoipa::path(post, path = "/api/v1/acme/challenge-tests", operation_id = "testAcmeChallenge", tag = "acme",
    request_body = ChallengeTestRequest,
    responses((status = 200, description = "What the CA saw, and what it comes to", body = ChallengeTest), WriteProblems))]
pub async fn create(
    caller: Caller,
    State(api): State<Api>,
    Json { value: asked, .. }: Json<ChallengeTestRequest>,
) -> Result<Reply<ChallengeTest>> {
    refused(&api, &caller, "challenge.test_refused", "challenge", caller.may_manage_acme()).await?;
    let order = match &asked.order {
        Some(id) => Some(acme_orders::find(&api, &caller, id).await?),
        None => None,
    };
    let test = challenge_tests::ChallengeTest {
        directory: asked.directory,
        name: asked.name,
        kind: asked.r#type,
        account: asked.account.as_deref().map(acme_accounts::parse).transpose()?,
    };
    let told = api.registration.test_challenge(caller.actor(), &test, order.as_ref()).await?;
    Ok(Reply(acme_shape::challenge_test(&told)))
}
