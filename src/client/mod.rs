//! The REST client of the command line and of agents: requests in, JSON or a problem out. Holds a token, never a
//! key of the CA. Floor 5.

pub mod anchor;
pub mod fetch;
pub mod problem;
pub mod reach;
pub mod remote;

use std::fmt;

use futures_util::future::BoxFuture;
use hyper::http;
use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use problem::Problem;

/// An answer as it came: status and body.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// What carries a request to a server: TLS to a remote one, or a call within this process.
pub trait Transport: Send + Sync + fmt::Debug {
    fn send<'a>(&'a self, request: http::Request<Vec<u8>>) -> BoxFuture<'a, Result<Answer>>;

    /// Does the server answer only what the token of the caller may see?
    fn is_by_token(&self) -> bool {
        false
    }
}

/// Why a call did not do what was asked.
#[derive(Debug)]
pub enum Refusal {
    /// The server said no, and why.
    Problem(Box<Problem>),
    /// No answer, or none that can be read.
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Failed(error)
    }
}

#[derive(Debug)]
pub struct Client {
    transport: Box<dyn Transport>,
}

impl Client {
    pub fn new(transport: impl Transport + 'static) -> Self {
        Client { transport: Box::new(transport) }
    }

    /// Whether something that is not found may be there and hidden from the token.
    pub fn may_hide(&self) -> bool {
        self.transport.is_by_token()
    }

    /// GET of a JSON resource.
    pub async fn get(&self, path: &str) -> Result<Value, Refusal> {
        json(&self.fetch(path, "application/json").await?)
    }

    /// GET in one media type, as bytes.
    pub async fn fetch(&self, path: &str, accept: &str) -> Result<Vec<u8>, Refusal> {
        self.call("GET", path, accept, None).await
    }

    pub async fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, Refusal> {
        let body = serde_json::to_vec(body).map_err(|e| Error::internal("cannot write a request", e))?;
        json(&self.call("POST", path, "application/json", Some(body)).await?)
    }

    pub async fn put(&self, path: &str, body: &impl Serialize) -> Result<Value, Refusal> {
        self.put_if(path, None, body).await
    }

    /// On the revision with this ETag only.
    pub async fn put_if(&self, path: &str, tag: Option<&str>, body: &impl Serialize) -> Result<Value, Refusal> {
        let body = serde_json::to_vec(body).map_err(|e| Error::internal("cannot write a request", e))?;
        json(&self.call_if("PUT", path, "application/json", Some(body), tag).await?)
    }

    pub async fn patch(&self, path: &str, body: &impl Serialize) -> Result<Value, Refusal> {
        let body = serde_json::to_vec(body).map_err(|e| Error::internal("cannot write a request", e))?;
        json(&self.call("PATCH", path, "application/json", Some(body)).await?)
    }

    pub async fn delete(&self, path: &str) -> Result<Value, Refusal> {
        json(&self.call("DELETE", path, "application/json", None).await?)
    }

    async fn call(&self, method: &str, path: &str, accept: &str, body: Option<Vec<u8>>) -> Result<Vec<u8>, Refusal> {
        self.call_if(method, path, accept, body, None).await
    }

    async fn call_if(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        body: Option<Vec<u8>>,
        tag: Option<&str>,
    ) -> Result<Vec<u8>, Refusal> {
        let mut request = http::Request::builder().method(method).uri(path).header(http::header::ACCEPT, accept);
        if body.is_some() {
            request = request.header(http::header::CONTENT_TYPE, "application/json");
        }
        if let Some(tag) = tag {
            request = request.header(http::header::IF_MATCH, tag);
        }
        let request = request
            .body(body.unwrap_or_default())
            .map_err(|e| Error::malformed(format!("{path} is not a path of the REST API")).because(e))?;
        let answer = self.transport.send(request).await?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        Err(Refusal::Problem(Box::new(Problem::read(answer.status, &answer.body))))
    }
}

fn json(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body).map_err(|e| {
        let detail = "the answer is not JSON; is --url the HTTPS address of a Chancery server?";
        Refusal::Failed(Error::new(ErrorKind::Unavailable, detail).because(e))
    })
}

/// Percent-encodes what may not stand in one part of a path or query (RFC 3986 §2.3).
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}
