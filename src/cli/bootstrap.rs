//! `bootstrap URL --fingerprint F`: fetches a server's root, compares it, saves both as a context.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use url::Url;

use super::contexts::{self, Contexts, Entry, LOCAL};
use super::failure::{Result, Trying};
use super::files;
use super::output::{self, Format};
use super::session::Context;
use crate::client::anchor::{self, Fingerprint};
use crate::error::{Error, ErrorKind};
use crate::pki::pem;
use crate::server::settings::Environment;

#[derive(Debug, Args)]
pub struct BootstrapArgs {
    /// The HTTPS address of the server, such as https://ca.lab.example:8443
    server: String,
    /// SHA-256 of its root certificate, as the server printed it at its first start; in any spelling
    #[arg(long, value_name = "F")]
    fingerprint: Option<String>,
    /// Name of the context; the server's host name when not given
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where the API token for it is
    #[arg(long = "token", value_name = "FILE")]
    token: Option<PathBuf>,
}

pub async fn run(context: &Context, args: BootstrapArgs) -> Result<()> {
    let what = || format!("cannot trust {}", args.server);
    let url = args.server.trim_end_matches('/').to_owned();
    let Some(expected) = &args.fingerprint else {
        let found = Fingerprint::of(&anchor::fetch_root(&url).await.trying(what)?);
        let detail = format!(
            "{url} shows a root with the fingerprint {found}, and nothing proves yet that it is the right one; compare it with what the server printed at its first start and run this again with --fingerprint"
        );
        return Err(Error::new(ErrorKind::Malformed, detail)).trying(what);
    };
    let expected = Fingerprint::parse(expected).trying(what)?;
    let root = anchor::pinned_root(&url, expected).await.trying(what)?;

    let environment = Environment::of_process();
    let name = args.name.clone().or_else(|| host(&url)).unwrap_or_default();
    if name == LOCAL || name.is_empty() || files::stem(&name) != name {
        let detail = format!(
            "\"{name}\" cannot be the name of a context: letters, digits and . _ - are allowed, and not \"{LOCAL}\"; choose one with --name"
        );
        return Err(Error::malformed(detail)).trying(what);
    }
    let roots = contexts::directory(&environment).trying(what)?.join("roots");
    contexts::private_directory(&roots).trying(what)?;
    let path = roots.join(format!("{name}.pem"));
    files::write(&path, pem::encode(pem::CERTIFICATE, &root).as_bytes(), 0o644, true).trying(what)?;
    let mut saved = Contexts::read(&environment).trying(what)?;
    let token_file = match &args.token {
        Some(file) => Some(std::path::absolute(file).map_err(|e| Error::malformed(e.to_string())).trying(what)?),
        None => saved.contexts.get(&name).and_then(|known| known.token_file.clone()),
    };
    saved
        .contexts
        .insert(name.clone(), Entry { url: url.clone(), root: path.clone(), token_file: token_file.clone() });
    saved.current = Some(name.clone());
    saved.write(&environment).trying(what)?;

    if context.output == Some(Format::Json) {
        return Ok(output::json(&json!({
            "context": name, "url": url, "root": path, "root_sha256": expected.to_string(), "token_file": token_file,
        }))?);
    }
    output::say(&format!("{url} is the server with that root; its certificate was verified under it"));
    output::say(&format!("  root     {}", path.display()));
    output::say(&format!("  context  {name}, the current one from now on"));
    if token_file.is_none() {
        output::say(&format!(
            "  next     chancery context set {name} --token FILE     (a token of `chancery token create`)"
        ));
    }
    output::say("  next     chancery trust install     (for the other programs of this host)");
    Ok(())
}

fn host(url: &str) -> Option<String> {
    Some(Url::parse(url).ok()?.host_str()?.trim_matches(['[', ']']).replace(':', "_"))
}
