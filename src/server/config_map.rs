//! The anchor in a ConfigMap of Kubernetes, which the pods of a cluster share and which outlasts them. It is read and patched
//! with the service account of the pod, which needs `get` and `patch` on this one name. A patch names the version that was read,
//! so that of two replicas the second reads again (409).

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};
use url::Url;

use super::https::{self, HttpsAnswer};
use crate::authority::{RemoteAnchor, RemoteText};
use crate::clock::monotonic;

/// The key in the ConfigMap.
const KEY: &str = "anchor.json";
/// One request at most.
const TIME: Duration = Duration::from_secs(10);
/// A server that is busy is left alone for so long at most.
const PAUSE: u64 = 60;

/// Where the API server is, and the folder with `token` and `ca.crt`, as Kubernetes mounts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiServer {
    pub url: Url,
    pub credentials: PathBuf,
}

/// Namespace and name, as the setting has them: `configmap:NAMESPACE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigMapName {
    pub namespace: String,
    pub name: String,
}

impl ConfigMapName {
    /// None: the setting names a file.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let rest = text.strip_prefix("configmap:")?;
        let is_name = |name: &str| {
            (1..=253).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
                && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        };
        let parts = rest.split_once('/').filter(|(namespace, name)| is_name(namespace) && is_name(name));
        let wrong =
            || format!("\"{text}\" names no ConfigMap; write configmap:NAMESPACE/NAME, or the path of a file");
        Some(
            parts
                .map(|(namespace, name)| ConfigMapName { namespace: namespace.into(), name: name.into() })
                .ok_or_else(wrong),
        )
    }
}

impl std::fmt::Display for ConfigMapName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "configmap:{}/{}", self.namespace, self.name)
    }
}

#[derive(Debug)]
pub struct ConfigMap {
    at: ConfigMapName,
    /// None: this process does not run in a pod.
    server: Option<ApiServer>,
    /// The server asked to be left alone until then. Guards only itself.
    pause: Mutex<Option<Instant>>,
}

impl ConfigMap {
    pub fn new(at: ConfigMapName, server: Option<ApiServer>) -> Self {
        ConfigMap { at, server, pause: Mutex::default() }
    }

    async fn ask(&self, method: Method, body: Option<Value>) -> std::io::Result<HttpsAnswer> {
        let none =
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, so this process does not run in a pod";
        let server = self.server.as_ref().ok_or_else(|| std::io::Error::other(none))?;
        if self.pause.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| monotonic() < until) {
            return Err(std::io::Error::other("the API server is busy and asked for a pause"));
        }
        let mut url = server.url.clone();
        url.set_path(&format!("/api/v1/namespaces/{}/configmaps/{}", self.at.namespace, self.at.name));
        // Kubernetes replaces the token while the pod runs
        let token = read(&server.credentials.join("token"))?;
        let mut request =
            hyper::Request::builder().method(method).header(AUTHORIZATION, format!("Bearer {}", token.trim()));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/merge-patch+json");
        }
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = request.body(Full::new(body)).map_err(std::io::Error::other)?;
        let roots = server.credentials.join("ca.crt");
        let asked = tokio::time::timeout(TIME, https::send(&url, &roots, request)).await;
        let answer = asked.unwrap_or_else(|_| Err(std::io::Error::other("no answer within 10 seconds")))?;
        if answer.status.as_u16() == 429 || answer.status.is_server_error() {
            let seconds = answer.retry_after.unwrap_or(1).clamp(1, PAUSE);
            let until = monotonic() + Duration::from_secs(seconds);
            *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        }
        Ok(answer)
    }

    fn refused(&self, answer: &HttpsAnswer) -> std::io::Error {
        let why = match answer.status.as_u16() {
            404 => {
                format!(
                    "it does not exist; make it with `kubectl -n {} create configmap {}`",
                    self.at.namespace, self.at.name
                )
            }
            403 => "the service account may not get and patch it; bind the Role of deploy/kubernetes/anchor to it"
                .to_owned(),
            401 => "the API server does not take the token of the service account".to_owned(),
            429 => "the API server is busy (429)".to_owned(),
            _ => format!("the API server answered {}", answer.status),
        };
        std::io::Error::other(why)
    }
}

impl RemoteAnchor for ConfigMap {
    fn name(&self) -> String {
        self.at.to_string()
    }

    fn read(&self) -> BoxFuture<'_, std::io::Result<RemoteText>> {
        Box::pin(async move {
            let answer = self.ask(Method::GET, None).await?;
            if answer.status.as_u16() != 200 {
                return Err(self.refused(&answer));
            }
            let found = object(&answer)?;
            Ok(RemoteText { text: found["data"][KEY].as_str().map(str::to_owned), version: version(&found)? })
        })
    }

    fn replace<'a>(&'a self, text: &'a str, version: &'a str) -> BoxFuture<'a, std::io::Result<Option<String>>> {
        Box::pin(async move {
            let patch = json!({"metadata": {"resourceVersion": version}, "data": {KEY: text}});
            let answer = self.ask(Method::PATCH, Some(patch)).await?;
            match answer.status.as_u16() {
                200 => self::version(&object(&answer)?).map(Some),
                409 => Ok(None),
                _ => Err(self.refused(&answer)),
            }
        })
    }
}

fn object(answer: &HttpsAnswer) -> std::io::Result<Value> {
    let unread = |e| std::io::Error::other(format!("the API server's answer is no JSON: {e}"));
    serde_json::from_slice(&answer.body).map_err(unread)
}

fn version(found: &Value) -> std::io::Result<String> {
    let version = found["metadata"]["resourceVersion"].as_str();
    version.map(str::to_owned).ok_or_else(|| std::io::Error::other("the API server's answer has no resourceVersion"))
}

fn read(path: &Path) -> std::io::Result<String> {
    let unread = |e| std::io::Error::other(format!("cannot read {}: {e}", path.display()));
    std::fs::read_to_string(path).map_err(unread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_names_a_config_map_or_a_file() {
        let named = ConfigMapName::parse("configmap:chancery/chancery-anchor").unwrap().unwrap();
        assert_eq!((named.namespace.as_str(), named.name.as_str()), ("chancery", "chancery-anchor"));
        assert_eq!(named.to_string(), "configmap:chancery/chancery-anchor");
        assert!(ConfigMapName::parse("/var/lib/chancery/anchor.json").is_none());
        for wrong in [
            "configmap:",
            "configmap:a",
            "configmap:a/",
            "configmap:/b",
            "configmap:a/b/c",
            "configmap:A/b",
            "configmap:a/../b",
            "configmap:a/b?x",
        ] {
            assert!(
                ConfigMapName::parse(wrong).unwrap().unwrap_err().contains("write configmap:NAMESPACE/NAME"),
                "{wrong}"
            );
        }
    }
}
