//! `user create|list|role|password|sign-in-link|disable|enable` on the host of the server: also the way back in for who forgot.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::failure::{Result, Trying};
use super::files;
use super::listing::{self, Page, WholeArgs};
use super::output::{self, Column, Table};
use super::session::{Context, host_actor};
use crate::access::Access;
use crate::access::password::Password;
use crate::access::users::NewUser;
use crate::app::App;
use crate::error::{Error, ErrorKind};
use crate::model::actor::Role;
use crate::model::user::{User, UserName};
use crate::server::settings::Flags;

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make a user who can sign in to the dashboard
    Create(CreateArgs),
    /// List users
    List(WholeArgs),
    /// Give a user another role; the user signs in again
    Role {
        /// The user's name
        name: String,
        /// viewer, auditor, requester, operator or admin
        role: String,
    },
    /// Set a new password; the user's sessions end
    Password {
        /// The user's name
        name: String,
        /// File with the password, or - for standard input
        #[arg(long, value_name = "FILE|-")]
        password_file: PathBuf,
    },
    /// Print a link that makes a new browser known, once, so that its user can sign in while others try passwords
    ///
    /// The user still signs in there with the password.
    SignInLink {
        /// The user's name
        name: String,
    },
    /// Disable a user; all sessions end at once
    Disable {
        /// The user's name
        name: String,
    },
    /// Enable a disabled user again
    Enable {
        /// The user's name
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// 1 to 64 letters, digits and . _ @ + -
    name: String,
    /// viewer, auditor, requester, operator or admin
    #[arg(long, value_name = "ROLE")]
    role: String,
    /// File with the password, or - for standard input
    #[arg(long, value_name = "FILE|-")]
    password_file: PathBuf,
}

pub async fn run(context: &Context, command: UserCommand) -> Result<()> {
    let what = || "cannot manage users".to_owned();
    context.on_host("user").trying(what)?;
    let app = context.local_app(&Flags::new()).await.trying(what)?;
    let (access, actor) = (&app.access, host_actor());
    let (word, user) = match command {
        UserCommand::List(page) => return list(context, access, &page).await,
        UserCommand::SignInLink { name } => return sign_in_link(context, &app, &name).await,
        UserCommand::Create(args) => {
            let what = || format!("cannot make user {}", args.name);
            let new = NewUser {
                name: UserName::parse(&args.name).trying(what)?,
                role: role(&args.role).trying(what)?,
                password: password(&args.password_file).trying(what)?,
            };
            ("created", access.create_user(&actor, &new).await.trying(what)?)
        }
        UserCommand::Role { name, role: text } => {
            let what = || format!("cannot change the role of {name}");
            let id = find(access, &name).await.trying(what)?.id;
            ("changed", access.set_role(&actor, id, role(&text).trying(what)?).await.trying(what)?)
        }
        UserCommand::Password { name, password_file } => {
            let what = || format!("cannot set the password of {name}");
            let id = find(access, &name).await.trying(what)?.id;
            let password = password(&password_file).trying(what)?;
            ("changed", access.reset_password(&actor, id, &password).await.trying(what)?)
        }
        UserCommand::Disable { name } => {
            let what = || format!("cannot disable {name}");
            let id = find(access, &name).await.trying(what)?.id;
            ("disabled", access.disable_user(&actor, id).await.trying(what)?)
        }
        UserCommand::Enable { name } => {
            let what = || format!("cannot enable {name}");
            let id = find(access, &name).await.trying(what)?.id;
            ("enabled", access.enable_user(&actor, id).await.trying(what)?)
        }
    };
    if output::document(context.output, &shape(&user), "name")? {
        return Ok(());
    }
    output::say(&format!("{word}  {}   {}   {}", user.name, user.role.name(), user.id));
    Ok(())
}

async fn sign_in_link(context: &Context, app: &App, name: &str) -> Result<()> {
    let what = || format!("cannot make a sign-in link for {name}");
    let user = find(&app.access, name).await.trying(what)?;
    let made = app.access.make_sign_in_link(&host_actor(), &user).await.trying(what)?;
    let (link, expires_at) =
        (format!("{}/sign-in-link#{}", app.urls.external, made.secret.expose()), made.expires_at);
    if output::document(
        context.output,
        &json!({"url": link, "expires_at": expires_at, "replaces": made.replaces}),
        "name",
    )? {
        return Ok(());
    }
    output::data(&format!("{link}\n"))?;
    if made.replaces {
        output::say(&format!("the link made before for {name} was not used and works no longer"));
    }
    output::say(&format!("works once, until {expires_at}; keep it private"));
    Ok(())
}

/// What is read from the database at once.
const USERS_AT_ONCE: u16 = 1_000;

async fn list(context: &Context, access: &Access, page: &WholeArgs) -> Result<()> {
    let Page { wanted, mut after } = page.into();
    let mut users = Vec::new();
    // one more than wanted shows whether there are more
    while users.len() <= wanted {
        let found = access.users(after.as_deref(), USERS_AT_ONCE).await.trying(|| "cannot list users".into())?;
        let Some(last) = found.last() else { break };
        after = Some(last.name.to_string());
        users.extend(found);
    }
    let is_cut = users.len() > wanted;
    users.truncate(wanted);
    let cursor = users.last().filter(|_| is_cut).map(|user| user.name.to_string());
    listing::say_more(users.len(), cursor.as_deref());
    let mut document = json!({"items": users.iter().map(shape).collect::<Vec<_>>()});
    if cursor.is_some() {
        document["next_cursor"] = cursor.into();
    }
    if output::document(context.output, &document, "name")? {
        return Ok(());
    }
    let mut table = Table::new(&[Column::Name, Column::Role, Column::Status, Column::LastSignIn, Column::Id]);
    for user in &users {
        let status = match user {
            user if !user.is_active() => user.status(),
            user if !user.takes_new_browsers() => "active, known browsers only",
            _ => "active",
        };
        let last = user.last_sign_in_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        table.row(vec![user.name.to_string(), user.role.name().into(), status.into(), last, user.id.to_string()]);
    }
    Ok(table.print()?)
}

fn shape(user: &User) -> serde_json::Value {
    let status = user.status();
    json!({"id": user.id, "name": user.name.as_str(), "role": user.role.name(), "status": status,
        "created_by": user.created_by, "created_at": user.created_at, "last_sign_in_at": user.last_sign_in_at, "failed_sign_ins": user.failed_sign_ins,
        "takes_new_browsers": user.takes_new_browsers()})
}

async fn find(access: &Access, name: &str) -> crate::error::Result<User> {
    let name = UserName::parse(name)?;
    access.user_named(&name).await?.ok_or_else(|| Error::not_found(format!("user {name}; see `chancery user list`")))
}

fn role(text: &str) -> crate::error::Result<Role> {
    Role::from_name(text).ok_or_else(|| {
        let value = format!("\"{}\"", crate::model::identifier::shown(text));
        let allowed = "viewer, auditor, requester, operator, admin";
        let sentence = format!("{value} is no role; name one of {allowed}");
        Error::refused(ErrorKind::Unprocessable, "user.role", value, allowed, "name one of these").saying(sentence)
    })
}

/// The first line.
fn password(file: &Path) -> crate::error::Result<Password> {
    let text = files::secret("the password", file)?;
    Ok(Password::new(text.lines().next().unwrap_or_default()))
}
