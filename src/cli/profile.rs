//! `profile list|show|create|edit|test|export|apply`: rules as files, one profile each, in JSON or TOML.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::failure::{Result, Trying};
use super::listing::{self, ListOrShow};
use super::output::{self, Column, Table};
use super::session::Context;
use crate::client::{Client, encode};
use crate::error::{Error, ErrorKind};

#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// List the profiles, one line each
    List,
    /// Show the rules of a profile
    Show {
        /// The profile, such as tls-server
        name: String,
    },
    /// Make a profile of the rules in a file
    Create {
        /// The rules in JSON, or TOML by its name
        file: PathBuf,
    },
    /// Change a profile in $EDITOR
    Edit {
        /// The profile, such as tls-server
        name: String,
    },
    /// Show the certificate that a CSR would get, or the rule that refuses it
    Test(TestArgs),
    /// Write profiles to files NAME.json in --out, or one profile to stdout
    Export {
        /// The profiles [default: all]
        names: Vec<String>,
        /// The directory for the files
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Create or change profiles so that they are as in these files
    Apply {
        /// Rules in JSON, or TOML by their names
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct TestArgs {
    /// The profile, such as tls-server
    name: String,
    /// A CSR in PEM or DER
    csr: PathBuf,
    /// The lifetime to ask for
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,
    /// The common name to ask for
    #[arg(long, value_name = "TEXT")]
    common_name: Option<String>,
    /// The issuer to ask
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,
}

const PROFILES: &str = "/api/v1/profiles";

pub async fn run(context: &Context, command: ProfileCommand) -> Result<()> {
    match command {
        ProfileCommand::List => listing::run(context, &listing::PROFILES, ListOrShow::List).await,
        ProfileCommand::Show { name } => listing::run(context, &listing::PROFILES, ListOrShow::Show { name }).await,
        ProfileCommand::Create { file } => {
            let rules = read(&file)?;
            let client = context.client().await?;
            let what = || format!("cannot create the profile of {}", file.display());
            let made = client.post(PROFILES, &rules).await.trying(what)?;
            told(context, "created", &made)
        }
        ProfileCommand::Edit { name } => edit(context, &name).await,
        ProfileCommand::Test(args) => test(context, args).await,
        ProfileCommand::Export { names, out } => export(context, names, out).await,
        ProfileCommand::Apply { files } => {
            let rules = files.iter().map(|file| read(file)).collect::<Result<Vec<_>>>()?;
            let client = context.client().await?;
            for (file, rules) in files.iter().zip(rules) {
                let what = || format!("cannot apply {}", file.display());
                let name = rules["name"].as_str().unwrap_or_default().to_owned();
                match present(&client, &name).await? {
                    None => told(context, "created", &client.post(PROFILES, &rules).await.trying(what)?)?,
                    Some(before) => {
                        let after = replace(&client, &before, &rules).await.trying(what)?;
                        let same = before["revision"] == after["revision"];
                        told(context, if same { "same" } else { "changed" }, &after)?;
                    }
                }
            }
            Ok(())
        }
    }
}

/// What is there under this name.
async fn present(client: &Client, name: &str) -> Result<Option<Value>> {
    let page = client.get(PROFILES).await.trying(|| "cannot list profiles".into())?;
    Ok(page["items"].as_array().into_iter().flatten().find(|item| item["slug"] == name).cloned())
}

/// On the revision that was read: a change made meanwhile by somebody else is not lost.
async fn replace(
    client: &Client,
    before: &Value,
    rules: &Value,
) -> std::result::Result<Value, crate::client::Refusal> {
    let path = format!("{PROFILES}/{}", encode(before["slug"].as_str().unwrap_or_default()));
    let tag = format!("\"{}\"", before["revision"]);
    client.put_if(&path, Some(&tag), rules).await
}

fn told(context: &Context, word: &str, profile: &Value) -> Result<()> {
    if output::document(context.output, profile, "slug")? {
        return Ok(());
    }
    output::say(&format!(
        "{word:<8} {}  revision {}",
        output::text(profile, "slug"),
        output::text(profile, "revision")
    ));
    Ok(())
}

async fn edit(context: &Context, name: &str) -> Result<()> {
    let editor = std::env::var("VISUAL").or_else(|_| std::env::var("EDITOR")).unwrap_or_else(|_| "vi".into());
    let client = context.client().await?;
    let what = || format!("cannot edit the profile {name}");
    let before = client.get(&format!("{PROFILES}/{}", encode(name))).await.trying(what)?;
    let slug = output::text(&before, "slug");
    let file = std::env::temp_dir().join(format!("chancery-{slug}-{}.json", std::process::id()));
    write(&file, &before["rules"])?;
    // an editor with arguments, as git takes it; it may stay open for hours, in which connections are kept alive
    let ended = tokio::process::Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("sh")
        .arg(&file)
        .status()
        .await
        .map_err(|e| unusable(&editor, &e))?;
    let rules = read(&file);
    if !ended.success() {
        return Err(Error::new(ErrorKind::Config, format!("{editor} ended with {ended}: nothing was changed")).into());
    }
    // a refusal leaves the file, so that nothing that was typed is lost
    let after = replace(&client, &before, &rules?)
        .await
        .trying(|| format!("{}; the rules are in {}", what(), file.display()))?;
    let _ = std::fs::remove_file(&file);
    told(context, if before["revision"] == after["revision"] { "same" } else { "changed" }, &after)
}

async fn test(context: &Context, args: TestArgs) -> Result<()> {
    let bytes = std::fs::read(&args.csr).map_err(|e| unusable(&args.csr.display().to_string(), &e))?;
    let csr = match String::from_utf8(bytes) {
        Ok(pem) => pem,
        Err(der) => crate::pki::pem::encode("CERTIFICATE REQUEST", der.as_bytes()),
    };
    let mut body = json!({"csr": csr, "profile": args.name});
    for (member, value) in [("ttl", args.ttl), ("common_name", args.common_name), ("issuer", args.issuer)] {
        if let Some(value) = value {
            body[member] = value.into();
        }
    }
    let client = context.client().await?;
    let what = || format!("profile {} refuses {}", args.name, args.csr.display());
    let seen = client.post("/api/v1/certificates?dry_run=true", &body).await.trying(what)?;
    if output::document(context.output, &seen, "slug")? {
        return Ok(());
    }
    let mut table = Table::new(&[Column::Member, Column::Value]);
    for member in ["profile", "issuer", "subject", "names", "not_before", "not_after"] {
        table.row(vec![member.to_owned(), output::text(&seen, member)]);
    }
    for extension in seen["extensions"].as_array().into_iter().flatten() {
        let critical = if extension["critical"] == true { " (critical)" } else { "" };
        let name = format!("{}{critical}", output::text(extension, "name"));
        table.row(vec![name, output::text(extension, "value")]);
    }
    Ok(table.print()?)
}

async fn export(context: &Context, names: Vec<String>, out: Option<PathBuf>) -> Result<()> {
    let client = context.client().await?;
    let page = client.get(PROFILES).await.trying(|| "cannot list profiles".into())?;
    let all: Vec<&Value> = page["items"].as_array().into_iter().flatten().collect();
    let wanted = |item: &&&Value| names.is_empty() || names.iter().any(|name| item["slug"] == name.as_str());
    let chosen: Vec<&&Value> = all.iter().filter(wanted).collect();
    if let Some(missing) = names.iter().find(|name| !all.iter().any(|item| item["slug"] == name.as_str())) {
        return Err(Error::not_found(format!("profile \"{missing}\"")).into());
    }
    match (out, chosen.as_slice()) {
        (Some(directory), _) => {
            std::fs::create_dir_all(&directory).map_err(|e| unusable(&directory.display().to_string(), &e))?;
            for item in chosen {
                let file = directory.join(format!("{}.json", output::text(item, "slug")));
                write(&file, &item["rules"])?;
                output::say(&format!("wrote    {}", file.display()));
            }
            Ok(())
        }
        (None, [one]) => Ok(output::data(&format!("{:#}\n", one["rules"]))?),
        (None, _) => Err(Error::new(ErrorKind::Config, "several profiles need a folder: give --out DIR").into()),
    }
}

fn write(file: &Path, rules: &Value) -> Result<()> {
    std::fs::write(file, format!("{rules:#}\n")).map_err(|e| unusable(&file.display().to_string(), &e))
}

/// JSON, or TOML by its name.
fn read(file: &Path) -> Result<Value> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|e| unusable(&shown, &e))?;
    let parsed = match file.extension().is_some_and(|e| e == "toml") {
        true => toml::from_str(&text).map_err(|e| e.to_string()),
        false => serde_json::from_str(&text).map_err(|e| e.to_string()),
    };
    parsed.map_err(|why| Error::new(ErrorKind::Config, format!("{shown} cannot be read: {why}")).into())
}

fn unusable(what: &str, error: &std::io::Error) -> super::failure::Failure {
    Error::new(ErrorKind::Config, format!("{what}: {error}")).into()
}
