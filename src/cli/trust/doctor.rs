//! `trust doctor`: for each kind of tool, the store or variable that it will use on this host, what overrides what,
//! and whether the root is there. The precedence was tried with the tools themselves (reference/operators.md §1.3).

use std::path::{Path, PathBuf};

use serde_json::json;

use super::Kind;
use super::java::Java;
use super::nss;
use super::root::Root;
use super::store::{State, TrustStore, program, tool};
use super::system::System;
use crate::cli::failure::{Cause, Failure, Result};
use crate::cli::output::{self, Format, Table};
use crate::cli::session::Context;
use crate::client::anchor;
use crate::server::settings::Environment;

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub tool: &'static str,
    pub uses: String,
    pub trusted: Option<bool>,
    pub note: String,
}

/// A tool whose roots come from files: the variables that name them, the strongest first.
struct FileTool {
    tool: &'static str,
    variables: &'static [&'static str],
}

const FILE_TOOLS: &[FileTool] = &[
    FileTool { tool: "curl", variables: &["CURL_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"] },
    FileTool { tool: "openssl, ruby, perl, php", variables: &["SSL_CERT_FILE", "SSL_CERT_DIR"] },
    FileTool { tool: "python (ssl, urllib)", variables: &["SSL_CERT_FILE", "SSL_CERT_DIR"] },
    FileTool { tool: "go (kubectl, docker, caddy, terraform)", variables: &["SSL_CERT_FILE", "SSL_CERT_DIR"] },
    FileTool { tool: "lego", variables: &["LEGO_CA_CERTIFICATES", "SSL_CERT_FILE", "SSL_CERT_DIR"] },
    FileTool { tool: "aws", variables: &["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"] },
];

pub async fn run(context: &Context, root: &Root, server: Option<&str>) -> Result<()> {
    let environment = Environment::of_process();
    let mut findings = examine(&environment, root, server);
    if let Some(server) = server {
        let answer = anchor::verify(server.trim_end_matches('/'), &root.der).await;
        findings.push(Finding {
            tool: "the server",
            uses: server.to_owned(),
            trusted: Some(answer.is_ok()),
            note: answer.err().map_or_else(|| "its certificate stands under this root".to_owned(), |e| e.detail),
        });
    }
    if context.output == Some(Format::Json) {
        let rows: Vec<_> = findings
            .iter()
            .map(|f| json!({"tool": f.tool, "uses": f.uses, "trusted": f.trusted, "note": f.note}))
            .collect();
        output::json(&json!({"root_sha256": root.fingerprint.to_string(), "tools": rows}))?;
    } else {
        let mut table = Table::new(&["TOOL", "TRUSTS", "BY", "NOTE"]);
        for f in &findings {
            let trusted = match f.trusted {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "unknown",
            };
            table.row(vec![f.tool.to_owned(), trusted.to_owned(), f.uses.clone(), f.note.clone()]);
        }
        table.print()?;
    }
    if findings.iter().any(|f| f.trusted == Some(false)) {
        return Err(Failure { what: String::new(), cause: Cause::Check(11) });
    }
    Ok(())
}

pub fn examine(environment: &Environment, root: &Root, server: Option<&str>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = FILE_TOOLS.iter().map(|t| file_tool(environment, root, t)).collect();
    findings.push(git(environment, root, server));
    findings.push(requests(environment, root));
    findings.push(node(environment, root));
    findings.push(java(environment, root));
    for store in nss::find(environment) {
        let trusted = match store.state(root) {
            State::Trusted => Some(true),
            State::Absent => Some(false),
            State::Unusable(_) => None,
        };
        let note = install(trusted, Kind::Nss);
        findings.push(Finding { tool: "firefox, chromium", uses: store.place(root), trusted, note });
    }
    findings
}

fn file_tool(environment: &Environment, root: &Root, t: &FileTool) -> Finding {
    let set: Vec<(&str, PathBuf)> = t.variables.iter().filter_map(|v| Some((*v, environment.path(v)?))).collect();
    let Some((variable, path)) = set.first() else { return by_system(t.tool, root) };
    let trusted = holds(path, root);
    let mut note: Vec<String> =
        set.iter().skip(1).map(|(weaker, _)| format!("{variable} overrides {weaker}")).collect();
    note.push(format!("{variable} replaces the system's store"));
    if !trusted {
        note.push(format!("unset {variable} or add the root to {}", path.display()));
    }
    Finding { tool: t.tool, uses: shown(variable, path), trusted: Some(trusted), note: note.join("; ") }
}

fn by_system(tool: &'static str, root: &Root) -> Finding {
    let bundle = System::bundle();
    let trusted = bundle.map(|b| holds(b, root));
    let uses = bundle.map_or_else(|| "the system's store".to_owned(), |b| b.display().to_string());
    Finding { tool, uses, trusted, note: install(trusted, Kind::System) }
}

/// GIT_SSL_CAINFO beats every http.sslCAInfo, also the one of the URL.
fn git(environment: &Environment, root: &Root, server: Option<&str>) -> Finding {
    let name = "git (https)";
    let configured = program("git").and_then(|git| {
        let asked = match server {
            Some(url) => tool(&git, &["config", "--get-urlmatch", "http.sslCAInfo", url]),
            None => tool(&git, &["config", "--get", "http.sslCAInfo"]),
        };
        asked.ok().filter(|p| !p.is_empty()).map(|p| expand(environment, &p))
    });
    let (key, path) = match (environment.path("GIT_SSL_CAINFO"), configured) {
        (Some(path), other) => {
            let mut found = named(name, "GIT_SSL_CAINFO", &path, root);
            if other.is_some() {
                found.note = format!("GIT_SSL_CAINFO overrides http.sslCAInfo; {}", found.note);
            }
            return found;
        }
        (None, Some(path)) => ("http.sslCAInfo", path),
        (None, None) => return by_system(name, root),
    };
    named(name, key, &path, root)
}

fn named(tool: &'static str, key: &str, path: &Path, root: &Root) -> Finding {
    let trusted = holds(path, root);
    let note = if trusted { String::new() } else { format!("add the root to {} or drop {key}", path.display()) };
    Finding { tool, uses: shown(key, path), trusted: Some(trusted), note }
}

/// requests, certbot and pip: a variable replaces their list; without one it is certifi's, which Debian's own
/// packages point at the system's bundle.
fn requests(environment: &Environment, root: &Root) -> Finding {
    const TOOL: FileTool =
        FileTool { tool: "python requests, certbot, pip", variables: &["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] };
    if TOOL.variables.iter().any(|v| environment.path(v).is_some()) {
        let mut found = file_tool(environment, root, &TOOL);
        if let Some(pip) = environment.path("PIP_CERT") {
            found.note = format!("{}; pip alone uses PIP_CERT={}", found.note, pip.display());
        }
        return found;
    }
    let list = program("python3").and_then(|p| tool(&p, &["-c", "import certifi; print(certifi.where())"]).ok());
    match list.map(PathBuf::from) {
        Some(path) => {
            let trusted = holds(&path, root);
            let note = if trusted {
                String::new()
            } else {
                match System::bundle() {
                    Some(bundle) => format!("export REQUESTS_CA_BUNDLE={}", bundle.display()),
                    None => "set REQUESTS_CA_BUNDLE".to_owned(),
                }
            };
            Finding { tool: TOOL.tool, uses: format!("certifi: {}", path.display()), trusted: Some(trusted), note }
        }
        None => Finding {
            tool: TOOL.tool,
            uses: "certifi, where it is installed".to_owned(),
            trusted: None,
            note: "REQUESTS_CA_BUNDLE replaces it".to_owned(),
        },
    }
}

/// Node has its own list; NODE_EXTRA_CA_CERTS adds to it, options turn it to the system's.
fn node(environment: &Environment, root: &Root) -> Finding {
    let name = "node, npm";
    let options = environment.text("NODE_OPTIONS").unwrap_or_default();
    if let Some(path) = environment.path("NODE_EXTRA_CA_CERTS") {
        let trusted = holds(&path, root);
        let note =
            if trusted { "added to Node's own list" } else { "NODE_EXTRA_CA_CERTS names a file without the root" };
        return Finding {
            tool: name,
            uses: shown("NODE_EXTRA_CA_CERTS", &path),
            trusted: Some(trusted),
            note: note.to_owned(),
        };
    }
    if options.contains("--use-openssl-ca") || options.contains("--use-system-ca") {
        let found =
            file_tool(environment, root, &FileTool { tool: name, variables: &["SSL_CERT_FILE", "SSL_CERT_DIR"] });
        return Finding { note: format!("by NODE_OPTIONS; {}", found.note), ..found };
    }
    let note = System::bundle().map_or_else(String::new, |b| format!("export NODE_EXTRA_CA_CERTS={}", b.display()));
    Finding { tool: name, uses: "its own list".to_owned(), trusted: Some(false), note }
}

fn java(environment: &Environment, root: &Root) -> Finding {
    let name = "java";
    let options = environment.text("JAVA_TOOL_OPTIONS").unwrap_or_default();
    if let Some(own) = options.split_whitespace().find_map(|o| o.strip_prefix("-Djavax.net.ssl.trustStore=")) {
        let note = "JAVA_TOOL_OPTIONS replaces cacerts".to_owned();
        return Finding { tool: name, uses: own.to_owned(), trusted: None, note };
    }
    let store = Java::find(environment);
    match store.state(root) {
        State::Unusable(why) => Finding { tool: name, uses: store.place(root), trusted: None, note: why },
        state => {
            let trusted = Some(state == State::Trusted);
            Finding { tool: name, uses: store.place(root), trusted, note: install(trusted, Kind::Java) }
        }
    }
}

fn install(trusted: Option<bool>, kind: Kind) -> String {
    if trusted == Some(false) { format!("chancery trust install --store {}", kind.name()) } else { String::new() }
}

fn shown(key: &str, path: &Path) -> String {
    format!("{key}={}", path.display())
}

fn expand(environment: &Environment, path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), environment.path("HOME")) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// A PEM bundle, or a directory of them.
fn holds(path: &Path, root: &Root) -> bool {
    let file = |path: &Path| std::fs::read_to_string(path).is_ok_and(|text| root.is_in(&text));
    if path.is_dir() {
        return std::fs::read_dir(path).into_iter().flatten().flatten().any(|e| file(&e.path()));
    }
    file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Root {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Root::new(params.self_signed(&key).unwrap().der().to_vec()).unwrap()
    }

    fn of(findings: &[Finding], tool: &str) -> Finding {
        findings.iter().find(|f| f.tool.starts_with(tool)).unwrap().clone()
    }

    #[test]
    fn the_strongest_variable_is_named_and_what_it_overrides() {
        let (folder, root) = (tempfile::tempdir().unwrap(), root());
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let with = file("with.pem", &root.pem());
        let without = file("without.pem", "");
        let environment = Environment::of(&[
            ("CURL_CA_BUNDLE", &without),
            ("SSL_CERT_FILE", &with),
            ("REQUESTS_CA_BUNDLE", &with),
            ("GIT_SSL_CAINFO", &without),
            ("NODE_EXTRA_CA_CERTS", &with),
            ("JAVA_TOOL_OPTIONS", "-Xmx1g -Djavax.net.ssl.trustStore=/own.jks"),
        ]);
        let found = examine(&environment, &root, None);
        let curl = of(&found, "curl");
        assert_eq!((curl.trusted, curl.uses), (Some(false), format!("CURL_CA_BUNDLE={without}")));
        assert!(curl.note.starts_with("CURL_CA_BUNDLE overrides SSL_CERT_FILE"), "{}", curl.note);
        assert_eq!(of(&found, "go").trusted, Some(true));
        assert_eq!(of(&found, "python requests").trusted, Some(true));
        assert_eq!(of(&found, "git").trusted, Some(false));
        assert_eq!(of(&found, "node").note, "added to Node's own list");
        assert_eq!(of(&found, "java").uses, "/own.jks");
    }

    #[test]
    fn a_directory_of_certificates_counts_too() {
        let (folder, root) = (tempfile::tempdir().unwrap(), root());
        assert!(!holds(folder.path(), &root));
        std::fs::write(folder.path().join("a.crt"), root.pem()).unwrap();
        assert!(holds(folder.path(), &root));
        assert!(!holds(&folder.path().join("gone.pem"), &root));
    }
}
