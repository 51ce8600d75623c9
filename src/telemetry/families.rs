//! The one table of metric families (reference/operators.md §5.1): name, help, and every label with the values that
//! it can have. A label without values here is open (issuer, profile, directory, …): `server/metrics.rs` says which
//! there are. Labels are bounded: never names, serials or accounts.

/// One family.
#[derive(Debug)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub labels: &'static [(&'static str, &'static [&'static str])],
}

/// The values are only known at run time.
pub const OPEN: &[&str] = &[];
const PROTOCOLS: &[&str] = &["rest", "acme", "cli", "internal"];
const CLASSES: &[&str] = &["1xx", "2xx", "3xx", "4xx", "5xx"];

macro_rules! families {
    ($($name:literal $kind:ident $help:literal [$($label:literal = $values:expr),*];)+) => {
        pub const FAMILIES: &[Family] = &[$(Family {
            name: concat!("chancery_", $name), kind: $kind, help: $help, labels: &[$(($label, $values)),*],
        },)+];
    };
}

families! {
    "build_info" GAUGE "The version that runs" ["version" = &[env!("CARGO_PKG_VERSION")]];
    "ready" GAUGE "1 when /readyz answers 200" [];
    "status_ready" GAUGE "1 when /readyz/status answers 200" [];
    "locked" GAUGE "1 when the server runs without its unlock key" [];
    "database_rolled_back" GAUGE "1 while the database is older than what is remembered of it: nothing is signed" [];
    "changed_rows" GAUGE "Rows that grant something and were changed in the database by something other than Chancery" [];
    "row_macs_total" COUNTER "MACs of rows that were made or compared" [];
    "anchor_written" GAUGE "1 when the anchor could be written last" [];
    "connections" GAUGE "Connections that are open now" [];
    "server_certificate_not_after_timestamp_seconds" GAUGE "End of the server's own TLS certificate" [];
    "tls_handshake_failures_total" COUNTER "TLS handshakes that failed or took too long" [];
    "proxy_headers_refused_total" COUNTER "Connections closed because their PROXY protocol v2 header was absent, broken or from a peer that is not trusted" [];
    "http_requests_total" COUNTER "HTTP requests by route and status class" ["listener" = OPEN, "route" = OPEN, "method" = OPEN, "status" = CLASSES];
    "http_request_duration_seconds" SECONDS "From a request's headers to its answer's headers" ["listener" = OPEN, "route" = OPEN, "method" = OPEN];
    "rate_limited_total" COUNTER "Requests that a limit refused" ["limit" = &["acme.open_orders"]];

    "connections_closed_total" COUNTER "Connections closed to make way for others while a listener was nearly full" ["listener" = &["https", "http", "ops"]];
    "request_body_bytes" GAUGE "Memory that request bodies take" ["budget" = &["strangers", "signed_in"]];
    "request_bodies_refused_total" COUNTER "Request bodies that found no memory left" ["budget" = &["strangers", "signed_in"]];
    "sign_ins_total" COUNTER "Attempts to sign in" ["browser" = &["known", "new"], "outcome" = &["accepted", "refused"]];
    "sign_in_queue" GAUGE "Attempts to sign in that wait for their turn" ["queue" = &["known", "strangers"]];
    "sign_in_queue_refused_total" COUNTER "Attempts to sign in that found the queue full or waited too long" ["queue" = &["known", "strangers"]];

    "certificates" GAUGE "Certificates by state" ["issuer" = OPEN, "profile" = OPEN, "state" = &["intended", "valid", "expired", "revoked"]];
    "certificates_expiring" GAUGE "Valid certificates that end soon" ["issuer" = OPEN, "profile" = OPEN, "within" = &["7d", "14d", "30d"]];
    "certificates_issued_total" COUNTER "Certificates issued" ["issuer" = OPEN, "profile" = OPEN, "protocol" = PROTOCOLS];
    "certificates_revoked_total" COUNTER "Certificates revoked" ["issuer" = OPEN, "reason" = OPEN];
    "issuance_rejected_total" COUNTER "Requests for a certificate that did not get one" ["profile" = OPEN, "protocol" = PROTOCOLS, "code" = OPEN];
    "issuance_duration_seconds" SECONDS "From the decision to issue until the certificate is committed" ["protocol" = PROTOCOLS, "stage" = &["total"]];
    "intents_recovered_total" COUNTER "Intents without outcome that were revoked" [];
    "audit_last_checkpoint_timestamp_seconds" GAUGE "When the audit was last signed" [];
    "checkpoint_publications_total" COUNTER "Audit checkpoints sent to a place outside the database" ["target" = &["file", "syslog", "webhook"], "outcome" = &["done", "failed"]];
    "intents_stuck" GAUGE "Intents without outcome that recovery cannot revoke" [];
    "issuer_not_after_timestamp_seconds" GAUGE "End of an issuer's certificate" ["issuer" = OPEN, "role" = OPEN];
    "issuer_state" GAUGE "1 for the state of an issuer, 0 for the others" ["issuer" = OPEN, "state" = &["prepared", "active", "retiring", "removed", "revoked"]];
    "domain_can_issue" GAUGE "1 when an issuer of the trust domain signs certificates" ["domain" = OPEN];
    "issuer_life_used_ratio" GAUGE "How much of its life an issuer's certificate has behind it" ["issuer" = OPEN];
    "signing_duration_seconds" SECONDS "One signature and its verification" ["issuer" = OPEN, "backend" = &["software"]];
    "signing_errors_total" COUNTER "Signatures that failed or did not verify" ["issuer" = OPEN, "backend" = &["software"]];

    "crl_this_update_timestamp_seconds" GAUGE "thisUpdate of the CRL in force" ["issuer" = OPEN, "shard" = &["complete"]];
    "crl_next_update_timestamp_seconds" GAUGE "nextUpdate of the CRL in force" ["issuer" = OPEN, "shard" = &["complete"]];
    "crl_entries" GAUGE "Entries of the CRL in force" ["issuer" = OPEN, "shard" = &["complete"]];
    "crl_size_bytes" GAUGE "Size of the CRL in force" ["issuer" = OPEN, "shard" = &["complete"]];
    "crl_pending_revocations" GAUGE "Revocations that the CRL in force does not list although they wait for longer than a publication takes, for a root's key or for the unlock key" ["issuer" = OPEN];
    "domain_crl_next_update_timestamp_seconds" GAUGE "nextUpdate of a trust domain's list" ["domain" = OPEN];
    "domain_crl_entries" GAUGE "Entries of a trust domain's list" ["domain" = OPEN];
    "crl_publish_duration_seconds" SECONDS "From the start of a publication until its CRL is committed" ["issuer" = OPEN];
    "crl_publish_failures_total" COUNTER "CRLs that could not be signed or stored" ["issuer" = OPEN];
    "ocsp_requests_total" COUNTER "OCSP requests by the status answered" ["issuer" = OPEN, "status" = &["good", "revoked", "unknown", "malformed", "unauthorized", "try_later"]];
    "ocsp_response_duration_seconds" SECONDS "From an OCSP request to its answer" [];
    "ocsp_signer_not_after_timestamp_seconds" GAUGE "End of the OCSP delegate's certificate" ["issuer" = OPEN];

    "acme_requests_total" COUNTER "ACME requests" ["directory" = OPEN, "endpoint" = OPEN, "status" = CLASSES, "error" = OPEN];
    "acme_orders" GAUGE "ACME orders by state" ["directory" = OPEN, "state" = &["pending", "ready", "processing", "valid", "invalid"]];
    "acme_challenges_total" COUNTER "Challenges decided" ["type" = OPEN, "outcome" = OPEN, "reason" = OPEN];
    "acme_validation_duration_seconds" SECONDS "One validation of a challenge" ["type" = OPEN];
    "acme_challenge_tests_total" COUNTER "Challenge tests that operators ran" ["type" = OPEN, "outcome" = &["proved", "open", "failed"]];
    "acme_caa_total" COUNTER "Names whose CAA records were looked up" ["outcome" = &["permitted", "logged", "refused"]];
    "acme_nonce_rejected_total" COUNTER "ACME requests with a nonce that was not good" [];
    "acme_renewals_total" COUNTER "Orders whose certificate replaces one by renewal information, or is for names that their account had one for" ["ari" = &["replaced", "none"]];

    "db_pool_connections" GAUGE "Connections to the database" ["state" = &["idle", "used"]];
    "db_commits_total" COUNTER "Transactions committed" [];
    "db_statements_total" COUNTER "Statements sent to the database" [];
    "commit_group_rows" ROWS "Rows that shared one commit" [];
    "clock_offset_seconds" GAUGE "This machine's clock minus the reference time" [];
    "database_clock_offset_seconds" GAUGE "The database's clock minus the reference time" [];
    "jobs" GAUGE "Queued jobs" ["kind" = OPEN, "state" = &["waiting", "running"]];
    "job_duration_seconds" SECONDS "One run of a queued job" ["kind" = OPEN];
    "periodic_runs_total" COUNTER "Turns of periodic work" ["job" = OPEN, "outcome" = &["done", "failed"]];
}

/// How a family is counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

const COUNTER: Kind = Kind::Counter;
const GAUGE: Kind = Kind::Gauge;
const SECONDS: Kind =
    Kind::Histogram(&[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
const ROWS: Kind = Kind::Histogram(&[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]);
