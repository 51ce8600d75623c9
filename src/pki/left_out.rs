//! What a CSR asked for and its certificate does not have: profiles decide what a certificate says, and whoever made the
//! CSR is told where that differs.

use super::certificate_facts::{CertificateFacts, name_of};
use super::der::DerError;
use super::oids;
use super::request::CertificateRequest;
use super::tbs::{TbsView, split_certificate};

/// One text for each attribute of the subject and for each extension: `subject O=Lab`, `extension keyUsage`. Names are left
/// to the caller, who gives all of them or refuses.
pub fn left_out(request: &CertificateRequest, certificate: &[u8]) -> Result<Vec<String>, DerError> {
    let facts = CertificateFacts::parse(certificate)?;
    let (tbs, ..) = split_certificate(certificate)?;
    let view = TbsView::parse(tbs)?;
    let subject = request.subject().attributes_missing_in(&facts.subject)?;
    let extensions = request.asked_extensions().iter().filter(|(id, value)| {
        // a key identifier says nothing that the key does not say
        ![oids::SUBJECT_ALT_NAME, oids::SUBJECT_KEY_ID].contains(id)
            && view.extension(id).is_none_or(|(_, given)| given != value.as_slice())
    });
    let extensions = extensions.map(|(id, _)| format!("extension {}", name_of(id)));
    Ok(subject.into_iter().map(|attribute| format!("subject {attribute}")).chain(extensions).collect())
}
