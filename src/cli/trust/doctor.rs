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
use crate::cli::output::{self, Column, Table};
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

impl Finding {
    /// A tool trusts the CA when it trusts each root of it: the next one signs before the old one goes.
    fn add(&mut self, of_other: Finding, other: &Root) {
        if self.trusted == Some(true) && of_other.trusted != Some(true) {
            self.trusted = of_other.trusted;
            self.note = joined([format!("it lacks {}", other.subject), of_other.note].into_iter());
        }
    }
}

/// A tool whose roots come from a file and a directory: the variables that name them, the strongest first.
struct FileTool {
    tool: &'static str,
    files: &'static [&'static str],
    directories: &'static [&'static str],
    /// With a variable set, the system's directory counts no more.
    alone: bool,
}

const fn openssl(tool: &'static str) -> FileTool {
    FileTool { tool, files: &["SSL_CERT_FILE"], directories: &["SSL_CERT_DIR"], alone: false }
}

const OPENSSL: FileTool = openssl("openssl, ruby, perl, php");
const PYTHON: FileTool = openssl("python (ssl, urllib)");
const GO: FileTool = openssl("go (kubectl, docker, caddy, terraform)");
const LEGO: FileTool = FileTool { tool: "lego", files: &["LEGO_CA_CERTIFICATES"], directories: &[], alone: true };
const REQUESTS: FileTool = FileTool {
    tool: "python requests, certbot, pip",
    files: &["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"],
    directories: &[],
    alone: true,
};

/// Certificates by the hash of their names, beside the bundle, on Debian and its kin. A variable that replaces the
/// bundle does not replace it.
const HASHED: &str = "/etc/ssl/certs";

pub async fn run(context: &Context, roots: &[Root], server: Option<&str>) -> Result<()> {
    let environment = Environment::of_process();
    let Some((root, others)) = roots.split_first() else { return Ok(()) };
    let mut findings = examine(&environment, root, server);
    for other in others {
        let of_other = examine(&environment, other, server);
        findings.iter_mut().zip(of_other).for_each(|(found, of_other)| found.add(of_other, other));
    }
    if let Some(server) = server {
        let answer = anchor::verify(server.trim_end_matches('/'), &root.der).await;
        findings.push(Finding {
            tool: "the server",
            uses: server.to_owned(),
            trusted: Some(answer.is_ok()),
            note: answer.err().map_or_else(|| "its certificate stands under this root".to_owned(), |e| e.detail),
        });
    }
    if output::is_for_programs(context.output) {
        let rows: Vec<_> = findings
            .iter()
            .map(|f| json!({"tool": f.tool, "uses": f.uses, "trusted": f.trusted, "note": f.note}))
            .collect();
        let told = json!({"root_sha256": root.fingerprint.to_string(), "tools": rows});
        output::document(context.output, &told, "root_sha256")?;
    } else {
        let mut table = Table::new(&[Column::Tool, Column::Trusts, Column::Uses, Column::Detail]);
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
    let lego = if environment.path("LEGO_CA_CERTIFICATES").is_some() { &LEGO } else { &openssl("lego") };
    let mut findings: Vec<Finding> =
        [&OPENSSL, &PYTHON, &GO, lego].map(|t| file_tool(environment, root, t)).into_iter().collect();
    findings.push(curl(environment, root));
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
    let given = |variables: &'static [&'static str]| -> Vec<(&'static str, PathBuf)> {
        variables.iter().filter_map(|v| Some((*v, environment.path(v)?))).collect()
    };
    let (files, directories) = (given(t.files), given(t.directories));
    let Some((name, path)) = files.first().or(directories.first()) else { return by_system(t.tool, root) };
    let file = files.first().map(|(_, path)| path.clone()).or_else(|| System::bundle().map(Path::to_path_buf));
    let directory = match directories.first() {
        Some((_, path)) => Some(path.clone()),
        None => (!t.alone).then(|| PathBuf::from(HASHED)),
    };
    let mut found = judged(t.tool, shown(name, path), root, file.as_deref(), directory.as_deref());
    let weaker = files.iter().skip(1).map(|(weaker, _)| format!("{name} overrides {weaker}"));
    let bundle = files.first().map(|(name, _)| format!("{name} replaces the system's bundle"));
    let hashed = directories.first().map(|(name, _)| format!("{name} replaces {HASHED}"));
    found.note = joined(weaker.chain(bundle).chain(hashed).chain([found.note]));
    found
}

/// Whether the root is in the file or, by its hash, in the directory.
fn judged(tool: &'static str, uses: String, root: &Root, file: Option<&Path>, directory: Option<&Path>) -> Finding {
    let in_file = file.is_some_and(|f| holds(f, root));
    let in_directory = directory.is_some_and(|d| holds_hashed(d, root));
    let note = match (in_file, in_directory, file, directory) {
        (true, ..) => String::new(),
        (false, true, _, Some(directory)) => format!("by {}, which still counts", directory.display()),
        (_, _, Some(file), _) => format!("the root is not in {}", file.display()),
        _ => String::new(),
    };
    Finding { tool, uses, trusted: Some(in_file || in_directory), note }
}

fn joined(notes: impl Iterator<Item = String>) -> String {
    notes.filter(|n| !n.is_empty()).collect::<Vec<_>>().join("; ")
}

fn by_system(tool: &'static str, root: &Root) -> Finding {
    let bundle = System::bundle();
    let trusted = bundle.map(|b| holds(b, root));
    let uses = bundle.map_or_else(|| "the system's store".to_owned(), |b| b.display().to_string());
    Finding { tool, uses, trusted, note: install(trusted, Kind::System) }
}

/// CURL_CA_BUNDLE is looked at first, and then neither SSL_CERT_FILE nor SSL_CERT_DIR.
fn curl(environment: &Environment, root: &Root) -> Finding {
    const NAME: &str = "curl";
    let Some(bundle) = environment.path("CURL_CA_BUNDLE") else {
        return file_tool(environment, root, &openssl(NAME));
    };
    let mut found = judged(NAME, shown("CURL_CA_BUNDLE", &bundle), root, Some(&bundle), Some(Path::new(HASHED)));
    let overridden = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter(|v| environment.path(v).is_some());
    found.note = joined(overridden.map(|v| format!("CURL_CA_BUNDLE overrides {v}")).chain([found.note]));
    found
}

/// GIT_SSL_CAINFO beats every http.sslCAInfo, also the one of the URL.
fn git(environment: &Environment, root: &Root, server: Option<&str>) -> Finding {
    const NAME: &str = "git (https)";
    let asked = |key: &str| {
        let git = program("git")?;
        let answer = match server {
            Some(url) => tool(&git, &["config", "--get-urlmatch", key, url]),
            None => tool(&git, &["config", "--get", key]),
        };
        answer.ok().filter(|p| !p.is_empty()).map(|p| expand(environment, &p))
    };
    let (variable, configured) = (environment.path("GIT_SSL_CAINFO"), asked("http.sslCAInfo"));
    let directory = environment.path("GIT_SSL_CAPATH").or_else(|| asked("http.sslCAPath"));
    let directory = directory.unwrap_or_else(|| PathBuf::from(HASHED));
    let (key, file, overrides) = match (variable, configured) {
        (Some(path), Some(_)) => ("GIT_SSL_CAINFO", path, "GIT_SSL_CAINFO overrides http.sslCAInfo"),
        (Some(path), None) => ("GIT_SSL_CAINFO", path, ""),
        (None, Some(path)) => ("http.sslCAInfo", path, ""),
        (None, None) => return by_system(NAME, root),
    };
    let mut found = judged(NAME, shown(key, &file), root, Some(&file), Some(&directory));
    found.note = joined([overrides.to_owned(), found.note].into_iter());
    found
}

/// requests, certbot and pip: a variable replaces their list; without one it is certifi's, which Debian's own
/// packages point at the system's bundle.
fn requests(environment: &Environment, root: &Root) -> Finding {
    if REQUESTS.files.iter().any(|v| environment.path(v).is_some()) {
        let mut found = file_tool(environment, root, &REQUESTS);
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
            Finding {
                tool: REQUESTS.tool,
                uses: format!("certifi: {}", path.display()),
                trusted: Some(trusted),
                note,
            }
        }
        None => Finding {
            tool: REQUESTS.tool,
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
        let found = file_tool(environment, root, &openssl(name));
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

/// A PEM bundle.
fn holds(path: &Path, root: &Root) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| root.is_in(&text))
}

/// A directory in which OpenSSL looks: `1a2b3c4d.0`.
fn holds_hashed(path: &Path, root: &Root) -> bool {
    let hashed = |name: &str| {
        name.split_once('.').is_some_and(|(hash, number)| {
            hash.len() == 8
                && hash.bytes().all(|b| b.is_ascii_hexdigit())
                && !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit())
        })
    };
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|e| e.file_name().to_str().is_some_and(hashed)).any(|e| holds(&e.path(), root))
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
    fn a_directory_counts_by_hashed_names_alone() {
        let (folder, root) = (tempfile::tempdir().unwrap(), root());
        std::fs::write(folder.path().join("a.crt"), root.pem()).unwrap();
        assert!(!holds_hashed(folder.path(), &root), "no program would find it there");
        std::fs::write(folder.path().join("0a1b2c3d.0"), root.pem()).unwrap();
        assert!(holds_hashed(folder.path(), &root));
        let (empty, hashed) = (folder.path().join("none.pem"), folder.path().display().to_string());
        std::fs::write(&empty, "").unwrap();
        let set = [("SSL_CERT_FILE", empty.to_str().unwrap()), ("SSL_CERT_DIR", &hashed)];
        let found = file_tool(&Environment::of(&set), &root, &GO);
        assert_eq!(found.trusted, Some(true));
        assert!(found.note.contains("SSL_CERT_FILE replaces the system's bundle"), "{}", found.note);
        assert!(found.note.contains("which still counts"), "{}", found.note);
    }
}
