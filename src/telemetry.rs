//! Logs and metrics. Logs go to stderr: text on a terminal, JSON lines elsewhere; `CHANCERY_LOG` is a filter.
//! Every metric family of what exists is described and stands at zero from the first scrape. Labels are bounded:
//! never names, serials or accounts.

use std::io::IsTerminal;
use std::sync::OnceLock;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::{Error, ErrorKind, Result};

const QUIET: &str = "info,sqlx=warn,hyper=warn,hyper_util=warn,h2=warn,rustls=error,hickory_resolver=error,hickory_proto=error,tower_http=warn";

/// Starts logging for this process. A second call changes nothing.
pub fn start_logs(filter: Option<&str>) -> Result<()> {
    let filter = EnvFilter::try_new(filter.unwrap_or(QUIET)).map_err(|e| {
        Error::new(
            ErrorKind::Config,
            format!("CHANCERY_LOG is not a log filter ({e}); write it as info or chancery=debug"),
        )
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // fails only when a subscriber is set already, which is the state that was asked for
    let _ = if std::io::stderr().is_terminal() {
        builder.with_target(false).finish().try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init()
    };
    Ok(())
}

/// Counters: family, help, label sets that exist from the start.
type Family = (&'static str, &'static str, &'static [&'static [(&'static str, &'static str)]]);
const COUNTERS: &[Family] = &[
    (
        "chancery_certificates_issued_total",
        "Certificates issued",
        &[&[("protocol", "rest")], &[("protocol", "acme")], &[("protocol", "cli")], &[("protocol", "internal")]],
    ),
    ("chancery_certificates_revoked_total", "Certificates revoked", &[&[]]),
    (
        "chancery_issuance_rejected_total",
        "Requests for a certificate that a rule refused",
        &[&[("protocol", "rest")], &[("protocol", "acme")], &[("protocol", "cli")], &[("protocol", "internal")]],
    ),
    ("chancery_signing_errors_total", "Signatures that failed or did not verify", &[&[]]),
    ("chancery_intents_recovered_total", "Intents without outcome that recovery revoked", &[&[]]),
    ("chancery_crl_publish_failures_total", "CRLs that could not be built or stored", &[&[]]),
    (
        "chancery_ocsp_requests_total",
        "OCSP requests by the status answered",
        &[&[("status", "good")], &[("status", "revoked")], &[("status", "unknown")], &[("status", "error")]],
    ),
    (
        "chancery_acme_requests_total",
        "ACME requests by status class",
        &[&[("status", "2xx")], &[("status", "4xx")], &[("status", "5xx")]],
    ),
    (
        "chancery_acme_challenges_total",
        "Challenges decided",
        &[&[("type", "http-01"), ("outcome", "valid")], &[("type", "http-01"), ("outcome", "invalid")]],
    ),
    ("chancery_acme_nonce_rejected_total", "ACME requests with a nonce that was not good", &[&[]]),
    (
        "chancery_http_requests_total",
        "HTTP requests by listener and status class",
        &[
            &[("listener", "https"), ("status", "2xx")],
            &[("listener", "https"), ("status", "4xx")],
            &[("listener", "https"), ("status", "5xx")],
            &[("listener", "http"), ("status", "2xx")],
            &[("listener", "http"), ("status", "4xx")],
            &[("listener", "http"), ("status", "5xx")],
        ],
    ),
    ("chancery_tls_handshake_failures_total", "TLS handshakes that failed or took too long", &[&[]]),
];

const GAUGES: &[(&str, &str)] = &[
    ("chancery_intents_stuck", "Intents without outcome that recovery cannot revoke"),
    ("chancery_connections", "Connections that are open now"),
    ("chancery_ready", "1 when /readyz answers 200"),
    ("chancery_locked", "1 when the server runs without its unlock key"),
    ("chancery_server_certificate_not_after_timestamp_seconds", "End of the server's own TLS certificate"),
];

const HISTOGRAMS: &[(&str, &str)] = &[
    ("chancery_issuance_duration_seconds", "From the decision to issue until the certificate is committed"),
    ("chancery_signing_duration_seconds", "One signature"),
    ("chancery_ocsp_response_duration_seconds", "From an OCSP request to its answer"),
    ("chancery_acme_validation_duration_seconds", "One validation of a challenge"),
    ("chancery_http_request_duration_seconds", "From a request's headers to its answer's headers"),
];

const BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

static METRICS: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// The process's one metrics recorder, installed at the first call.
pub fn metrics() -> Result<PrometheusHandle> {
    METRICS
        .get_or_init(|| install().ok())
        .clone()
        .ok_or_else(|| Error::new(ErrorKind::Internal, "another metrics recorder is installed in this process"))
}

fn install() -> Result<PrometheusHandle, Box<dyn std::error::Error>> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    describe_all();
    Ok(handle)
}

fn describe_all() {
    describe_gauge!("chancery_build_info", "The version that runs");
    gauge!("chancery_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    for (name, help, series) in COUNTERS {
        describe_counter!(*name, *help);
        for labels in *series {
            let labels: Vec<(&'static str, &'static str)> = labels.to_vec();
            counter!(*name, &labels).increment(0);
        }
    }
    for (name, help) in GAUGES {
        describe_gauge!(*name, *help);
        gauge!(*name).set(0.0);
    }
    for (name, help) in HISTOGRAMS {
        describe_histogram!(*name, *help);
        let _registered = histogram!(*name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_stands_at_zero_from_the_start() {
        let text = metrics().unwrap().render();
        let counters = COUNTERS.iter().map(|(name, ..)| *name);
        for name in counters.chain(GAUGES.iter().map(|g| g.0)).chain(HISTOGRAMS.iter().map(|h| h.0)) {
            assert!(text.contains(&format!("# HELP {name} ")), "{name} is not described in\n{text}");
            assert!(text.lines().any(|l| l.starts_with(name)), "{name} has no series");
        }
    }
}
