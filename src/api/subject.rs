//! The subject of a request: each attribute is issued as asked or refused, never left out in silence.

use super::issue::unfit;
use crate::error::{Error, ErrorKind, Result};
use crate::model::identifier::shown;
use crate::pki::name::SubjectFields;
use crate::pki::profile::{AskedField, Profile};
use crate::wire::certificates::IssueRequest;

/// What was asked in `subject` and `common_name`.
pub fn read(asked: &IssueRequest) -> Result<SubjectFields> {
    let subject = asked.subject.clone().unwrap_or_default();
    let common_name = match (&asked.common_name, subject.common_name) {
        (Some(one), Some(other)) if *one != other => {
            return Err(unfit("/subject/common_name", "it differs from common_name: give it once"));
        }
        (one, other) => one.clone().or(other),
    };
    Ok(SubjectFields {
        common_name,
        country: subject.country,
        state: subject.state,
        locality: subject.locality,
        organization: subject.organization.into_iter().collect(),
        organizational_unit: subject.organizational_unit.into_iter().collect(),
        ..SubjectFields::default()
    })
}

/// Refuses what was asked and will not stand in the certificate.
pub fn is_given(profile: &Profile, asked: &SubjectFields, given: &SubjectFields) -> Result<()> {
    let missing = members(asked).into_iter().zip(members(given)).find_map(|((name, asked), (_, given))| {
        let fits =
            |text: &&str| given.iter().any(|g| g == text || (name == "common_name" && g.eq_ignore_ascii_case(text)));
        asked.into_iter().find(|text| !fits(text)).map(|text| (name, text.to_owned(), given.join(", ")))
    });
    let Some((name, value, given)) = missing else { return Ok(()) };
    let allowed = if given.is_empty() { "none".to_owned() } else { format!("\"{}\"", shown(&given)) };
    Err(Error::refused(
        ErrorKind::Refused,
        format!("subject.{name}"),
        format!("\"{}\"", shown(&value)),
        format!("{allowed} by profile {}", profile.name()),
        "leave it out, or ask for another profile",
    )
    .explained(if given.is_empty() {
        format!(
            "profile {} puts no {name} into a certificate, and \"{}\" was asked for",
            profile.name(),
            shown(&value)
        )
    } else {
        format!("profile {} sets {name} to {allowed}, and \"{}\" was asked for", profile.name(), shown(&value))
    }))
}

/// The attributes besides the common name that somebody chose, as grants write them (`O=Lab Ltd`).
pub fn taken_as_asked(profile: &Profile, given: &SubjectFields) -> Vec<String> {
    let of = |key: &str, values: Vec<&String>| values.into_iter().map(|v| format!("{key}={v}")).collect::<Vec<_>>();
    let attributes = profile.config().subject.asked.iter().map(|field| match field {
        AskedField::Country => of("C", given.country.iter().collect()),
        AskedField::State => of("ST", given.state.iter().collect()),
        AskedField::Locality => of("L", given.locality.iter().collect()),
        AskedField::Organization => of("O", given.organization.iter().collect()),
        AskedField::OrganizationalUnit => of("OU", given.organizational_unit.iter().collect()),
    });
    attributes.flatten().collect()
}

fn members(fields: &SubjectFields) -> [(&'static str, Vec<&str>); 6] {
    [
        ("common_name", fields.common_name.as_deref().into_iter().collect()),
        ("organization", texts(&fields.organization)),
        ("organizational_unit", texts(&fields.organizational_unit)),
        ("country", fields.country.as_deref().into_iter().collect()),
        ("state", fields.state.as_deref().into_iter().collect()),
        ("locality", fields.locality.as_deref().into_iter().collect()),
    ]
}

fn texts(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}
