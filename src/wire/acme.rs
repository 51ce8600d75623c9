//! What operators see of ACME: external account keys and directories.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// A key by which somebody registers ACME accounts (RFC 8555 §7.3.4). Its bounds are those of an existing grant, or
/// the lists and the count here, as in a grant of its own.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "cluster-a", "directory": "default", "allow_names": ["a.lab.example"], "expires": "90d", "max_accounts": 3
}))]
pub struct EabKeyRequest {
    /// Who registers with it: 1 to 100 characters.
    pub name: String,
    /// The one directory where it works; absent is `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The key id that clients have already; the id of the new key when absent. Unique, 1 to 200 printable ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The HMAC key that clients have already, 32 to 256 octets in base64url or base64; a new one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hmac_key: Option<String>,
    /// An existing grant in place of the lists below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// Names that its accounts get without a proof; others must be proved by a challenge of the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_names: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subjects: Option<Vec<String>>,
    /// Slugs of profiles, or `*`; absent is `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<String>>,
    /// Slugs of issuers, or `*`; absent is `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuers: Option<Vec<String>>,
    /// How many certificates all its accounts get together at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_count: Option<i64>,
    /// How long it registers accounts: 90 days by default. Accounts go on as long as the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// How many accounts it registers at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_accounts: Option<i64>,
}

/// An external account key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EabKey {
    pub id: String,
    /// What clients call the key id: the id, unless an operator gave another.
    pub kid: String,
    pub name: String,
    pub directory: String,
    /// `active`, `used_up`, `expired`, `revoked` or, after a restore, `suspended`.
    pub status: String,
    /// The grant that its accounts act under.
    pub grant: String,
    pub max_accounts: Option<i64>,
    pub used_accounts: i64,
    pub created_by: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
    /// The HMAC key in base64url without padding: this once, in the answer to its creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hmac_key: Option<String>,
}

/// How an external account key ends.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EabKeyRevocation {
    /// The accounts that it registered end too; else they go on under the grant.
    #[serde(default)]
    pub accounts: bool,
}

/// Which grant an ACME account acts under.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"grant": "grt_01K9ZQ4W7Y8N3V5T2R6P1M0XBC"}))]
pub struct AccountGrantRequest {
    /// A grant that is alive. The account ends when the grant is revoked.
    pub grant: String,
}

/// An ACME account under a grant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AccountGrant {
    pub account: String,
    pub directory: String,
    pub grant: String,
    /// The external account key that it was registered with.
    pub eab_key: Option<String>,
}

/// The members that every shape of a directory has; what is absent has its default.
macro_rules! directory {
    ($(#[$outer:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$outer])*
        pub struct $name {
            $($own)*
            /// Slugs of the issuers that may sign here; `["*"]`, the default, is any of the profile's domain.
            #[serde(default = "any")]
            pub issuers: Vec<String>,
            /// Names that are certified here at all, written as in a grant; `["*"]` by default. Empty allows nothing.
            #[serde(default = "any")]
            pub allow_names: Vec<String>,
            /// Names that are never certified here.
            #[serde(default)]
            pub deny_names: Vec<String>,
            /// Where http-01 connects, in place of the settings' port.
            #[serde(default)]
            #[schema(minimum = 1)]
            pub http01_port: Option<u16>,
            /// Where tls-alpn-01 connects, in place of the settings' port.
            #[serde(default)]
            #[schema(minimum = 1)]
            pub tls_alpn01_port: Option<u16>,
            /// Networks that validations may connect to, within those of the settings; empty: all of these.
            #[serde(default)]
            pub allow_networks: Vec<String>,
            /// Networks that validations never connect to, besides the settings' list.
            #[serde(default)]
            pub deny_networks: Vec<String>,
            /// What CAA records mean (RFC 8659): `off`, `log` or `enforce`.
            #[serde(default = "off")]
            pub caa: String,
            /// Names of this CA in CAA records and in those of dns-persist-01; shown in `meta.caaIdentities`.
            #[serde(default)]
            pub caa_identities: Vec<String>,
            /// Offer newAuthz (RFC 8555 §7.4.1).
            #[serde(default)]
            pub pre_authorization: bool,
            /// One proof may cover all names below its own (RFC 9444).
            #[serde(default)]
            pub subdomains: bool,
            /// How long the proof of one order serves the same account's next orders, such as `8h`, at most `7d`;
            /// absent: each order proves anew.
            #[serde(default)]
            pub reuse_authorizations: Option<String>,
            /// What clients may do in a time: each `COUNT/PERIOD` such as `300/3h`, or `none`.
            #[serde(default)]
            pub limits: DirectoryLimits,
            /// URL that new accounts agree to.
            #[serde(default)]
            pub terms_of_service: Option<String>,
            /// Accounts that have not agreed to these terms get no further order.
            #[serde(default)]
            pub require_current_terms: bool,
            /// URL about this CA.
            #[serde(default)]
            pub website: Option<String>,
        }
    };
}

fn off() -> String {
    "off".to_owned()
}

fn any() -> Vec<String> {
    vec!["*".to_owned()]
}

/// The limits of a directory. `300/3h` is 300 at once or within three hours, and one comes back every 36 seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DirectoryLimits {
    /// New accounts of one address; of one /64 with IPv6.
    pub new_accounts: String,
    /// New orders of one account, and authorizations ahead of them. What replaces a certificate, or has exactly the
    /// names of an earlier one of the account, has ten times as many of its own.
    pub new_orders: String,
    /// The same of one address, whatever the accounts.
    pub new_orders_per_address: String,
    /// Certificates for exactly the same set of names, whatever the accounts.
    pub certificates: String,
    /// Validations of one name that fail for one account.
    pub failed_validations: String,
    /// Orders of one account that are pending or ready at the same time: a count, or `none`.
    pub open_orders: String,
    /// So many failures of a name without a success, over at least the period, pause that name for the account.
    pub pause: String,
}

impl Default for DirectoryLimits {
    fn default() -> Self {
        crate::model::limits::Limits::default().into()
    }
}

impl From<crate::model::limits::Limits> for DirectoryLimits {
    fn from(limits: crate::model::limits::Limits) -> Self {
        DirectoryLimits {
            new_accounts: limits.new_accounts.to_string(),
            new_orders: limits.new_orders.to_string(),
            new_orders_per_address: limits.new_orders_per_address.to_string(),
            certificates: limits.certificates.to_string(),
            failed_validations: limits.failed_validations.to_string(),
            open_orders: limits.open_orders.to_string(),
            pause: limits.pause.to_string(),
        }
    }
}

/// Limits of one account in place of its directory's; what is absent is the directory's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({"new_orders": "20000/3h", "open_orders": "none"}))]
pub struct AccountLimitsRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_orders: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_validations: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_orders: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<String>,
}

/// The limits of an account and what is paused.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AccountLimits {
    /// In place of the directory's.
    pub limits: AccountLimitsRequest,
    /// Names that the account cannot order until they are resumed.
    pub paused: Vec<PausedName>,
}

/// A name whose validations failed for days.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PausedName {
    pub name: String,
    pub failures: i64,
    /// The first of the failures.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub paused_at: Timestamp,
}

/// What to resume.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({"name": "www.lab.example"}))]
pub struct ResumeRequest {
    /// One paused name; absent: all of the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Names that may be ordered again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Resumed {
    pub names: Vec<String>,
}

directory! {
    /// What an ACME directory offers and requires.
    #[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
    Directory {
        /// Stands in its URL: `/acme/{slug}/directory`.
        pub slug: String,
        /// Slugs of profiles; the first one is used when an order names none.
        pub profiles: Vec<String>,
        /// What control over a name can be proved by; empty: only names within the grant of an account.
        pub challenges: Vec<String>,
        /// New accounts need an external account key.
        pub external_account_required: bool,
        /// DNS servers as `IP:port` that its validations ask; empty: those of the settings.
        pub resolvers: Vec<String>,
    }
}

directory! {
    /// A new ACME directory at `/acme/{slug}/directory`.
    #[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    #[schema(example = json!({"slug": "cluster-a", "profiles": ["tls-server"], "external_account_required": true}))]
    DirectoryRequest {
        /// Lower-case letters, digits and hyphens; never changed.
        pub slug: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub profiles: Option<Vec<String>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub challenges: Option<Vec<String>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub external_account_required: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub resolvers: Option<Vec<String>>,
    }
}

directory! {
    /// What a directory offers and requires.
    #[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    #[schema(example = json!({"profiles": ["tls-server"], "challenges": ["http-01", "dns-01"], "external_account_required": true,
        "resolvers": ["10.0.0.53:53"]}))]
    DirectoryRules {
        /// As in the path, for who sends back what GET gave; a slug never changes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub slug: Option<String>,
        /// Slugs of profiles; the first one is used when an order names none.
        pub profiles: Vec<String>,
        /// What control over a name can be proved by; empty: only names within the grant of an account.
        pub challenges: Vec<String>,
        /// New accounts need an external account key.
        pub external_account_required: bool,
        /// DNS servers as `IP:port` that its validations ask; empty: those of the settings.
        pub resolvers: Vec<String>,
    }
}
