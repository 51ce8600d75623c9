//! Where the audit's checkpoints go as they are made, so that a history written anew inside the database disagrees with what
//! lies outside it: a file, syslog or a webhook. Every server publishes every checkpoint; one that reaches a target twice does no
//! harm. A target that fails is tried again with everything that it lacks.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UdpSocket, UnixDatagram};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
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
const SLOW: &str = "no answer within 10 seconds";
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
            Target::File(path) => ended(&mut Some(begin(path, vec![note.to_owned()])), TIME).await,
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

/// One target with what it has got. Each has a task of its own, so none waits for another.
#[derive(Debug)]
pub struct Publisher {
    app: Arc<App>,
    target: Target,
    /// The lock lets one turn publish at a time.
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    sent: Option<CheckpointId>,
    /// A write into a file that has not ended yet: no other is begun beside it.
    writing: Option<JoinHandle<std::io::Result<()>>>,
}

impl Publisher {
    /// One for each target.
    pub fn each(app: &Arc<App>, targets: &[Target]) -> Vec<Publisher> {
        let one =
            |target: &Target| Publisher { app: app.clone(), target: target.clone(), progress: Mutex::default() };
        targets.iter().map(one).collect()
    }

    /// Sends what the target lacks.
    pub async fn publish(&self) -> Result<()> {
        let mut progress = self.progress.lock().await;
        let missing = self.missing(progress.sent).await?;
        let outcome = match &self.target {
            Target::File(path) => {
                let written = write(&mut progress.writing, path, &missing, TIME).await;
                if let (Ok(()), Some(last)) = (&written, missing.last()) {
                    progress.sent = Some(last.id);
                }
                self.count(&written, if written.is_ok() { missing.len() } else { 1 });
                written
            }
            _ => self.deliver_each(&mut progress, missing).await,
        };
        let name = self.target.to_string();
        let failure = outcome.as_ref().err().map(ToString::to_string);
        self.app.authority.target_failures.set(&name, failure);
        outcome.map_err(|why| {
            let detail = format!("audit checkpoints could not be published to {name}: {why}");
            Error::new(ErrorKind::Unavailable, detail)
        })
    }

    async fn missing(&self, sent: Option<CheckpointId>) -> Result<Vec<Checkpoint>> {
        let authority = &self.app.authority;
        let mut missing = match (sent, &self.target) {
            (Some(last), _) => authority.checkpoints_after(last).await?,
            // the file holds the whole record
            (None, Target::File(_)) => authority.checkpoints_after(CheckpointId::from_bytes([0; 16])).await?,
            (None, _) => authority.newest_checkpoint().await?.into_iter().collect(),
        };
        // a file is read once for all of them
        while let (Target::File(_), Some(last)) = (&self.target, missing.last().map(|last| last.id)) {
            let mut page = authority.checkpoints_after(last).await?;
            if page.is_empty() {
                break;
            }
            missing.append(&mut page);
        }
        Ok(missing)
    }

    async fn deliver_each(&self, progress: &mut Progress, missing: Vec<Checkpoint>) -> std::io::Result<()> {
        for checkpoint in missing {
            let outcome = deliver(&self.target, &checkpoint).await;
            self.count(&outcome, 1);
            outcome?;
            progress.sent = Some(checkpoint.id);
        }
        Ok(())
    }

    fn count(&self, outcome: &std::io::Result<()>, notes: usize) {
        let word = if outcome.is_ok() { "done" } else { "failed" };
        metrics::counter!("chancery_checkpoint_publications_total", "target" => self.target.kind(), "outcome" => word)
            .increment(u64::try_from(notes).unwrap_or(u64::MAX));
    }
}

/// Appends to a file on a thread that may block. A write that takes longer goes on there, and the next turn waits for it.
async fn write(
    writing: &mut Option<JoinHandle<std::io::Result<()>>>,
    path: &Path,
    missing: &[Checkpoint],
    limit: Duration,
) -> std::io::Result<()> {
    if writing.is_some() {
        ended(writing, limit).await?;
    }
    let notes: Vec<String> = missing.iter().map(|c| c.note.clone()).filter(|note| !note.is_empty()).collect();
    if notes.is_empty() {
        return Ok(());
    }
    *writing = Some(begin(path, notes));
    ended(writing, limit).await
}

fn begin(path: &Path, notes: Vec<String>) -> JoinHandle<std::io::Result<()>> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || append(&path, &notes))
}

async fn ended(writing: &mut Option<JoinHandle<std::io::Result<()>>>, limit: Duration) -> std::io::Result<()> {
    let Some(task) = writing.as_mut() else { return Ok(()) };
    match tokio::time::timeout(limit, task).await {
        Ok(outcome) => {
            *writing = None;
            outcome.unwrap_or_else(|error| Err(std::io::Error::other(error)))
        }
        Err(_) => Err(std::io::Error::other(SLOW)),
    }
}

/// A checkpoint of an earlier version has no note and is not published.
async fn deliver(target: &Target, checkpoint: &Checkpoint) -> std::io::Result<()> {
    if checkpoint.note.is_empty() {
        return Ok(());
    }
    match tokio::time::timeout(TIME, target.send(&checkpoint.note)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(std::io::Error::other(SLOW)),
    }
}

/// Appends the notes that the file does not hold yet, and makes them durable. What a crash left of a note is cut off first.
fn append(path: &Path, notes: &[String]) -> std::io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(std::io::Error::other("it is no regular file; name one, or the path of a new one"));
    }
    let mut file = std::fs::OpenOptions::new().create(true).append(true).read(true).open(path)?;
    let text = std::io::read_to_string(&file)?;
    let whole = end_of_signatures(&text);
    let known: HashSet<String> = audit_file::notes(&text[..whole]).into_iter().collect();
    let mut added = String::new();
    for note in notes.iter().filter(|note| !known.contains(*note)) {
        if !text.is_empty() || !added.is_empty() {
            added.push('\n');
        }
        added.push_str(note);
    }
    if added.is_empty() {
        return Ok(());
    }
    if !text[whole..].trim().is_empty() {
        file.set_len(u64::try_from(whole).unwrap_or(0))?;
    }
    file.write_all(added.as_bytes())?;
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
        let (one_only, two_only) = ([one.to_owned()], [two.to_owned()]);
        append(&path, &one_only).unwrap();
        append(&path, &one_only).unwrap();
        assert_eq!(audit_file::notes(&std::fs::read_to_string(&path).unwrap()), [one]);
        for cut in 1..two.len() + 1 {
            let Some(part) = two.get(..cut) else { continue };
            std::fs::write(&path, format!("{one}\n{part}")).unwrap();
            append(&path, &two_only).unwrap();
            append(&path, &one_only).unwrap();
            assert_eq!(audit_file::notes(&std::fs::read_to_string(&path).unwrap()), [one, two], "{cut}");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let home = tempfile::tempdir().unwrap();
        let error = append(home.path(), &["o\n1\n\n\u{2014} o AA=\n".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("no regular file"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_write_that_hangs_ends_the_turn_and_no_other_is_begun_beside_it() {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let hung = tokio::task::spawn_blocking(move || wait.recv().map_err(std::io::Error::other));
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notes");
        let mut writing = Some(hung);
        for _ in 0..2 {
            let slow = write(&mut writing, &path, &[], Duration::from_millis(20)).await.unwrap_err();
            assert_eq!(slow.to_string(), SLOW);
            assert!(writing.is_some(), "the next turn waits for it");
        }
        go.send(()).unwrap();
        write(&mut writing, &path, &[], Duration::from_secs(60)).await.unwrap();
        assert!(writing.is_none());
    }

    #[test]
    fn a_syslog_line_is_one_line() {
        let line = syslog_line("o\n1\n\n\u{2014} o AA=\n");
        assert_eq!(line, "<109>1 - - chancery - audit-checkpoint - \"o\\n1\\n\\n\u{2014} o AA=\\n\"");
    }
}
