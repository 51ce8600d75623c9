//! `inspect --short`: of each object what people look for first.

use serde_json::Value;

use super::output::{Sheet, text};
use crate::model::text::counted;

/// How many entries of a CRL are told one by one.
const ENTRIES: usize = 10;

/// Each object of a file, with its place where there are several.
pub fn of_file(objects: &[Value]) -> Vec<Sheet> {
    let place = |at: usize| match objects.len() {
        1 => String::new(),
        all => format!(" {} of {all}", at + 1),
    };
    objects.iter().enumerate().map(|(at, object)| sheet(object, &place(at))).collect()
}

fn sheet(object: &Value, place: &str) -> Sheet {
    match object["kind"].as_str() {
        Some("certificate") => certificate(object, place),
        Some("certificate request") => request(object, place),
        Some("certificate revocation list") => crl(object, place),
        Some("OCSP answer") => ocsp(object, place),
        _ => key(object, place),
    }
}

fn certificate(object: &Value, place: &str) -> Sheet {
    let role = match (object["ca"] == true, object["subject"] == object["issuer"]) {
        (true, true) => "root certificate",
        (true, false) => "CA certificate",
        (false, _) => "certificate",
    };
    let mut sheet = Sheet::new(titled(role, place, object));
    about(&mut sheet, object);
    sheet.time("Valid from", &text(object, "not_before"));
    sheet.time("Expires", &text(object, "not_after"));
    sheet.line("Key", &text(object, "key_algorithm"));
    sheet.line("Usage", &listed(object, "extended_key_usage"));
    if object["ca"] == true {
        sheet.line("Path length", &text(object, "path_length"));
    }
    numbers(&mut sheet, object);
    sheet
}

/// What the CA knows of one of its certificates.
pub fn known(record: &Value) -> Sheet {
    let mut sheet = Sheet::new(titled("certificate", "", record));
    sheet.state("Status", &text(record, "status"));
    sheet.time("Revoked", &text(&record["revocation"], "revoked_at"));
    sheet.line("Reason", &text(&record["revocation"], "reason"));
    sheet.line("CA above it", &text(record, "issuer_revocation"));
    sheet.line("CA above it", &text(record, "issuer_removed"));
    about(&mut sheet, record);
    sheet.line("Profile", &text(record, "profile"));
    sheet.line("Requested by", &text(record, "requester"));
    sheet.time("Issued", &text(record, "issued_at"));
    sheet.time("Valid from", &text(record, "not_before"));
    sheet.time("Expires", &text(record, "not_after"));
    sheet.line("Key", &text(record, "key_algorithm"));
    sheet.line("Id", &text(record, "id"));
    numbers(&mut sheet, record);
    sheet
}

fn request(object: &Value, place: &str) -> Sheet {
    let mut sheet = Sheet::new(titled("certificate request", place, object));
    about(&mut sheet, object);
    sheet.line("Key", &text(object, "key_algorithm"));
    sheet.line("Asks for", &listed(object, "asked_extensions"));
    sheet.state("Signature", &text(object, "signature"));
    sheet
}

fn crl(object: &Value, place: &str) -> Sheet {
    let mut sheet = Sheet::new(format!("certificate revocation list{place}"));
    sheet.line("Issuer", &text(object, "issuer"));
    sheet.line("Number", &text(object, "number"));
    sheet.line("Scope", &text(object, "scope"));
    sheet.time("Issued", &text(object, "this_update"));
    sheet.time("Expires", &text(object, "next_update"));
    sheet.line("Revoked", &counted(object["entries"].as_u64().unwrap_or_default(), "certificate"));
    let entries = object["revoked"].as_array().map(Vec::as_slice).unwrap_or_default();
    for entry in entries.iter().take(ENTRIES) {
        let reason = entry["reason"].as_str().unwrap_or("unspecified");
        sheet.line("", &format!("{} at {}, {reason}", text(entry, "serial"), text(entry, "revoked_at")));
    }
    if entries.len() > ENTRIES {
        sheet.line("", &format!("and {} more; --long lists all", entries.len() - ENTRIES));
    }
    sheet
}

fn ocsp(object: &Value, place: &str) -> Sheet {
    let mut sheet = Sheet::new(format!("OCSP answer{place}"));
    sheet.line("Failure", &text(object, "failure"));
    sheet.line("Responder", &text(object, "responder"));
    sheet.time("Issued", &text(object, "produced_at"));
    for answer in object["answers"].as_array().into_iter().flatten() {
        sheet.line("Serial", &text(answer, "serial"));
        sheet.state("Status", &text(answer, "status"));
        sheet.time("Revoked", &text(answer, "revoked_at"));
        sheet.line("Reason", &text(answer, "reason"));
        sheet.time("As of", &text(answer, "this_update"));
        sheet.time("Expires", &text(answer, "next_update"));
    }
    sheet
}

fn key(object: &Value, place: &str) -> Sheet {
    let mut sheet = Sheet::new(format!("{}{place}", text(object, "kind")));
    if object["encrypted"] == true {
        sheet.line("Key", "encrypted with a password");
    }
    sheet.line("Key", &text(object, "key_algorithm"));
    sheet.line("Fingerprint", &text(object, "spki_sha256"));
    sheet
}

/// `certificate 1 of 2: web.lab.example`
fn titled(noun: &str, place: &str, object: &Value) -> String {
    match object["names"][0].as_str().or_else(|| object["subject"].as_str()).filter(|name| !name.is_empty()) {
        Some(name) => format!("{noun}{place}: {name}"),
        None => format!("{noun}{place}"),
    }
}

fn about(sheet: &mut Sheet, object: &Value) {
    sheet.line("Names", &listed(object, "names"));
    sheet.line("Subject", &text(object, "subject"));
    sheet.line("Issuer", &text(object, "issuer"));
}

fn numbers(sheet: &mut Sheet, object: &Value) {
    sheet.line("Serial", &text(object, "serial"));
    sheet.line("Fingerprint", &text(object, "fingerprint"));
}

fn listed(object: &Value, member: &str) -> String {
    text(object, member).replace(',', ", ")
}
