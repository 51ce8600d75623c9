//! `inspect`: what is in a certificate, CSR or CRL file, or behind an id, serial or fingerprint. Private keys are
//! recognised and not shown.

use std::path::Path;

use clap::Args;
use serde_json::{Map, Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate, X509Extension};
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::certificates;
use super::failure::{Result, Trying};
use super::output::{self, Format, Table};
use super::session::Context;
use crate::clock::Timestamp;
use crate::error::Error;

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A file, an id (crt_…), a serial or a fingerprint
    thing: String,
}

pub async fn inspect(context: &Context, args: InspectArgs) -> Result<()> {
    let what = || format!("cannot inspect {}", args.thing);
    let path = Path::new(&args.thing);
    let objects = if path.is_file() {
        let content = std::fs::read(path)
            .map_err(|e| Error::malformed(format!("cannot read {}: {e}", path.display())))
            .trying(what)?;
        if context.output == Some(Format::Pem) {
            return Ok(output::data(&as_pem(&content)?)?);
        }
        describe(&content).trying(what)?
    } else {
        let client = context.client().await?;
        let found = certificates::select(&client, &args.thing).await.trying(what)?;
        if context.output == Some(Format::Pem) {
            return Ok(output::data(&output::text(&found, "certificate"))?);
        }
        vec![found]
    };
    if context.output == Some(Format::Json) {
        let value = if objects.len() == 1 { objects.into_iter().next().unwrap_or_default() } else { objects.into() };
        return Ok(output::json(&value)?);
    }
    let mut table = Table::new(&["MEMBER", "VALUE"]);
    for object in &objects {
        for member in object.as_object().into_iter().flatten().map(|(member, _)| member) {
            let text = output::text(object, member);
            if !text.contains('\n') {
                table.row(vec![member.clone(), text]);
            }
        }
    }
    Ok(table.print()?)
}

/// Label and DER of every object in a file.
fn objects(content: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Error> {
    if content.first() == Some(&0x30) {
        return Ok(vec![(label_of(content)?.to_owned(), content.to_vec())]);
    }
    let text = std::str::from_utf8(content).map_err(|_| Error::malformed("the file is neither PEM nor DER"))?;
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("-----BEGIN ") {
        let block = &rest[start..];
        let end = block
            .find("-----END ")
            .and_then(|e| block[e + 9..].find("-----").map(|tail| e + 9 + tail + 5))
            .ok_or_else(|| Error::malformed("a PEM block has no end"))?;
        let (label, der) = pem_rfc7468::decode_vec(&block.as_bytes()[..end])
            .map_err(|e| Error::malformed(format!("a PEM block cannot be read: {e}")))?;
        found.push((label.to_owned(), der));
        rest = &block[end..];
    }
    if found.is_empty() { Err(Error::malformed("there is nothing in PEM or DER in it")) } else { Ok(found) }
}

fn label_of(der: &[u8]) -> Result<&'static str, Error> {
    if X509Certificate::from_der(der).is_ok() {
        Ok("CERTIFICATE")
    } else if X509CertificationRequest::from_der(der).is_ok() {
        Ok("CERTIFICATE REQUEST")
    } else if CertificateRevocationList::from_der(der).is_ok() {
        Ok("X509 CRL")
    } else {
        Err(Error::malformed("this DER is no certificate, CSR or CRL"))
    }
}

fn as_pem(content: &[u8]) -> Result<String, Error> {
    let mut text = String::new();
    for (label, der) in objects(content)? {
        refuse_key(&label)?;
        let block = pem_rfc7468::encode_string(&label, pem_rfc7468::LineEnding::LF, &der)
            .map_err(|e| Error::malformed(format!("cannot write {label}: {e}")))?;
        text.push_str(&block);
    }
    Ok(text)
}

fn refuse_key(label: &str) -> Result<(), Error> {
    if label.contains("PRIVATE KEY") {
        return Err(Error::malformed(
            "this file holds a private key, which is never shown; give the certificate or the CSR",
        ));
    }
    Ok(())
}

fn describe(content: &[u8]) -> Result<Vec<Value>, Error> {
    objects(content)?.iter().map(|(label, der)| describe_one(label, der)).collect()
}

fn describe_one(label: &str, der: &[u8]) -> Result<Value, Error> {
    refuse_key(label)?;
    let bad = |e: &dyn std::fmt::Display| Error::malformed(format!("this {label} cannot be read: {e}"));
    match label {
        "CERTIFICATE" => X509Certificate::from_der(der).map(|(_, c)| certificate(&c, der)).map_err(|e| bad(&e)),
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => {
            X509CertificationRequest::from_der(der).map(|(_, r)| request(&r)).map_err(|e| bad(&e))
        }
        "X509 CRL" => CertificateRevocationList::from_der(der).map(|(_, c)| crl(&c)).map_err(|e| bad(&e)),
        other => Err(Error::malformed(format!("a PEM block {other} is no certificate, CSR or CRL"))),
    }
}

fn certificate(certificate: &X509Certificate<'_>, der: &[u8]) -> Value {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    let validity = certificate.validity();
    let mut facts = json!({
        "kind": "certificate",
        "serial": hex(certificate.raw_serial()),
        "subject": certificate.subject().to_string(),
        "issuer": certificate.issuer().to_string(),
        "not_before": time(validity.not_before.timestamp()),
        "not_after": time(validity.not_after.timestamp()),
        "key": key(certificate.public_key()),
        "sha256": hex(digest.as_ref()),
    });
    add_extensions(&mut facts, certificate.extensions().iter());
    facts
}

fn request(request: &X509CertificationRequest<'_>) -> Value {
    let info = &request.certification_request_info;
    let mut facts =
        json!({"kind": "certificate request", "subject": info.subject.to_string(), "key": key(&info.subject_pki)});
    if let Some(extensions) = request.requested_extensions() {
        let names = extensions.filter_map(|e| match e {
            ParsedExtension::SubjectAlternativeName(san) => Some(san.general_names.iter().map(name)),
            _ => None,
        });
        facts["names"] = names.flatten().collect();
    }
    facts
}

fn crl(crl: &CertificateRevocationList<'_>) -> Value {
    let revoked = crl.iter_revoked_certificates();
    let serials: Vec<String> = revoked.map(|r| hex(r.raw_serial())).collect();
    json!({
        "kind": "certificate revocation list",
        "issuer": crl.issuer().to_string(),
        "number": crl.crl_number().map(|n| n.to_string()),
        "this_update": time(crl.last_update().timestamp()),
        "next_update": crl.next_update().map(|t| time(t.timestamp())),
        "entries": serials.len(),
        "revoked": serials,
    })
}

fn add_extensions<'a>(facts: &mut Value, extensions: impl Iterator<Item = &'a X509Extension<'a>>) {
    let mut add = |member: &str, value: Value| {
        facts.as_object_mut().map(|map: &mut Map<String, Value>| map.insert(member.to_owned(), value));
    };
    for extension in extensions {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(san) => {
                add("names", san.general_names.iter().map(name).collect())
            }
            ParsedExtension::KeyUsage(usage) => add("key_usage", usage.to_string().into()),
            ParsedExtension::ExtendedKeyUsage(usage) => {
                let known = [
                    (usage.server_auth, "serverAuth"),
                    (usage.client_auth, "clientAuth"),
                    (usage.code_signing, "codeSigning"),
                    (usage.email_protection, "emailProtection"),
                    (usage.time_stamping, "timeStamping"),
                    (usage.ocsp_signing, "OCSPSigning"),
                ];
                let mut names: Vec<String> = known.iter().filter(|k| k.0).map(|k| k.1.to_owned()).collect();
                names.extend(usage.other.iter().map(|oid| oid.to_id_string()));
                add("extended_key_usage", names.into());
            }
            ParsedExtension::BasicConstraints(basic) => {
                add("ca", basic.ca.into());
                if let Some(length) = basic.path_len_constraint {
                    add("path_length", length.into());
                }
            }
            _ => {}
        }
    }
}

fn name(name: &GeneralName<'_>) -> Value {
    match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => (*text).into(),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(v4), _) => std::net::Ipv4Addr::from(v4).to_string().into(),
            (_, Ok(v6)) => std::net::Ipv6Addr::from(v6).to_string().into(),
            _ => hex(bytes).into(),
        },
        other => other.to_string().into(),
    }
}

fn key(spki: &SubjectPublicKeyInfo<'_>) -> String {
    use x509_parser::public_key::PublicKey;
    match spki.parsed() {
        Ok(PublicKey::RSA(rsa)) => format!("RSA-{}", rsa.key_size()),
        Ok(PublicKey::EC(point)) => format!("P-{}", if point.key_size() == 528 { 521 } else { point.key_size() }),
        _ if spki.algorithm.algorithm.to_id_string() == "1.3.101.112" => "Ed25519".to_owned(),
        _ => spki.algorithm.algorithm.to_id_string(),
    }
}

fn time(seconds: i64) -> String {
    Timestamp::from_secs(seconds).to_string()
}

/// Lower case, without the zero octet that DER puts before a high bit.
fn hex(bytes: &[u8]) -> String {
    let bytes = if bytes.len() > 1 && bytes[0] == 0 { &bytes[1..] } else { bytes };
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
