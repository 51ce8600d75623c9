//! Users, for administrators: list, create, and for one user role, password, disable and enable.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::audit::Event;
use super::format::{Requester, clean, minute, relative};
use super::frame::Frame;
use super::visit::{Form, Posted, Signed, Stop};
use super::{Dash, refused};
use crate::access::Permission;
use crate::access::password::Password;
use crate::access::users::NewUser;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract::Query;
use crate::http::html::{Words, page, refused_page, see_other};
use crate::http::page::cut;
use crate::model::actor::Role;
use crate::model::id::UserId;
use crate::model::identifier::shown;
use crate::model::user::{User, UserName};

const ROWS: u16 = 100;

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct At {
    after: Option<String>,
}

#[derive(Template)]
#[template(path = "users.html")]
struct List<'a> {
    frame: Frame,
    rows: Vec<Row>,
    next: Option<String>,
    roles: [(&'static str, &'static str); 5],
    name: &'a str,
    role: &'a str,
    refusal: Option<Words>,
}

struct Row {
    id: String,
    name: String,
    role: &'static str,
    status: &'static str,
    disabled: bool,
    last: Option<String>,
    created: String,
    created_by: Requester,
}

impl Row {
    fn of(user: &User, now: Timestamp) -> Self {
        Row {
            id: user.id.to_string(),
            name: user.name.to_string(),
            role: user.role.name(),
            status: user.status(),
            disabled: user.disabled_at.is_some(),
            last: user.last_sign_in_at.map(|at| relative(at, now)),
            created: minute(user.created_at),
            created_by: Requester::of(&user.created_by),
        }
    }
}

/// Each role in the words of a choice.
const ROLES: [(Role, &str); 5] = [
    (Role::Viewer, "sees certificates and issuers"),
    (Role::Auditor, "sees everything, changes nothing"),
    (Role::Requester, "asks within a grant, sees its own"),
    (Role::Operator, "issues and revokes"),
    (Role::Admin, "everything, users and tokens too"),
];

pub async fn list(signed: Signed, State(dash): State<Dash>, Query(at): Query<At>) -> Result<Response, Stop> {
    signed.may(Permission::ManageUsers)?;
    Ok(page(&whole(&dash, &signed, at.after.as_deref(), &Form::default(), None).await?)?)
}

async fn whole<'a>(
    dash: &Dash,
    signed: &Signed,
    after: Option<&str>,
    form: &'a Form,
    refusal: Option<Words>,
) -> Result<List<'a>> {
    let mut rows = dash.access.users(after, ROWS + 1).await?;
    let next = cut(&mut rows, ROWS, |u| u.name.clone()).map(|name| {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("after", &name).finish();
        format!("/users?{query}")
    });
    Ok(List {
        frame: Frame::of(signed, "users"),
        rows: rows.iter().map(|u| Row::of(u, dash.now())).collect(),
        next,
        roles: ROLES.map(|(role, words)| (role.name(), words)),
        name: form.text("name"),
        role: form.given("role").unwrap_or("viewer"),
        refusal,
    })
}

pub async fn create(State(dash): State<Dash>, Posted { signed, form }: Posted) -> Result<Response, Stop> {
    refused(&dash, signed.caller(), "user.refused", "", signed.may(Permission::ManageUsers)).await?;
    let made = async {
        let new = NewUser {
            name: UserName::parse(form.text("name"))?,
            role: role(form.text("role"))?,
            password: Password::new(form.text("password")),
        };
        dash.access.create_user(signed.caller().actor(), &new).await
    };
    match made.await {
        Ok(user) => Ok(see_other(&format!("/users/{}", user.id))),
        Err(error) => {
            let words = Words::of(&error, &signed.place.request_id);
            Ok(refused_page(&error, &whole(&dash, &signed, None, &form, Some(words)).await?)?)
        }
    }
}

fn role(text: &str) -> Result<Role> {
    Role::from_name(text).ok_or_else(|| {
        let all = Role::ALL.map(Role::name).join(", ");
        {
            let sentence = format!("role \"{}\" does not exist; there are {all}", shown(text));
            Error::refused(ErrorKind::Unprocessable, "user.role", format!("\"{}\"", shown(text)), all, "choose one")
                .explained(sentence)
        }
    })
}

#[derive(Template)]
#[template(path = "user.html")]
struct One {
    frame: Frame,
    user: Row,
    roles: [(&'static str, &'static str); 5],
    changed: String,
    events: Vec<Event>,
    refusal: Option<Words>,
}

pub async fn show(signed: Signed, State(dash): State<Dash>, Path(id): Path<String>) -> Result<Response, Stop> {
    signed.may(Permission::ManageUsers)?;
    let user = dash.access.user(parse(&id)?).await?;
    Ok(page(&one(&dash, &signed, &user, None).await?)?)
}

async fn one(dash: &Dash, signed: &Signed, user: &User, refusal: Option<Words>) -> Result<One> {
    let now = dash.now();
    let events = dash.authority.events_of(&user.object()).await?;
    Ok(One {
        frame: Frame::of(signed, "users"),
        user: Row::of(user, now),
        roles: ROLES.map(|(role, words)| (role.name(), words)),
        changed: clean(&relative(user.password_changed_at, now)),
        events: events.iter().rev().take(30).map(Event::of).collect(),
        refusal,
    })
}

/// One change of one user: the button that was pressed says which.
pub async fn change(
    State(dash): State<Dash>,
    Path(id): Path<String>,
    Posted { signed, form }: Posted,
) -> Result<Response, Stop> {
    let id = parse(&id)?;
    refused(&dash, signed.caller(), "user.refused", &format!("user:{id}"), signed.may(Permission::ManageUsers))
        .await?;
    let actor = signed.caller().actor();
    let outcome = match form.text("action") {
        "role" => match role(form.text("role")) {
            Ok(role) => dash.access.set_role(actor, id, role).await,
            Err(error) => Err(error),
        },
        "password" => dash.access.reset_password(actor, id, &Password::new(form.text("password"))).await,
        "disable" => dash.access.disable_user(actor, id).await,
        "enable" => dash.access.enable_user(actor, id).await,
        _ => Err(Error::malformed("this form says nothing to do")),
    };
    match outcome {
        Ok(user) => Ok(see_other(&format!("/users/{}", user.id))),
        Err(error) => {
            let words = Words::of(&error, &signed.place.request_id);
            let user = dash.access.user(id).await?;
            Ok(refused_page(&error, &one(&dash, &signed, &user, Some(words)).await?)?)
        }
    }
}

fn parse(id: &str) -> Result<UserId> {
    id.parse().map_err(|_| Error::not_found(format!("user {}", shown(id))))
}
