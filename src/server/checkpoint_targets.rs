//! Where the audit's checkpoints go as they are made, so that a history written anew inside the database disagrees with what
//! lies outside it: a file, syslog or a webhook. Every server publishes every checkpoint; one that reaches a target twice does no
//! harm. A target that fails is tried again with everything that it lacks.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UdpSocket, UnixDatagram};
use tokio::sync::Mutex;
use url::Url;

use super::webhook;
use crate::app::App;
use crate::authority::audit_file;
use crate::error::{Error, ErrorKind, Result};
use crate::model::audit::Checkpoint;
use crate::model::id::CheckpointId;

/// How soon after its making a checkpoint is outside.
pub const PERIOD: Duration = Duration::from_secs(10);
const TIME: Duration = Duration::from_secs(10);
/// Facility 13 (log audit), severity 5 (notice), RFC 5424 §6.2.1.
const PRIORITY: u8 = 13 * 8 + 5;

/// One place outside the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    File(PathBuf),
    /// The socket of the local syslog, such as /dev/log.
    Syslog(PathBuf),
    /// HOST:PORT over UDP (RFC 5426).
    SyslogUdp(String),
    Webhook(Url),
}

impl Target {
    pub fn parse(text: &str) -> Result<Target, String> {
        let wrong = || {
            format!(
                "\"{text}\" is no target for checkpoints; write file:/PATH, syslog:/dev/log, syslog:udp:HOST:PORT or https://HOST/PATH"
            )
        };
        let absolute = |path: &str| Some(PathBuf::from(path)).filter(|path| path.is_absolute()).ok_or_else(wrong);
        match text.split_once(':') {
            Some(("file", path)) => absolute(path).map(Target::File),
            Some(("syslog", rest)) => match rest.strip_prefix("udp:") {
                Some(peer)
                    if peer
                        .rsplit_once(':')
                        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) =>
                {
                    Ok(Target::SyslogUdp(peer.to_owned()))
                }
                Some(_) => Err(wrong()),
                None => absolute(rest).map(Target::Syslog),
            },
            Some(("https", _)) => {
                Url::parse(text).ok().filter(|url| url.host_str().is_some()).map(Target::Webhook).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }

    /// The kind, as metrics have it.
    const fn kind(&self) -> &'static str {
        match self {
            Target::File(_) => "file",
            Target::Syslog(_) | Target::SyslogUdp(_) => "syslog",
            Target::Webhook(_) => "webhook",
        }
    }

    async fn send(&self, note: &str) -> std::io::Result<()> {
        match self {
            Target::File(path) => append(path, note),
            Target::Syslog(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.send_to(syslog_line(note).as_bytes(), path).await.map(drop)
            }
            Target::SyslogUdp(peer) => {
                let any = if peer.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
                UdpSocket::bind(any).await?.send_to(syslog_line(note).as_bytes(), peer).await.map(drop)
            }
            Target::Webhook(url) => webhook::post(url, "text/plain; charset=utf-8", note).await,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::File(path) => write!(f, "file:{}", path.display()),
            Target::Syslog(path) => write!(f, "syslog:{}", path.display()),
            Target::SyslogUdp(peer) => write!(f, "syslog:udp:{peer}"),
            // a secret often stands in the path or the query
            Target::Webhook(url) => write!(f, "https://{}", url.host_str().unwrap_or_default()),
        }
    }
}

/// The targets with what each has got. The lock lets one turn publish at a time.
#[derive(Debug)]
pub struct Publisher {
    app: Arc<App>,
    targets: Mutex<Vec<(Target, Option<CheckpointId>)>>,
}

impl Publisher {
    pub fn new(app: Arc<App>, targets: &[Target]) -> Self {
        let targets = targets.iter().map(|target| (target.clone(), None)).collect();
        Publisher { app, targets: Mutex::new(targets) }
    }

    /// Sends what each target lacks. One that fails keeps no other waiting for longer than its time.
    pub async fn publish(&self) -> Result<()> {
        let mut failed = Vec::new();
        for (target, sent) in self.targets.lock().await.iter_mut() {
            let checkpoints = match (*sent, &*target) {
                (Some(last), _) => self.app.authority.checkpoints_after(last).await?,
                // the file holds the whole record
                (None, Target::File(_)) => {
                    self.app.authority.checkpoints_after(CheckpointId::from_bytes([0; 16])).await?
                }
                (None, _) => self.app.authority.newest_checkpoint().await?.into_iter().collect(),
            };
            for checkpoint in checkpoints {
                let outcome = deliver(target, &checkpoint).await;
                let word = if outcome.is_ok() { "done" } else { "failed" };
                metrics::counter!("chancery_checkpoint_publications_total", "target" => target.kind(), "outcome" => word)
                    .increment(1);
                if let Err(why) = outcome {
                    failed.push(format!("{target}: {why}"));
                    break;
                }
                *sent = Some(checkpoint.id);
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        let detail = format!("audit checkpoints could not be published to {}", failed.join(", "));
        Err(Error::new(ErrorKind::Unavailable, detail))
    }
}

/// A checkpoint of an earlier version has no note and is not published.
async fn deliver(target: &Target, checkpoint: &Checkpoint) -> std::io::Result<()> {
    if checkpoint.note.is_empty() {
        return Ok(());
    }
    match tokio::time::timeout(TIME, target.send(&checkpoint.note)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(std::io::Error::other("no answer within 10 seconds")),
    }
}

/// Appends a note that the file does not hold yet, and makes it durable. What a crash left of a note is cut off first.
fn append(path: &Path, note: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).read(true).open(path)?;
    let text = std::io::read_to_string(&file)?;
    let whole = end_of_signatures(&text);
    if audit_file::notes(&text[..whole]).iter().any(|other| other == note) {
        return Ok(());
    }
    if !text[whole..].trim().is_empty() {
        file.set_len(u64::try_from(whole).unwrap_or(0))?;
    }
    file.write_all(format!("{}{note}", if text.is_empty() { "" } else { "\n" }).as_bytes())?;
    file.sync_all()
}

/// Where the last signature line ends that was written to its end.
fn end_of_signatures(text: &str) -> usize {
    let lines = text.split_inclusive('\n').scan(0, |end, line| {
        *end += line.len();
        Some((*end, line))
    });
    lines.filter(|(_, line)| line.starts_with('\u{2014}') && line.ends_with('\n')).last().map_or(0, |(end, _)| end)
}

/// RFC 5424 with the note on one line: its line feeds as `\n`, as JSON has them.
fn syslog_line(note: &str) -> String {
    let text = serde_json::Value::from(note).to_string();
    format!("<{PRIORITY}>1 - - chancery - audit-checkpoint - {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_shown_without_secrets() {
        for text in ["file:/var/log/notes", "syslog:/dev/log", "syslog:udp:[::1]:514", "syslog:udp:log.example:514"] {
            assert_eq!(Target::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Target::parse("https://hooks.example/secret?t=1").unwrap().to_string(), "https://hooks.example");
        for text in
            ["", "file:", "file:notes", "syslog:", "syslog:udp:host", "http://a/", "https://", "ftp://a/", "/dev/log"]
        {
            assert!(Target::parse(text).unwrap_err().contains("write file:/PATH"), "{text}");
        }
    }

    #[test]
    fn a_file_gets_each_note_once_and_loses_what_a_crash_left_of_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notes");
        let (one, two) = ("o\n1\nAA==\n\n\u{2014} o AAAA=\n", "o\n2\nBB==\n\n\u{2014} o BBBB=\n");
        append(&path, one).unwrap();
        append(&path, one).unwrap();
        assert_eq!(audit_file::notes(&std::fs::read_to_string(&path).unwrap()), [one]);
        for cut in 1..two.len() + 1 {
            let Some(part) = two.get(..cut) else { continue };
            std::fs::write(&path, format!("{one}\n{part}")).unwrap();
            append(&path, two).unwrap();
            append(&path, one).unwrap();
            assert_eq!(audit_file::notes(&std::fs::read_to_string(&path).unwrap()), [one, two], "{cut}");
        }
    }

    #[test]
    fn a_syslog_line_is_one_line() {
        let line = syslog_line("o\n1\n\n\u{2014} o AA=\n");
        assert_eq!(line, "<109>1 - - chancery - audit-checkpoint - \"o\\n1\\n\\n\u{2014} o AA=\\n\"");
    }
}
