//! Certificates that a CA issued before it came here.

use axum::Json as Reply;
use axum::extract::State;

use super::Api;
use crate::access::Caller;
use crate::api::document::WriteProblems;
use crate::authority::imports::{Presented, Taken};
use crate::error::{Error, Result};
use crate::http::extract::Json;
use crate::model::reason::RevocationReason;
use crate::model::revocation::NewRevocation;
use crate::pki::pem;
use crate::wire::imports::{ImportRequest, ImportResult, ImportedItem, PresentedCertificate};

/// Import certificates
#[utoipa::path(post, path = "/api/v1/certificates/imports", operation_id = "importCertificates", tag = "certificates",
    description = "Takes certificates that an issuer of this installation signed elsewhere, at most 500 in a body of 1 MiB: they are found, \
answered by OCSP and can be revoked from then on. Sending them again changes nothing, so no Idempotency-Key is needed; a revocation that was not \
known here is added. A certificate that is refused is reported with the reason, and the others are imported all the same.",
    request_body = ImportRequest,
    responses((status = 200, description = "What became of each", body = ImportResult), WriteProblems))]
pub async fn create(
    caller: Caller,
    State(api): State<Api>,
    Json { value: asked, .. }: Json<ImportRequest>,
) -> Result<Reply<ImportResult>> {
    caller.may_manage_hierarchy()?;
    let presented = asked.certificates.iter().enumerate().map(|(n, one)| read(n, one)).collect::<Result<Vec<_>>>()?;
    let taken = api.authority.import_certificates(caller.actor(), &presented, asked.dry_run).await?;
    Ok(Reply(ImportResult { dry_run: asked.dry_run, items: taken.into_iter().map(item).collect() }))
}

fn read(n: usize, one: &PresentedCertificate) -> Result<Presented> {
    let wrong =
        |what: &str| Error::malformed(format!("certificates[{n}].certificate {what}; give one certificate in PEM"));
    let mut found = pem::certificates(&one.certificate).map_err(|e| wrong("is not PEM").because(e))?;
    let der = found.pop().filter(|_| found.is_empty()).ok_or_else(|| wrong("holds none, or several"))?;
    let revoked = one.revocation.as_ref().map(|revocation| {
        let reason = revocation.reason.as_deref();
        let reason = reason.map_or(Ok(RevocationReason::Unspecified), RevocationReason::from_name)?;
        Ok::<_, Error>((revocation.revoked_at, NewRevocation::new(reason, revocation.invalidity_date)))
    });
    Ok(Presented { der, revoked: revoked.transpose()? })
}

fn item(taken: Taken) -> ImportedItem {
    let outcome = match &taken {
        Taken::Imported { is_revoked: false } => "imported",
        Taken::Imported { is_revoked: true } => "imported_revoked",
        Taken::Known => "known",
        Taken::Revoked => "revoked",
        Taken::Refused { .. } => "refused",
    };
    let (rule, why) = match taken {
        Taken::Refused { rule, why } => (Some(rule), Some(why)),
        Taken::Imported { .. } | Taken::Known | Taken::Revoked => (None, None),
    };
    ImportedItem { outcome: outcome.to_owned(), rule, why }
}
