//! Logs and metrics. Logs go to stderr: text on a terminal, JSON lines elsewhere; `CHANCERY_LOG` is a filter, and
//! `CHANCERY_LOG_FORMAT` json or text.
//! Every metric family of what exists is described and stands at zero from the first scrape, with the labels that
//! its live series have.

pub mod families;

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

use self::families::{FAMILIES, Family, Kind};
use crate::error::{Error, ErrorKind, Result};

/// The target of the one line a request: `CHANCERY_LOG=info` shows them all, by default only faults of ours.
pub const REQUESTS: &str = "chancery::request";

/// What libraries may say.
const LIBRARIES: &str = "sqlx=warn,hyper=warn,hyper_util=warn,h2=warn,rustls=error,hickory_resolver=error,hickory_proto=error,tower_http=warn";
const QUIET: &str = "info,chancery::request=warn";

/// How the log's lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere; what is said besides is text.
    Usual,
    Text,
    /// Every line on stderr is a JSON object.
    Json,
}

impl LogFormat {
    pub fn parse(text: Option<&str>) -> Result<LogFormat> {
        match text {
            None => Ok(LogFormat::Usual),
            Some("text") => Ok(LogFormat::Text),
            Some("json") => Ok(LogFormat::Json),
            Some(other) => {
                let shown = other.escape_debug();
                Err(Error::new(
                    ErrorKind::Config,
                    format!("CHANCERY_LOG_FORMAT \"{shown}\" is neither json nor text"),
                ))
            }
        }
    }

    /// Are the log's lines read by people, as what is said besides?
    pub fn is_text(self) -> bool {
        match self {
            LogFormat::Usual => std::io::stderr().is_terminal(),
            LogFormat::Text => true,
            LogFormat::Json => false,
        }
    }
}

/// Starts logging for this process, to stderr by way of `writer`. A second call changes nothing.
pub fn start_logs<W: io::Write>(
    filter: Option<&str>,
    format: LogFormat,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> Result<()> {
    let levels = levels(filter.unwrap_or(QUIET))?;
    // no colours: their escapes cannot be told from those that a name brings along
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
    // fails only when a subscriber is set already, which is the state that was asked for
    let _ = if format.is_text() {
        registry().with(levels).with(lines.with_target(false)).try_init()
    } else {
        registry().with(levels).with(lines.json().flatten_event(true).with_span_list(false)).try_init()
    };
    Ok(())
}

/// `info`, or `warn,chancery::request=info`: levels by target, those of libraries unless they are named.
fn levels(filter: &str) -> Result<Targets> {
    let wrong = || {
        let shown = filter.chars().take(80).collect::<String>();
        let detail = format!(
            "CHANCERY_LOG \"{}\" is no list of levels; write it as info or warn,chancery=debug",
            shown.escape_debug()
        );
        Error::new(ErrorKind::Config, detail)
    };
    // a bare word that is no level would be taken for a target with every level
    let bare_words = filter.split(',').filter(|part| !part.contains('='));
    if !bare_words.map(str::trim).all(|word| word.parse::<LevelFilter>().is_ok()) {
        return Err(wrong());
    }
    format!("{LIBRARIES},{filter}").parse().map_err(|_| wrong())
}

static METRICS: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// The process's one metrics recorder, installed at the first call.
pub fn metrics() -> Result<PrometheusHandle> {
    METRICS
        .get_or_init(|| install().ok())
        .clone()
        .ok_or_else(|| Error::new(ErrorKind::Internal, "another metrics recorder is installed in this process"))
}

fn install() -> Result<PrometheusHandle, Box<dyn std::error::Error>> {
    let mut builder = PrometheusBuilder::new();
    for family in FAMILIES {
        if let Kind::Histogram(buckets) = family.kind {
            builder = builder.set_buckets_for_metric(Matcher::Full(family.name.to_owned()), buckets)?;
        }
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    for family in FAMILIES {
        match family.kind {
            Kind::Counter => describe_counter!(family.name, family.help),
            Kind::Gauge => describe_gauge!(family.name, family.help),
            Kind::Histogram(_) => describe_histogram!(family.name, family.help),
        }
        if family.labels.iter().all(|(_, values)| !values.is_empty()) {
            stand(family, &[]);
        }
    }
    gauge!("chancery_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Makes every series of a family stand at zero that has these values of its open labels. A series that moved
/// already stays as it is.
pub fn zero(name: &str, open: &[(&str, &str)]) {
    if let Some(family) = FAMILIES.iter().find(|family| family.name == name) {
        stand(family, open);
    }
}

/// The product of the given values and of those in the table.
fn stand(family: &Family, open: &[(&str, &str)]) {
    let mut sets: Vec<Vec<(&'static str, String)>> = vec![Vec::new()];
    for (label, values) in family.labels {
        let given = open.iter().filter(|(name, _)| name == label).map(|(_, value)| *value);
        let values: Vec<&str> =
            given.clone().chain(values.iter().copied().filter(|_| given.clone().next().is_none())).collect();
        let with = |set: &Vec<(&'static str, String)>, value: &str| {
            set.iter().cloned().chain([(*label, value.to_owned())]).collect()
        };
        sets = sets.iter().flat_map(|set| values.iter().map(move |value| with(set, value))).collect();
    }
    for labels in &sets {
        match family.kind {
            Kind::Counter => counter!(family.name, labels).increment(0),
            Kind::Gauge => gauge!(family.name, labels).increment(0.0),
            Kind::Histogram(_) => drop(histogram!(family.name, labels)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_by_target_and_libraries_stay_quiet() {
        use tracing::Level;
        let quiet = levels(QUIET).unwrap();
        assert!(quiet.would_enable("chancery::jobs", &Level::INFO));
        assert!(!quiet.would_enable(REQUESTS, &Level::INFO) && quiet.would_enable(REQUESTS, &Level::WARN));
        let all = levels("debug").unwrap();
        assert!(all.would_enable(REQUESTS, &Level::DEBUG) && !all.would_enable("sqlx::query", &Level::INFO));
        assert!(levels("warn,sqlx=debug").unwrap().would_enable("sqlx::query", &Level::DEBUG));
        for wrong in ["loud", "chancery=loud", "a=b=c"] {
            let error = levels(wrong).unwrap_err();
            assert!(error.kind == ErrorKind::Config && error.detail.contains(wrong), "{error}");
        }
    }

    #[test]
    fn every_family_is_described_and_stands_at_zero_with_all_of_its_labels() {
        let handle = metrics().unwrap();
        for family in FAMILIES {
            let open: Vec<_> =
                family.labels.iter().filter(|(_, v)| v.is_empty()).map(|(label, _)| (*label, "x")).collect();
            zero(family.name, &open);
        }
        let text = handle.render();
        for family in FAMILIES {
            assert!(text.contains(&format!("# HELP {} ", family.name)), "{} is not described", family.name);
            let mut series = text.lines().filter(|l| l.starts_with(&format!("{}{{", family.name)));
            let plain = text.lines().any(|l| l.starts_with(&format!("{} ", family.name)));
            match (family.kind, family.labels) {
                (Kind::Histogram(_), _) => {
                    assert!(text.contains(&format!("{}_count", family.name)), "{}", family.name)
                }
                (_, []) => assert!(plain, "{}", family.name),
                (_, labels) => assert!(
                    series.any(|l| labels.iter().all(|(label, _)| l.contains(&format!("{label}=\"")))),
                    "{} has no series",
                    family.name
                ),
            }
        }
    }
}
