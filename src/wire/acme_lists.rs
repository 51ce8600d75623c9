//! What operators see of ACME accounts, orders and refused requests.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::clock::{Timestamp, exact};

/// An ACME account.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AcmeAccount {
    pub id: String,
    pub directory: String,
    /// `valid`, `deactivated` (by its owner) or `revoked` (by an operator or a rule).
    pub status: String,
    /// `mailto:` URLs.
    pub contact: Vec<String>,
    /// What its client calls its kid.
    pub url: String,
    /// `EC P-256`, `RSA`, …
    pub key_type: String,
    /// JWK thumbprint (RFC 7638), SHA-256 in base64url without padding.
    pub key_thumbprint: String,
    /// The grant that it acts under, when there is one.
    pub grant: Option<String>,
    /// The external account key that it was registered with.
    pub eab_key: Option<String>,
    pub terms_agreed: bool,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The address that it was made from.
    pub created_from: String,
}

/// How an operator ends an account.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "the host was taken out of service"}))]
pub struct AcmeAccountRevocation {
    /// For whoever asks later: 1 to 200 characters on one line.
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
}

/// Which accounts, and the page.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AcmeAccountQuery {
    /// The slug of a directory.
    pub directory: Option<String>,
    /// `valid`, `deactivated` or `revoked`.
    pub status: Option<String>,
    /// The id of a grant (grt_…).
    pub grant: Option<String>,
    /// The thumbprint of its key, in base64url or hexadecimal.
    pub thumbprint: Option<String>,
    /// A part of one of its contacts.
    pub q: Option<String>,
    /// Items on a page: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub limit: Option<u16>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// An ACME order. `authorizations` and `certificate` are told of one order, not in lists.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AcmeOrder {
    pub id: String,
    pub account: String,
    pub directory: String,
    /// `pending`, `ready`, `processing`, `valid` or `invalid`.
    pub status: String,
    pub names: Vec<String>,
    pub profile: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_after: Option<Timestamp>,
    /// The renewal identifier of the certificate that it replaces (RFC 9773).
    pub replaces: Option<String>,
    /// The problem document that its client was given, when it failed.
    #[schema(value_type = Option<Object>)]
    pub error: Option<Value>,
    /// The certificate's id (crt_…), once it is issued.
    pub certificate_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorizations: Option<Vec<AcmeAuthorization>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<AcmeCertificate>,
}

/// How one name of an order is proved.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AcmeAuthorization {
    pub id: String,
    /// With the wildcard label.
    pub name: String,
    /// `pending`, `valid`, `invalid`, `deactivated`, `expired` or `revoked`.
    pub status: String,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    pub challenges: Vec<AcmeChallenge>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AcmeChallenge {
    pub id: String,
    /// `http-01`, `dns-01`, …
    pub r#type: String,
    /// `pending`, `processing`, `valid` or `invalid`.
    pub status: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub validated_at: Option<Timestamp>,
    /// The problem document that its client was given.
    #[schema(value_type = Option<Object>)]
    pub error: Option<Value>,
}

/// What an order came to.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AcmeCertificate {
    pub id: String,
    pub serial: String,
    pub issuer: String,
    pub status: String,
    #[schema(value_type = String, format = DateTime)]
    pub not_after: Timestamp,
}

/// Which orders, and the page.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AcmeOrderQuery {
    /// The id of an account (acc_…).
    pub account: Option<String>,
    /// The slug of a directory.
    pub directory: Option<String>,
    /// `pending`, `ready`, `processing`, `valid` or `invalid`.
    pub status: Option<String>,
    /// A name that it asks for: whole (`web.lab.example`, `*.lab.example`) or the beginning (`web*`).
    pub name: Option<String>,
    /// Made at this time or later; a duration such as `2h` counts from now into the past.
    pub since: Option<String>,
    /// Items on a page: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub limit: Option<u16>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// A request that was refused. The same one again within a minute is counted in it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AcmeAttempt {
    pub id: String,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub last_at: Timestamp,
    pub times: i64,
    /// `order.refused`, `order.finalize_refused`, `authorization.refused`, `challenge.refused`, `account.refused` or
    /// `certificate.revocation_refused`.
    pub action: String,
    pub directory: String,
    pub account: Option<String>,
    pub order: Option<String>,
    /// The client's address.
    pub from: String,
    /// As they were asked for.
    pub names: Vec<String>,
    /// The code of the error, as at /errors.
    pub code: String,
    /// The sentence that the client was told.
    pub detail: String,
    /// The rule that refused, when it was one.
    pub rule: Option<String>,
    pub request_id: String,
}

/// Which refused requests, and the page.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AcmeAttemptQuery {
    /// The id of an account (acc_…).
    pub account: Option<String>,
    /// The slug of a directory.
    pub directory: Option<String>,
    /// A name that was asked for: whole, or the beginning (`web*`).
    pub name: Option<String>,
    /// At this time or later; a duration such as `2h` counts from now into the past.
    pub since: Option<String>,
    /// Items on a page: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub limit: Option<u16>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Why an order is as it is: what the CA saw, in the order of time.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AcmeTimeline {
    pub order: String,
    pub account: String,
    pub directory: String,
    pub status: String,
    pub names: Vec<String>,
    /// One sentence.
    pub summary: String,
    /// What to do next, when there is something to do.
    pub next: Option<String>,
    pub entries: Vec<AcmeTimelineEntry>,
}

/// One thing that was done or seen.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AcmeTimelineEntry {
    /// With six digits of fraction.
    #[serde(with = "exact")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `ordered`, `offered`, `answered`, `resolve`, `deny`, `dial`, `tls`, `request`, `response`, `redirect`,
    /// `result`, `retry`, `ready`, `finalize`, `intended`, `issued`, `downloaded`, `revoked`, `ended`, …
    pub what: String,
    /// The name that it is about, when it is about one.
    pub name: Option<String>,
    pub detail: String,
    /// `good`, `bad` or `plain`.
    pub mark: String,
}

/// Run the validator now for one name, without a client.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "web.lab.example", "type": "http-01"}))]
pub struct ChallengeTestRequest {
    /// A DNS name or an address; may be left out beside an order of one name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `http-01`, `dns-01`, `tls-alpn-01`, `dns-account-01` or `dns-persist-01`: one that the directory offers.
    pub r#type: String,
    /// The slug of a directory, whose ports, resolvers and networks are used; absent is the order's, or `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The account (acc_…) whose record is looked for; dns-account-01 and dns-persist-01 need one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The order (ord_…) whose challenge is tried, with its token and its account. Nothing of it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
}

/// What a challenge test came to.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChallengeTest {
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub directory: String,
    pub name: String,
    pub r#type: String,
    /// `proved`; `open` when everything works and only a client's answer is missing, as it is without an order; or
    /// `failed`.
    pub verdict: String,
    /// One sentence.
    pub summary: String,
    /// What to do next, when there is something to do.
    pub next: Option<String>,
    /// What the CA did and saw.
    pub entries: Vec<AcmeTimelineEntry>,
}
