//! The table of settings: each row is a flag, an environment variable and a TOML key, and a value keeps where it
//! came from (flag > environment > file > default). Names are fixed by design/surface.md; unknown keys are errors.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// One row. `flag` and `env` are empty where the table has none.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// TOML key, dotted inside a table; `config` itself has none.
    pub key: &'static str,
    pub flag: &'static str,
    pub env: &'static str,
    pub value_name: &'static str,
    pub help: &'static str,
    pub shape: Shape,
}

/// What a value looks like in TOML and in the JSON schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Text,
    Integer,
    Switch,
    List,
}

macro_rules! settings {
    ($($key:literal $flag:literal $env:literal $value:literal $shape:ident $help:literal;)+) => {
        pub const SETTINGS: &[Setting] = &[$(Setting {
            key: $key, flag: $flag, env: $env, value_name: $value, shape: Shape::$shape, help: $help,
        },)+];
    };
}

settings! {
    "config" "config" "CHANCERY_CONFIG" "FILE" Text "Read settings from this TOML file; none is read unless named";
    "data" "data" "CHANCERY_DATA" "DIR" Text "Directory for the database, keys and the server's own certificate";
    "database_url" "database-url" "CHANCERY_DATABASE_URL" "URL" Text "Where the database is: a URL, or key=value pairs of Postgres; SQLite in the data directory when not given";
    "allow_unsafe_database" "" "CHANCERY_ALLOW_UNSAFE_DATABASE" "" Switch "Start although the Postgres server runs with fsync=off: a crash loses certificates and revocations";
    "must_exist" "must-exist" "CHANCERY_MUST_EXIST" "" Switch "Refuse an empty database instead of making a CA in it: for every start after the first";
    "unlock_key" "unlock-key" "CHANCERY_UNLOCK_KEY" "FILE" Text "The key that unwraps the CA's keys; unlock.key in the data directory";
    "anchor" "" "CHANCERY_ANCHOR" "FILE" Text "What is remembered of the database outside of it: a file, or configmap:NAMESPACE/NAME in Kubernetes; anchor.json in the data directory";
    "anchor_credentials" "" "CHANCERY_ANCHOR_CREDENTIALS" "DIR" Text "Folder with token and ca.crt of the service account that patches the anchor's ConfigMap; where Kubernetes mounts them";
    "external_url" "external-url" "CHANCERY_EXTERNAL_URL" "URL" Text "Base of ACME URLs and links, as clients reach this server";
    "status_url" "status-url" "CHANCERY_STATUS_URL" "URL" Text "Base of CRL, OCSP and issuer pointers, fixed in each issuer at its creation";
    "listen" "listen" "CHANCERY_LISTEN" "ADDR" Text "HTTPS: ACME and REST";
    "listen_http" "listen-http" "CHANCERY_LISTEN_HTTP" "ADDR" Text "Plain HTTP: only CRL, OCSP, certificates and bundles";
    "listen_ops" "listen-ops" "CHANCERY_LISTEN_OPS" "ADDR" Text "Metrics and health";
    "listen_mtls" "listen-mtls" "CHANCERY_LISTEN_MTLS" "ADDR" Text "REST for clients with certificates";
    "only" "only" "CHANCERY_ONLY" "web|worker" Text "Run only the web or only the worker half";
    "locked" "locked" "CHANCERY_LOCKED" "" Switch "Start without the unlock key: issuing answers 503, status goes on";
    "drain" "" "CHANCERY_DRAIN" "LENGTH" Text "How long a stop waits for requests in flight";
    "hsts" "" "CHANCERY_HSTS" "LENGTH" Text "Strict-Transport-Security of the external URL's name for so long, such as 180d; off when not given";
    "trusted_proxies" "" "CHANCERY_TRUSTED_PROXIES" "CIDR,…" List "Networks of reverse proxies whose X-Forwarded-For and Forwarded name the client";
    "proxy_protocol" "" "CHANCERY_PROXY_PROTOCOL" "https,http,ops" List "Listeners whose connections begin with PROXY protocol v2; without it they are closed";
    "crl_backdate" "" "CHANCERY_CRL_BACKDATE" "LENGTH" Text "How far thisUpdate of CRL and OCSP lies back, for verifiers whose clock is behind";
    "checkpoints" "" "CHANCERY_CHECKPOINTS" "TARGET,…" List "Where audit checkpoints are published: file:/PATH, syslog:/dev/log, syslog:udp:HOST:PORT, https://HOST/PATH";
    "tls.certificate" "" "CHANCERY_TLS__CERTIFICATE" "FILE" Text "Your own TLS certificate chain (PEM) instead of one issued by this CA";
    "tls.key" "" "CHANCERY_TLS__KEY" "FILE" Text "The private key (PEM) of tls.certificate";
    "acme.http01_port" "" "CHANCERY_ACME__HTTP01_PORT" "PORT" Integer "Port that http-01 validation connects to";
    "acme.tls_alpn01_port" "" "CHANCERY_ACME__TLS_ALPN01_PORT" "PORT" Integer "Port that tls-alpn-01 validation connects to";
    "acme.resolvers" "" "CHANCERY_ACME__RESOLVERS" "IP:PORT,…" List "DNS resolvers; the system's when empty";
    "acme.allow_networks" "" "CHANCERY_ACME__ALLOW_NETWORKS" "CIDR,…" List "Networks that validation may connect to";
    "acme.deny_networks" "" "CHANCERY_ACME__DENY_NETWORKS" "CIDR,…" List "Networks that validation never connects to";
    "acme.allow_loopback" "" "CHANCERY_ACME__ALLOW_LOOPBACK" "" Switch "Let validation connect to loopback ports";
    "acme.dns_random_case" "" "CHANCERY_ACME__DNS_RANDOM_CASE" "" Switch "Change letter case in DNS questions at random (0x20); false for DNS servers that compare names letter by letter";
}

impl Setting {
    pub fn find(key: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|s| s.key == key)
    }

    /// How a person names the setting that a value came from.
    pub fn named(&self, origin: Origin) -> String {
        match origin {
            Origin::Flag => format!("--{}", self.flag),
            Origin::Environment => self.env.to_owned(),
            Origin::File | Origin::Credential | Origin::Default => self.key.to_owned(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Environment,
    File,
    Credential,
    Default,
}

impl Origin {
    pub const fn name(self) -> &'static str {
        match self {
            Origin::Flag => "flag",
            Origin::Environment => "environment",
            Origin::File => "file",
            Origin::Credential => "systemd credential",
            Origin::Default => "default",
        }
    }
}

/// Values from the command line by key; switches hold `true`.
pub type Flags = BTreeMap<&'static str, String>;

/// The surroundings that settings are read from, so that tests need not touch the process.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    pub fn of_process() -> Self {
        Environment(std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v))).collect())
    }

    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Environment(pairs.iter().map(|(k, v)| ((*k).to_owned(), OsString::from(v))).collect())
    }

    /// A variable that is set and not empty.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).and_then(|v| v.to_str()).filter(|v| !v.is_empty()).map(str::to_owned)
    }

    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.get(name).filter(|v| !v.is_empty()).map(PathBuf::from)
    }

    fn chancery_names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).filter(|k| k.starts_with("CHANCERY_"))
    }
}

/// What was given for each key, and where. Keys that nobody gave are absent. Does not print: a URL may hold a
/// password.
#[derive(Clone, Default)]
pub struct Given(BTreeMap<&'static str, (String, Origin)>);

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Given({:?})", self.0.keys())
    }
}

impl Given {
    /// Reads flags, environment and the file that one of them names.
    pub fn read(flags: &Flags, environment: &Environment) -> Result<Given> {
        let mut given = Given::default();
        for setting in SETTINGS {
            if let Some(value) = flags.get(setting.key) {
                given.0.insert(setting.key, (value.clone(), Origin::Flag));
            } else if let Some(value) = environment.text(setting.env) {
                given.0.insert(setting.key, (value, Origin::Environment));
            }
        }
        refuse_unknown_variables(environment)?;
        if let Some(path) = given.value("config").map(PathBuf::from) {
            for (key, value) in read_file(&path)? {
                given.0.entry(key).or_insert((value, Origin::File));
            }
        }
        Ok(given)
    }

    pub fn get(&self, key: &str) -> Option<(&str, Origin)> {
        self.0.get(key).map(|(value, origin)| (value.as_str(), *origin))
    }

    pub fn value(&self, key: &str) -> Option<&str> {
        self.get(key).map(|(value, _)| value)
    }

    /// The value read by `parse`, whose error becomes one sentence that names the setting.
    pub fn parse<T>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>> {
        let Some((value, origin)) = self.get(key) else { return Ok(None) };
        let name = Setting::find(key).map_or_else(|| key.to_owned(), |s| s.named(origin));
        parse(value).map(Some).map_err(|why| config_error(format!("{name} ({}): {why}", origin.name())))
    }
}

pub fn config_error(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, detail)
}

/// Variables that CHANCERY_ programs other than the server read: the client's and the tests'.
const OTHER_VARIABLES: &[&str] = &[
    "CHANCERY_URL",
    "CHANCERY_TOKEN_FILE",
    "CHANCERY_ROOT",
    "CHANCERY_CONTEXT",
    "CHANCERY_LOG",
    "CHANCERY_LOG_FORMAT",
    "CHANCERY_TEST_POSTGRES_URL",
];

fn refuse_unknown_variables(environment: &Environment) -> Result<()> {
    let known: Vec<&str> = SETTINGS.iter().map(|s| s.env).chain(OTHER_VARIABLES.iter().copied()).collect();
    for name in environment.chancery_names() {
        // Kubernetes makes CHANCERY_PORT, CHANCERY_SERVICE_HOST, … for a Service of that name
        let from_kubernetes = name.starts_with("CHANCERY_PORT") || name.starts_with("CHANCERY_SERVICE_");
        let test = name.starts_with("CHANCERY_TEST_") || name.starts_with("CHANCERY_BENCH_");
        if !known.contains(&name) && !from_kubernetes && !test {
            let hint = suggestion(name, &known);
            return Err(config_error(format!("the environment variable {name} is no setting{hint}")));
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<Vec<(&'static str, String)>> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        config_error(format!("cannot read the configuration file {}: {e}; name an existing file", path.display()))
    })?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        let line = e.span().map_or(1, |s| text[..s.start.min(text.len())].lines().count().max(1));
        config_error(format!("{} line {line} is not TOML: {}", path.display(), e.message()))
    })?;
    let mut values = Vec::new();
    for (key, value) in &table {
        match value {
            toml::Value::Table(inner) if is_section(key) => {
                for (inner_key, inner_value) in inner {
                    values.push(file_value(path, &format!("{key}.{inner_key}"), inner_value)?);
                }
            }
            other => values.push(file_value(path, key, other)?),
        }
    }
    Ok(values)
}

fn is_section(key: &str) -> bool {
    SETTINGS.iter().any(|s| s.key.split_once('.').is_some_and(|(section, _)| section == key))
}

fn file_value(path: &Path, key: &str, value: &toml::Value) -> Result<(&'static str, String)> {
    let Some(setting) = Setting::find(key).filter(|s| s.key != "config") else {
        let known: Vec<&str> = SETTINGS.iter().map(|s| s.key).filter(|k| *k != "config").collect();
        let hint = suggestion(key, &known);
        return Err(config_error(format!("{} has the unknown key \"{key}\"{hint}", path.display())));
    };
    let wrong = |wanted: &str| {
        Err(config_error(format!("{}: {key} is {}, and wants {wanted}", path.display(), value.type_str())))
    };
    let text = match (setting.shape, value) {
        (Shape::Text, toml::Value::String(text)) => text.clone(),
        (Shape::Integer, toml::Value::Integer(number)) => number.to_string(),
        (Shape::Switch, toml::Value::Boolean(on)) => on.to_string(),
        (Shape::List, toml::Value::Array(items)) => {
            match items.iter().map(|v| v.as_str()).collect::<Option<Vec<_>>>() {
                Some(items) => items.join(","),
                None => return wrong("a list of strings"),
            }
        }
        (Shape::Text, _) => return wrong("a string"),
        (Shape::Integer, _) => return wrong("a whole number"),
        (Shape::Switch, _) => return wrong("true or false"),
        (Shape::List, _) => return wrong("a list of strings"),
    };
    Ok((setting.key, text))
}

/// `; did you mean X?` when one known word is near, else where to see them all.
fn suggestion(word: &str, known: &[&str]) -> String {
    let near = known.iter().map(|k| (distance(word, k), *k)).min();
    match near {
        Some((distance, name)) if distance <= 3 && distance * 2 < word.len() => format!("; did you mean {name}?"),
        _ => "; `chancery config show` lists them all".to_owned(),
    }
}

/// Levenshtein over bytes: the words are short ASCII.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// The JSON schema of the configuration file, for editors.
pub fn json_schema() -> serde_json::Value {
    let mut properties = serde_json::Map::new();
    for setting in SETTINGS.iter().filter(|s| s.key != "config") {
        let kind = match setting.shape {
            Shape::Text => serde_json::json!({"type": "string"}),
            Shape::Integer => serde_json::json!({"type": "integer", "minimum": 1, "maximum": 65535}),
            Shape::Switch => serde_json::json!({"type": "boolean"}),
            Shape::List => serde_json::json!({"type": "array", "items": {"type": "string"}}),
        };
        let mut kind = kind;
        kind["description"] = setting.help.into();
        match setting.key.split_once('.') {
            None => {
                properties.insert(setting.key.to_owned(), kind);
            }
            Some((section, key)) => {
                let section = properties.entry(section).or_insert_with(
                    || serde_json::json!({"type": "object", "additionalProperties": false, "properties": {}}),
                );
                section["properties"][key] = kind;
            }
        }
    }
    serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "chancery.toml",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}
