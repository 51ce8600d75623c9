//! The first page: how the CA is, what ends soon, what happened. It counts no large table: a count stops at a bound.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::Dash;
use super::certificates::Row;
use super::frame::Frame;
use super::visit::{Signed, Stop};
use crate::access::Permission;
use crate::error::Result;
use crate::http::html::page;
use crate::model::certificate::CertificateFilter;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    newest: Vec<Row>,
}

pub async fn show(signed: Signed, State(dash): State<Dash>) -> Result<Response, Stop> {
    signed.may(Permission::ReadCertificates)?;
    let now = dash.now();
    let own = CertificateFilter { requester: signed.caller().only_own(), ..CertificateFilter::default() };
    let newest = dash.authority.certificates(&own, None, 8).await?;
    let newest = newest.iter().filter(|c| signed.caller().may_see(c).is_ok()).map(|c| Row::of(c, now)).collect();
    Ok(page(&Overview { frame: Frame::of(&signed, "overview"), newest })?)
}
