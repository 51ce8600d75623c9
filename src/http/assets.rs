//! The style sheet, the script and the seal of the pages, embedded in the binary. Their URLs carry a hash, so that a
//! browser keeps them until a new binary has others.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::access::secret::sha256;
use crate::error::{Error, Result};
use crate::model::identifier::shown;
use crate::model::serial::to_hex;

struct Asset {
    name: &'static str,
    media: &'static str,
    bytes: &'static [u8],
}

const ASSETS: [Asset; 4] = [
    Asset {
        name: "chancery.css",
        media: "text/css; charset=utf-8",
        bytes: include_bytes!("../../web/static/chancery.css"),
    },
    Asset {
        name: "chancery.js",
        media: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../web/static/chancery.js"),
    },
    Asset { name: "seal.svg", media: "image/svg+xml", bytes: include_bytes!("../../web/static/seal.svg") },
    Asset { name: "docs.css", media: "text/css; charset=utf-8", bytes: include_bytes!("../../web/static/docs.css") },
];

static URLS: LazyLock<[String; 4]> = LazyLock::new(|| {
    ASSETS.map(|asset| {
        let hash = to_hex(&sha256(asset.bytes));
        format!("/static/{}?v={}", asset.name, hash.get(..12).unwrap_or_default())
    })
});

pub fn css() -> &'static str {
    &URLS[0]
}

pub fn js() -> &'static str {
    &URLS[1]
}

pub fn seal() -> &'static str {
    &URLS[2]
}

pub fn docs_css() -> &'static str {
    &URLS[3]
}

pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/static/{name}", get(serve))
}

async fn serve(Path(name): Path<String>) -> Result<Response> {
    let asset = ASSETS.iter().find(|a| a.name == name);
    let asset = asset.ok_or_else(|| Error::not_found(format!("file \"{}\"", shown(&name))))?;
    let headers =
        [(header::CONTENT_TYPE, asset.media), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, asset.bytes).into_response())
}
