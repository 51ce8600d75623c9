//! Where a command works: on the installation of this host, opened directly and acting as the user of the operating
//! system, or on a server by its URL and a token.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use clap::Args;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::http;
use tower::ServiceExt;
use zeroize::Zeroizing;

use super::contexts::Contexts;
use super::output::Format;
use super::repeated::Repeated;
use crate::access::Caller;
use crate::api;
use crate::app::App;
use crate::client::remote::Remote;
use crate::client::{Answer, Client, Transport};
use crate::clock::SystemClock;
use crate::entropy::SystemEntropy;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::server::config::Config;
use crate::server::listen::Addresses;
use crate::server::settings::{Environment, Flags};
use crate::server::{open, own_url, running};

/// Variables that name an installation of this host.
const LOCAL_VARIABLES: &[&str] = &["CHANCERY_DATA", "CHANCERY_DATABASE_URL", "CHANCERY_CONFIG"];

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Remote server")]
pub struct RemoteArgs {
    /// Work on this server instead of the installation of this host [env: CHANCERY_URL]
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// File with the API token [env: CHANCERY_TOKEN_FILE]
    #[arg(long, alias = "token", global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Root certificates (PEM) to trust for --url [env: CHANCERY_ROOT]
    #[arg(long, global = true, value_name = "FILE")]
    root: Option<PathBuf>,
    /// Work with this context of `chancery bootstrap`; `local` is the installation of this host [env: CHANCERY_CONTEXT]
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
}

impl RemoteArgs {
    /// Flag and value of each that was given.
    pub fn given(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let all = [
            ("url", self.url.clone()),
            ("token-file", path(&self.token_file)),
            ("root", path(&self.root)),
            ("context", self.context.clone()),
        ];
        all.into_iter().filter_map(|(flag, value)| Some((flag, value?))).collect()
    }
}

/// A server and what is needed to talk to it, put together from flags, environment and context.
#[derive(Debug, Default)]
pub struct Target {
    pub url: Option<String>,
    pub root: Option<PathBuf>,
    pub token_file: Option<PathBuf>,
    /// The context that it came from.
    pub context: Option<String>,
}

/// What every command gets.
#[derive(Debug)]
pub struct Context {
    pub flags: Flags,
    pub remote: RemoteArgs,
    pub output: Option<Format>,
}

impl Context {
    /// The settings with the flags of this command.
    pub fn config(&self, more: &Flags) -> Result<Config> {
        let flags = self.flags.iter().chain(more).map(|(k, v)| (*k, v.clone())).collect();
        Config::load(&flags, &Environment::of_process())
    }

    /// A command that this one prints, as it works when it is pasted.
    pub fn command(&self, words: &str) -> String {
        self.repeated().command(words)
    }

    pub fn repeated(&self) -> Repeated {
        Repeated::of(&self.flags, &self.remote, &Environment::of_process())
    }

    /// Flags before environment before the context; without a URL it is the installation of this host.
    pub fn target(&self) -> Result<Target> {
        let environment = Environment::of_process();
        let given = &self.remote;
        let url = given.url.clone().or_else(|| environment.text("CHANCERY_URL"));
        let named = given.context.clone().or_else(|| environment.text("CHANCERY_CONTEXT"));
        let saved = Contexts::read(&environment)?;
        // whoever names an installation of this host means it
        let names_local = named.is_none()
            && (!self.flags.is_empty() || LOCAL_VARIABLES.iter().any(|v| environment.text(v).is_some()));
        let entry = if url.is_some() || names_local { None } else { saved.chosen(named.as_deref())? };
        Ok(Target {
            url: url.or_else(|| entry.map(|e| e.url.clone())),
            root: given
                .root
                .clone()
                .or_else(|| environment.path("CHANCERY_ROOT"))
                .or_else(|| entry.map(|e| e.root.clone())),
            token_file: given
                .token_file
                .clone()
                .or_else(|| environment.path("CHANCERY_TOKEN_FILE"))
                .or_else(|| entry.and_then(|e| e.token_file.clone())),
            context: entry.and_then(|_| named.or_else(|| saved.current.clone())),
        })
    }

    /// The REST API, there or here.
    pub async fn client(&self) -> Result<Client> {
        Ok(self.client_and_app().await?.0)
    }

    /// The REST API, and the installation behind it where that is the one of this host.
    pub async fn client_and_app(&self) -> Result<(Client, Option<Arc<App>>)> {
        let Target { url, root, token_file, context } = self.target()?;
        let Some(url) = url else {
            let (client, app) = self.local().await?;
            return Ok((client, Some(app)));
        };
        let token_file = token_file.ok_or_else(|| no_token(&url, context.as_deref()))?;
        let token = std::fs::read_to_string(&token_file).map(Zeroizing::new).map_err(|e| {
            Error::new(
                ErrorKind::Unauthenticated,
                format!("cannot read the token file {}: {e}", token_file.display()),
            )
        })?;
        let remote = Remote::new(&url, Zeroizing::new(token.trim().to_owned()), root.as_deref())?;
        Ok((Client::new(remote), None))
    }

    async fn local(&self) -> Result<(Client, Arc<App>)> {
        let app = self.local_app(&Flags::new()).await?;
        let caller = Caller::of_host(host_actor());
        Ok((Client::new(Local { router: api::router(app.clone()), caller }), app))
    }

    /// The REST API with the keys of roots at hand, where their key file is.
    pub async fn client_with_root(&self, root_key: Option<&Path>) -> Result<Client> {
        if self.is_remote() {
            return self.client().await;
        }
        let app = self.local_app_with_root(root_key).await?;
        Ok(Client::new(Local { router: api::router(app), caller: Caller::of_host(host_actor()) }))
    }

    /// The REST API with whatever keys this user may read. A root.key that cannot be read keeps nobody from looking.
    pub async fn client_with_keys_at_hand(&self) -> Result<Client> {
        if self.target()?.url.is_some() {
            return self.client().await;
        }
        match self.client_with_root(None).await {
            Ok(client) => Ok(client),
            Err(_unreadable) => Ok(self.local().await?.0),
        }
    }

    /// Does the command work on a server elsewhere? A context counts where it was named.
    pub fn is_remote(&self) -> bool {
        let environment = Environment::of_process();
        let named = self.remote.context.clone().or_else(|| environment.text("CHANCERY_CONTEXT"));
        self.remote.url.is_some()
            || environment.text("CHANCERY_URL").is_some()
            || named.is_some_and(|name| name != super::contexts::LOCAL)
    }

    /// For what only a host that holds keys can do.
    pub async fn host_app(&self, root_key: Option<&Path>) -> Result<Arc<App>> {
        if self.is_remote() {
            return Err(only_on_host(ErrorKind::Malformed, "ca.host", "this command, which works with keys,"));
        }
        self.local_app_with_root(root_key).await
    }

    /// The installation of this host with its roots' key, where the file is: for `ca` commands alone.
    pub async fn local_app_with_root(&self, root_key: Option<&Path>) -> Result<Arc<App>> {
        let config = self.config(&Flags::new())?;
        let store = open::open_store(&config, Arc::new(SystemClock), Arc::new(SystemEntropy::new())).await?;
        let opened = open::open_with_root(&config, store, root_key).await?;
        let addresses = Addresses::configured(&config);
        let urls = own_url::on_host(&config, &opened, running::urls(&config, &addresses)).await?;
        running::app(&config, opened, urls, &addresses).await
    }

    /// For commands that only somebody on the host may run.
    pub fn on_host(&self, command: &str) -> Result<()> {
        if !self.is_remote() {
            return Ok(());
        }
        Err(only_on_host(ErrorKind::Config, "remote.command", &format!("chancery {command}")))
    }

    /// The installation of this host, which must exist.
    pub async fn local_app(&self, more: &Flags) -> Result<Arc<App>> {
        let config = self.config(more)?;
        let store = open::open_store(&config, Arc::new(SystemClock), Arc::new(SystemEntropy::new())).await?;
        let opened = open::open_existing(&config, store).await?;
        let addresses = Addresses::configured(&config);
        let urls = own_url::on_host(&config, &opened, running::urls(&config, &addresses)).await?;
        running::app(&config, opened, urls, &addresses).await
    }
}

/// A context that nobody named may be a surprise: `chancery bootstrap` makes its own the current one.
fn no_token(url: &str, context: Option<&str>) -> Error {
    let detail = match context {
        Some(name) => format!(
            "context {name} is in use and means the server {url}, for which there is no token: make one there with `chancery \
             token create` and name its file with `chancery context set {name} --token-file FILE`; to work on the installation of \
             this host instead, run `chancery context use local`"
        ),
        None => "working with a server needs --token-file FILE with a token of `chancery token create`, or a context with \
                 one"
            .to_owned(),
    };
    Error::new(ErrorKind::Unauthenticated, detail)
}

fn only_on_host(kind: ErrorKind, rule: &str, command: &str) -> Error {
    let fix = "run it there, without --url, --context and CHANCERY_URL";
    let sentence = format!("{command} works on the host of the server alone; {fix}");
    Error::refused(kind, rule, command, "the host of the server", fix).saying(sentence)
}

/// The user of the operating system, by the id that runs this command.
pub fn host_actor() -> Actor {
    // SAFETY: getuid reads a number of this process and cannot fail
    let uid = unsafe { libc::getuid() };
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    Actor::host(uid, &name.unwrap_or_default())
}

/// The router of the server, called within this process as a caller that no request from outside can be.
struct Local {
    router: Router,
    caller: Caller,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Local")
    }
}

impl Transport for Local {
    fn send<'a>(&'a self, request: http::Request<Vec<u8>>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async move {
            let mut request = request.map(Body::from);
            request.extensions_mut().insert(self.caller.clone());
            let response = match self.router.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(|e| Error::internal("an answer broke off", e))?;
            Ok(Answer { status, body: body.to_bytes().to_vec() })
        })
    }
}
