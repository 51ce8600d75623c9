//! `bootstrap URL --fingerprint F`: fetches a server's root, compares it, saves both as a context.

use clap::Args;
use serde_json::json;
use url::Url;

use super::contexts::{self, Contexts, Entry, LOCAL};
use super::failure::{Result, Trying};
use super::files;
use super::output;
use super::session::Context;
use super::trust::root::{Root, from_file, with_bundle};
use crate::client::anchor::{self, Fingerprint};
use crate::error::{Error, ErrorKind};
use crate::server::settings::Environment;

#[derive(Debug, Args)]
pub struct BootstrapArgs {
    /// The HTTPS address of the server, such as https://ca.lab.example:8443
    server: String,
    /// SHA-256 of its root certificate, in any spelling: from the receipt of the first start, or from `chancery ca show ROOT`
    /// on the server, such as tls-root or, after a change of the root, tls-root-2
    #[arg(long, value_name = "F")]
    fingerprint: Option<String>,
    /// Name of the context; the server's host name when not given, with its port where another port has that name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

pub async fn run(context: &Context, args: BootstrapArgs) -> Result<()> {
    let what = || format!("cannot trust {}", args.server);
    let url = address(&args.server).trying(what)?;
    let trusted = roots_of(&url, args.fingerprint.as_deref()).await.trying(what)?;

    let environment = Environment::of_process();
    let mut saved = Contexts::read(&environment).trying(what)?;
    let name = args.name.clone().or_else(|| usual_name(&saved, &url)).unwrap_or_default();
    if name == LOCAL || name.is_empty() || files::stem(&name) != name {
        let detail = format!(
            "\"{name}\" cannot be the name of a context: letters, digits and . _ - are allowed, and not \"{LOCAL}\"; choose one with --name"
        );
        return Err(Error::malformed(detail)).trying(what);
    }
    if let Some(known) = saved.contexts.get(&name) {
        refuse_another(&name, known, &url, &trusted).trying(what)?;
    }
    let roots = contexts::directory(&environment).trying(what)?.join("roots");
    contexts::private_directory(&roots).trying(what)?;
    let path = roots.join(format!("{name}.pem"));
    let text: String = trusted.iter().map(Root::pem).collect();
    files::write(&path, text.as_bytes(), 0o644, true).trying(what)?;
    let token_file = match &context.remote.token_file {
        Some(file) => Some(std::path::absolute(file).map_err(|e| Error::malformed(e.to_string())).trying(what)?),
        None => saved.contexts.get(&name).and_then(|known| known.token_file.clone()),
    };
    saved
        .contexts
        .insert(name.clone(), Entry { url: url.clone(), root: path.clone(), token_file: token_file.clone() });
    saved.current = Some(name.clone());
    saved.write(&environment).trying(what)?;

    if output::is_for_programs(context.output) {
        let prints: Vec<String> = trusted.iter().map(|root| root.fingerprint.to_string()).collect();
        let made = json!({
            "context": name, "url": url, "root": path, "root_sha256": prints.first(), "roots_sha256": prints,
            "token_file": token_file,
        });
        output::document(context.output, &made, "context")?;
        return Ok(());
    }
    output::say(&format!("{url} is the server with that root; its certificate was verified under it"));
    output::say(&format!("  roots    {}", path.display()));
    for root in &trusted {
        output::say(&format!("           {}  {}", root.fingerprint, root.subject));
    }
    output::say(&format!("  context  {name}, the current one from now on"));
    if token_file.is_none() {
        output::say(&format!(
            "  next     chancery context set {name} --token FILE     (a token of `chancery token create`)"
        ));
    }
    output::say("  next     chancery trust install     (for the other programs of this host)");
    Ok(())
}

/// The roots to save: the one of the fingerprint, and what else the server has in its bundle, so that the context still works
/// when the server moves to its next root. Without a fingerprint the roots that a context for this server holds
/// already prove it, as long as its certificate stands under one of them.
async fn roots_of(url: &str, fingerprint: Option<&str>) -> crate::error::Result<Vec<Root>> {
    if let Some(expected) = fingerprint {
        let root = anchor::pinned_root(url, Fingerprint::parse(expected)?).await?;
        return with_bundle(url, Root::new(root)?, Vec::new()).await;
    }
    let saved = Contexts::read(&Environment::of_process())?;
    for entry in saved.contexts.values().filter(|entry| entry.url == url) {
        let known = from_file(&entry.root).unwrap_or_default();
        for root in &known {
            if anchor::verify(url, &root.der).await.is_ok() {
                return with_bundle(url, root.clone(), known).await;
            }
        }
    }
    let found = Fingerprint::of(&anchor::fetch_root(url).await?);
    let detail = format!(
        "{url} shows a root with the fingerprint {found}, and nothing proves yet that it is the right one; compare it and run \
         this again with --fingerprint F: {}",
        anchor::WHERE
    );
    Err(Error::new(ErrorKind::Malformed, detail))
}

/// Scheme, host and port alone: a context is a server, and what stands around them would be lost or kept as a secret.
fn address(text: &str) -> crate::error::Result<String> {
    let is_plain = |url: &Url| {
        let more = url.query().is_some() || url.fragment().is_some() || url.path() != "/";
        url.scheme() == "https" && url.username().is_empty() && url.password().is_none() && !more
    };
    let plain = Url::parse(text).ok().filter(is_plain);
    let plain = plain.filter(|url| url.host_str().is_some_and(|host| !host.is_empty()));
    plain.map(|_| text.trim_end_matches('/').to_owned()).ok_or_else(|| {
        Error::malformed("it is not the address of a server; write https://HOST or https://HOST:PORT, without user, path and query")
    })
}

/// The server's host name; with its port where a context of that name is for another port.
fn usual_name(saved: &Contexts, url: &str) -> Option<String> {
    let parsed = Url::parse(url).ok()?;
    let host = parsed.host_str()?.trim_matches(['[', ']']).replace(':', "_");
    match saved.contexts.get(&host) {
        Some(known) if known.url != url => Some(format!("{host}-{}", parsed.port_or_known_default()?)),
        _ => Some(host),
    }
}

/// A context that means another installation is left alone: its token would go to this one.
fn refuse_another(name: &str, known: &Entry, url: &str, trusted: &[Root]) -> crate::error::Result<()> {
    let before = from_file(&known.root).unwrap_or_default();
    let shares_root = before.iter().any(|root| trusted.iter().any(|other| other.der == root.der));
    if shares_root || (known.url == url && known.token_file.is_none()) {
        return Ok(());
    }
    let detail = format!(
        "context {name} is of another installation, {} with other roots, and its token is not for this one; choose another \
         name with --name, or run `chancery context remove {name}` first",
        known.url
    );
    Err(Error::new(ErrorKind::Conflict, detail))
}
