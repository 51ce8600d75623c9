//! Who looks at a page, and forms. A form is read only when the browser says that a page of ours sent it
//! (Sec-Fetch-Site, else Origin) and, in a session, when it carries that session's token: a handler that takes
//! `Posted` cannot forget either.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{AppendHeaders, IntoResponse, Response};

use super::Dash;
use crate::access::device::{DEVICE_LIFE, DeviceCookie, suffix};
use crate::access::session::{ABSOLUTE, Cookie, Place, SignedIn};
use crate::access::sign_in::Entered;
use crate::access::{Caller, Permission};
use crate::error::{Error, ErrorKind, Result};
use crate::http::client_address::ClientAddress;
use crate::http::extract::{read, read_of_stranger};
use crate::http::html::see_other;
use crate::http::layers::Tracked;
use crate::model::audit::AuditEvent;
use crate::model::id::UserId;

/// `__Host-`: set by this host alone, for all of it, over TLS.
const COOKIE: &str = "__Host-chancery";
/// Cookies of browsers that signed in before, one for each user: followed by what tells the users apart.
const DEVICE: &str = "__Host-chancery-device-";

/// A CSR of 32 KB in PEM, with every character escaped.
const FORM_LIMIT: usize = 160 * 1024;
/// A name and a password, or a link: what people send who are not signed in.
const OPEN_FORM_LIMIT: usize = 8 * 1024;

/// Somebody, signed in or not.
#[derive(Debug)]
pub struct Visit {
    pub place: Place,
    pub cookie: Option<Cookie>,
    /// Of each user who signed in with this browser.
    pub devices: Vec<DeviceCookie>,
    /// The authority that the browser asked for.
    pub host: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let text = |name| parts.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
        let place = Place {
            address: ClientAddress::text(&parts.extensions),
            user_agent: text(header::USER_AGENT).to_owned(),
            request_id: parts.extensions.get::<Tracked>().map_or_else(String::new, |t| t.0.to_string()),
        };
        Ok(Visit {
            place,
            cookie: cookie(&parts.headers),
            devices: devices(&parts.headers),
            host: host(&parts.uri, &parts.headers),
        })
    }
}

fn host(uri: &Uri, headers: &HeaderMap) -> String {
    let named = headers.get(header::HOST).and_then(|v| v.to_str().ok());
    uri.authority().map(ToString::to_string).or_else(|| named.map(str::to_owned)).unwrap_or_default()
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

fn cookie(headers: &HeaderMap) -> Option<Cookie> {
    cookies(headers).find(|(name, _)| *name == COOKIE).and_then(|(_, value)| Cookie::parse(value))
}

fn devices(headers: &HeaderMap) -> Vec<DeviceCookie> {
    let ours = cookies(headers).filter(|(name, _)| name.starts_with(DEVICE));
    ours.filter_map(|(_, value)| DeviceCookie::parse(value)).collect()
}

/// Somebody with a session. Without one a page leads to the sign-in page and back.
#[derive(Debug)]
pub struct Signed {
    pub who: SignedIn,
    pub place: Place,
    /// The database is older than what is remembered of it.
    pub rolled_back: bool,
}

impl Signed {
    pub fn caller(&self) -> &Caller {
        &self.who.caller
    }

    pub fn may(&self, permission: Permission) -> Result<()> {
        self.caller().may(permission)
    }
}

/// Why a page is not shown.
#[derive(Debug)]
pub enum Stop {
    /// To the sign-in page, and then to this path.
    SignIn(String),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

impl IntoResponse for Stop {
    fn into_response(self) -> Response {
        match self {
            Stop::SignIn(next) if next == "/" => see_other("/sign-in"),
            Stop::SignIn(next) => {
                let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("next", &next).finish();
                see_other(&format!("/sign-in?{query}"))
            }
            Stop::Failed(error) => error.into_response(),
        }
    }
}

impl FromRequestParts<Dash> for Signed {
    type Rejection = Stop;

    async fn from_request_parts(parts: &mut Parts, dash: &Dash) -> Result<Self, Stop> {
        let Visit { place, cookie, .. } = Visit::from_request_parts(parts, dash).await?;
        let known = match &cookie {
            Some(cookie) => dash.access.signed_in(cookie, &place.request_id).await?,
            None => None,
        };
        match known {
            Some(who) => Ok(Signed { who, place, rolled_back: dash.authority.store().rollback().is_some() }),
            None if parts.method.is_safe() => {
                Err(Stop::SignIn(parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned()))
            }
            None => {
                let detail = "you are not signed in, or your session has ended: sign in and repeat what you did";
                Err(Stop::Failed(Error::new(ErrorKind::Unauthenticated, detail)))
            }
        }
    }
}

/// The fields of a form.
#[derive(Debug, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// One field, as a link proposes it.
    pub fn of(name: &str, value: &str) -> Self {
        Form(vec![(name.to_owned(), value.to_owned())])
    }

    /// The first of this name, or empty.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str())
    }

    /// What was filled in.
    pub fn given(&self, name: &str) -> Option<&str> {
        Some(self.text(name).trim()).filter(|text| !text.is_empty())
    }

    /// All of this name that were filled in.
    pub fn all(&self, name: &str) -> Vec<String> {
        let named = self.0.iter().filter(|(n, v)| n == name && !v.trim().is_empty());
        named.map(|(_, value)| value.trim().to_owned()).collect()
    }

    /// Of somebody who is signed in.
    async fn read(request: Request) -> Result<Self> {
        let (parts, body) = request.into_parts();
        Form::expect(&parts)?;
        Form::parse(&read(&parts, body, FORM_LIMIT).await?)
    }

    async fn read_of_stranger(request: Request) -> Result<Self> {
        let (parts, body) = request.into_parts();
        Form::expect(&parts)?;
        Form::parse(&read_of_stranger(&parts, body, OPEN_FORM_LIMIT).await?)
    }

    fn expect(parts: &Parts) -> Result<()> {
        let media = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let detail = "a form is sent as application/x-www-form-urlencoded";
            return Err(Error::new(ErrorKind::UnsupportedMediaType, detail));
        }
        Ok(())
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let fields: Vec<_> = url::form_urlencoded::parse(bytes).into_owned().take(1_000).collect();
        if fields.iter().any(|(name, value)| name.contains('\0') || value.contains('\0')) {
            return Err(Error::malformed("a field holds U+0000, which no text may"));
        }
        Ok(Form(fields))
    }
}

/// A form from a page that needs no session: set-up and sign-in.
#[derive(Debug)]
pub struct Open {
    pub visit: Visit,
    pub form: Form,
}

impl FromRequest<Dash> for Open {
    type Rejection = Error;

    async fn from_request(request: Request, dash: &Dash) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let visit = Visit::from_request_parts(&mut parts, dash).await?;
        from_here(&parts.headers, &visit.host)?;
        Ok(Open { visit, form: Form::read_of_stranger(Request::from_parts(parts, body)).await? })
    }
}

/// A form of a session.
#[derive(Debug)]
pub struct Posted {
    pub signed: Signed,
    pub form: Form,
}

impl FromRequest<Dash> for Posted {
    type Rejection = Stop;

    async fn from_request(request: Request, dash: &Dash) -> Result<Self, Stop> {
        let (mut parts, body) = request.into_parts();
        let signed = Signed::from_request_parts(&mut parts, dash).await?;
        let path = parts.uri.path().to_owned();
        let from = from_here(&parts.headers, &host(&parts.uri, &parts.headers));
        let form = match from {
            Ok(()) => Form::read(Request::from_parts(parts, body)).await?,
            Err(error) => return Err(forged(dash, &signed, &path, error).await.into()),
        };
        if let Err(error) = signed.who.check_form(form.text("form_token")) {
            return Err(forged(dash, &signed, &path, error).await.into());
        }
        Ok(Posted { signed, form })
    }
}

/// A page of somebody else tried to act as this person: audited before it is refused.
async fn forged(dash: &Dash, signed: &Signed, path: &str, error: Error) -> Error {
    let detail = serde_json::json!({"why": error.detail, "path": path});
    let event = AuditEvent::refused("form.refused", signed.who.user.object(), detail);
    match dash.access.refuse(signed.caller(), event).await {
        Ok(()) => error,
        Err(other) => other,
    }
}

/// Did a page of ours send it? Browsers say so themselves; what says nothing is no browser.
fn from_here(headers: &HeaderMap, host: &str) -> Result<()> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let ours = match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => origin.strip_prefix("https://") == Some(host),
        (None, None) => false,
    };
    if ours {
        return Ok(());
    }
    let detail = "this form was not sent by a page of this server; open the page here and fill it in again";
    Err(Error::new(ErrorKind::Forbidden, detail))
}

/// The cookies of somebody who was let in, for Set-Cookie.
pub fn set_cookies(entered: &Entered) -> AppendHeaders<Vec<(HeaderName, HeaderValue)>> {
    let session = attributes(COOKIE, entered.session.expose(), ABSOLUTE, "Lax");
    let device = entered.device.iter().map(|device| device_cookie(entered.user.id, device));
    AppendHeaders([session].into_iter().chain(device).map(|value| (header::SET_COOKIE, value)).collect())
}

/// The cookie of a browser that is known to this user from now on.
pub fn device_cookie(user: UserId, device: &DeviceCookie) -> HeaderValue {
    attributes(&format!("{DEVICE}{}", suffix(user)), &device.expose(), DEVICE_LIFE, "Strict")
}

/// The browser forgets its session.
pub fn clear_cookie() -> HeaderValue {
    attributes(COOKIE, "", Duration::ZERO, "Lax")
}

fn attributes(name: &str, value: &str, life: Duration, same_site: &str) -> HeaderValue {
    let age = life.as_secs();
    let text = format!("{name}={value}; Path=/; Max-Age={age}; Secure; HttpOnly; SameSite={same_site}");
    // hexadecimal digits, an id and our own words
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// A path of ours to go on to; anything else is the first page.
pub fn path_of_ours(next: &str) -> &str {
    let ours =
        next.starts_with('/') && !next.starts_with("//") && next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if ours { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_host_send_forms() {
        let check = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_str(value).unwrap());
            }
            from_here(&headers, "ca.test:8443").is_ok()
        };
        assert!(check(&[("sec-fetch-site", "same-origin")]));
        assert!(check(&[("origin", "https://ca.test:8443")]));
        for site in ["cross-site", "same-site", "none", ""] {
            assert!(!check(&[("sec-fetch-site", site), ("origin", "https://ca.test:8443")]), "{site}");
        }
        for origin in ["null", "http://ca.test:8443", "https://ca.test", "https://evil.test", ""] {
            assert!(!check(&[("origin", origin)]), "{origin}");
        }
        assert!(!check(&[]));
    }

    #[test]
    fn sign_in_leads_nowhere_else() {
        assert_eq!(path_of_ours("/certificates?q=a"), "/certificates?q=a");
        for evil in ["//evil.test", "https://evil.test", "/\\evil.test", "", "javascript:x", "/a\r\nb"] {
            assert_eq!(path_of_ours(evil), "/", "{evil}");
        }
    }
}
