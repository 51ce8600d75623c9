//! A browser without JavaScript over the pages of a CA of its own, without a listener: it keeps one cookie, says
//! where its forms come from, and takes the form token out of the page that it sends.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use chancery::access::Access;
use chancery::access::password::Password;
use chancery::access::users::NewUser;
use chancery::acme;
use chancery::authority::Authority;
use chancery::clock::ManualClock;
use chancery::dashboard::{Dash, room};
use chancery::http::client_address::ClientAddress;
use chancery::http::layers::Manners;
use chancery::keys::store::Keys;
use chancery::model::actor::{Actor, Role};
use chancery::model::user::{User, UserName};
use chancery::registration::Registration;
use chancery::validation::{ValidationConfig, Validator};
use tower::ServiceExt;

use crate::support::stores::{At, founded};

pub const HOST: &str = "ca.test:8443";
pub const PASSWORD: &str = "violet harbour nine";

/// The pages and what stands behind them.
pub struct Pages {
    pub router: Router,
    pub access: Arc<Access>,
    pub authority: Arc<Authority>,
    pub registration: Arc<Registration>,
    pub clock: ManualClock,
}

/// One page as the browser got it.
pub struct Page {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub html: String,
}

impl Page {
    /// Status and where it leads.
    pub fn leads(&self) -> (u16, &str) {
        (self.status.as_u16(), self.headers.get("location").map_or("", |v| v.to_str().unwrap()))
    }

    #[track_caller]
    pub fn shows(&self, text: &str) -> &Self {
        assert!(self.html.contains(text), "no \"{text}\" in {}:\n{}", self.status, self.html);
        self
    }

    #[track_caller]
    pub fn hides(&self, text: &str) -> &Self {
        assert!(!self.html.contains(text), "\"{text}\" stands in {}:\n{}", self.status, self.html);
        self
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<String> {
        let (_, rest) = self.html.split_once(&format!("name=\"{name}\" value=\""))?;
        Some(rest.split('"').next().unwrap().to_owned())
    }
}

impl Pages {
    pub async fn over(at: &At) -> Pages {
        let (authority, keys) = founded(&at.store).await;
        let access = Access::with_keys(at.store.clone(), keys);
        Pages::of(at, authority, access).await
    }

    /// Another replica over the same database: nothing is shared in memory.
    pub async fn replica(at: &At, keys: Arc<Keys>) -> Pages {
        let authority = Authority::open(at.store.clone(), keys.clone(), vec!["ca.test".into()]).await.unwrap();
        Pages::of(at, authority, Access::with_keys(at.store.clone(), keys)).await
    }

    pub async fn of(at: &At, authority: Arc<Authority>, access: Arc<Access>) -> Pages {
        let validator = Validator::new(ValidationConfig::default(), Vec::new(), Arc::new(at.clock.clone())).unwrap();
        let registration = Registration::open(authority.clone(), Arc::new(validator), acme::describe).await.unwrap();
        let manners = Manners {
            external_url: format!("https://{HOST}").into(),
            clock: Arc::new(at.clock.clone()),
            entropy: Arc::clone(&at.store.entropy),
        };
        let external_url = manners.external_url.clone();
        let dash = Dash {
            authority: authority.clone(),
            access: access.clone(),
            registration: registration.clone(),
            external_url,
        };
        Pages { router: room(dash, manners), access, authority, registration, clock: at.clock.clone() }
    }

    pub fn browser(&self) -> Browser {
        Browser {
            router: self.router.clone(),
            cookie: None,
            devices: Vec::new(),
            peer: "10.0.0.7:50000".parse().unwrap(),
        }
    }

    pub async fn user(&self, name: &str, role: Role) -> User {
        let new = NewUser { name: UserName::parse(name).unwrap(), role, password: Password::new(PASSWORD) };
        self.access.create_user(&Actor::system("test"), &new).await.unwrap()
    }

    /// A browser in which a new user of this role is signed in.
    pub async fn signed_in(&self, role: Role) -> Browser {
        self.user(role.name(), role).await;
        let mut browser = self.browser();
        assert_eq!(browser.sign_in(role.name(), PASSWORD).await.leads(), (303, "/"));
        browser
    }
}

pub struct Browser {
    pub router: Router,
    /// `name=value` of the session's cookie.
    pub cookie: Option<String>,
    /// `name=value` of the users to whom this browser is known.
    pub devices: Vec<String>,
    pub peer: SocketAddr,
}

impl Browser {
    pub async fn get(&mut self, path: &str) -> Page {
        let request = Request::get(path).header("sec-fetch-site", "none");
        self.send(request, Body::empty()).await
    }

    /// As a page of this server sends it.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.post_from("same-origin", path, fields).await
    }

    pub async fn post_from(&mut self, site: &str, path: &str, fields: &[(&str, &str)]) -> Page {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", site);
        self.send(request, Body::from(body)).await
    }

    /// Opens `page`, takes its form token and sends these fields to `action`.
    pub async fn submit(&mut self, page: &str, action: &str, fields: &[(&str, &str)]) -> Page {
        let opened = self.get(page).await;
        assert_eq!(opened.status, StatusCode::OK, "{}", opened.html);
        let token = opened.field("form_token").expect("a page of a session has a form token");
        let all: Vec<_> = fields.iter().copied().chain([("form_token", token.as_str())]).collect();
        self.post(action, &all).await
    }

    pub async fn sign_in(&mut self, name: &str, password: &str) -> Page {
        self.post("/sign-in", &[("name", name), ("password", password)]).await
    }

    async fn send(&mut self, mut head: axum::http::request::Builder, body: Body) -> Page {
        head = head.header("host", HOST).header("accept", "text/html");
        let cookies: Vec<&str> = self.cookie.iter().chain(&self.devices).map(String::as_str).collect();
        if !cookies.is_empty() {
            head = head.header("cookie", cookies.join("; "));
        }
        let mut request = head.body(body).unwrap();
        request.extensions_mut().insert(ClientAddress::new(self.peer.ip()));
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        for set in parts.headers.get_all("set-cookie") {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            let name = pair.split('=').next().unwrap();
            if name == "__Host-chancery" {
                self.cookie = (!pair.ends_with('=')).then(|| pair.to_owned());
            } else {
                self.devices.retain(|kept| kept.split('=').next() != Some(name));
                self.devices.push(pair.to_owned());
            }
        }
        let bytes = to_bytes(body, 4 << 20).await.unwrap().to_vec();
        Page { status: parts.status, headers: parts.headers, html: String::from_utf8_lossy(&bytes).into_owned() }
    }
}
