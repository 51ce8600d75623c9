//! The audit as a file: written from the database, and checked without one.

use std::io::BufRead;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Authority;
use super::audit_check::{AuditCheck, AuditKeys, AuditVerdict, KnownOutside};
use super::fsck::{AuditRow, Report};
use crate::error::{Error, Result};
use crate::model::audit::{ChainedEvent, Checkpoint};
use crate::wire::audit_file::{AuditLine, VERSION};

impl Authority {
    /// Gives every line to `write`, in the order of the file. A row that cannot be read is left out and named in what comes
    /// back: the check of the file then finds the gap.
    pub async fn export_audit(&self, mut write: impl FnMut(&AuditLine) -> Result<()>) -> Result<Vec<String>> {
        let mut report = Report::default();
        let keys = self.audit_keys(&mut report).await?;
        let verifier_key = keys.verifier.as_ref().map(ToString::to_string);
        write(&AuditLine::Audit { version: VERSION, verifier_key, exported_at: self.store.now() })?;
        for (id, public_key) in keys.public {
            write(&AuditLine::Key { id, public_key: BASE64.encode(public_key) })?;
        }
        let (mut seals, mut events) = (0, 0);
        let read = |row: AuditRow| match row {
            AuditRow::Checkpoint(checkpoint) => {
                seals += 1;
                write(&AuditLine::Checkpoint((&checkpoint).into()))
            }
            AuditRow::Event(event) => {
                events += 1;
                write(&AuditLine::Event(event.into()))
            }
        };
        self.walk_audit(&mut report, read).await?;
        write(&AuditLine::End { checkpoints: seals, events })?;
        Ok(report.findings)
    }
}

/// Checks an exported file. Fails when it is no such file; what is wrong in it is a finding.
pub fn verify_file(file: impl BufRead, known: KnownOutside) -> Result<AuditVerdict> {
    let mut keys = AuditKeys::default();
    let mut lines = file.lines().enumerate().map(|(at, line)| read(at + 1, line));
    match lines.next().transpose()? {
        Some(AuditLine::Audit { version: VERSION, verifier_key, .. }) => {
            let verifier = verifier_key.map(|text| text.parse()).transpose();
            keys.verifier =
                verifier.map_err(|e| Error::malformed("the verifier key of line 1 is none").because(e))?;
        }
        Some(AuditLine::Audit { version, .. }) => {
            let detail = format!("the file has version {version} and this chancery reads version {VERSION}");
            return Err(Error::malformed(detail));
        }
        _ => return Err(not_exported(1)),
    }
    let mut check = None;
    let (mut end, mut after_end, mut has_events) = (None, 0_u64, false);
    for line in lines {
        let line = line?;
        if end.is_some() {
            after_end += 1;
            continue;
        }
        match line {
            AuditLine::Key { id, public_key } if check.is_none() => {
                let public_key = BASE64.decode(public_key);
                keys.public.insert(id, public_key.map_err(|e| Error::malformed("a key is not base64").because(e))?);
            }
            AuditLine::Checkpoint(line) if !has_events => {
                let check = check.get_or_insert_with(|| AuditCheck::new(std::mem::take(&mut keys), known.clone()));
                check.checkpoint(&Checkpoint::try_from(line)?);
            }
            AuditLine::Event(line) => {
                has_events = true;
                let check = check.get_or_insert_with(|| AuditCheck::new(std::mem::take(&mut keys), known.clone()));
                check.event(&ChainedEvent::try_from(line)?);
            }
            AuditLine::End { checkpoints, events } => end = Some((checkpoints, events)),
            AuditLine::Audit { .. } | AuditLine::Key { .. } | AuditLine::Checkpoint(_) => {
                return Err(Error::malformed("the file holds two exports, or its lines are not in their order"));
            }
        }
    }
    let mut verdict = check.unwrap_or_else(|| AuditCheck::new(keys, known)).finish();
    if after_end > 0 {
        verdict
            .findings
            .push(format!("{after_end} lines stand behind the one that ends the file: somebody added them"));
    }
    Ok(counted(verdict, end))
}

fn counted(mut verdict: AuditVerdict, end: Option<(u64, u64)>) -> AuditVerdict {
    let finding = match end {
        None => Some("the file ends before its last line: it was cut, or the export was stopped".to_owned()),
        Some((checkpoints, events)) if (checkpoints, events) != (verdict.checkpoints, verdict.events) => {
            Some(format!(
                "the file says that it has {events} events and {checkpoints} checkpoints, and has {} and {}",
                verdict.events, verdict.checkpoints
            ))
        }
        Some(_) => None,
    };
    verdict.findings.extend(finding);
    verdict
}

fn read(at: usize, line: std::io::Result<String>) -> Result<AuditLine> {
    let line = line.map_err(|e| Error::malformed(format!("line {at} cannot be read: {e}")))?;
    serde_json::from_str(&line).map_err(|e| not_exported(at).because(e))
}

fn not_exported(at: usize) -> Error {
    Error::malformed(format!("line {at} is not of a file that `chancery audit export` writes"))
}

/// The signed notes of a file to which checkpoints were published: an empty line ends each text, lines with a dash sign it.
pub fn notes(text: &str) -> Vec<String> {
    let (mut notes, mut note, mut signed) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        let signature = line.starts_with('\u{2014}');
        if signed && !signature {
            notes.push(std::mem::take(&mut note));
            signed = false;
        }
        if note.is_empty() && line.is_empty() {
            continue;
        }
        signed |= signature;
        note.push_str(line);
        note.push('\n');
    }
    if !note.is_empty() {
        notes.push(note);
    }
    notes
}
