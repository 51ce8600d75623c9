//! The two streams: data on stdout, talk on stderr.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::model::text::printable_lines;

/// Writes to stdout; a reader that went away (`| head`) is no failure. Names that others chose reach a terminal only
/// without characters that could steer it.
pub fn data(text: &str) -> Result<()> {
    write(&printable_lines(text))
}

/// What is free of such characters already, and may have colours.
pub fn write(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::internal("cannot write to stdout", e)),
        _ => Ok(()),
    }
}

/// Whether stderr is to hold nothing but lines of JSON.
static JSON_LINES: AtomicBool = AtomicBool::new(false);

/// From here on what is said on stderr is one JSON object a message, as the log's lines are.
pub fn say_in_json() {
    JSON_LINES.store(true, Ordering::Relaxed);
}

pub fn says_json() -> bool {
    JSON_LINES.load(Ordering::Relaxed)
}

/// Talk for people.
pub fn say(line: &str) {
    say_all("INFO", &[line]);
}

/// One message of several lines.
pub fn say_all(level: &str, lines: &[impl AsRef<str>]) {
    if !says_json() {
        lines.iter().for_each(|line| say_line(&printable_lines(line.as_ref())));
        return;
    }
    let text: Vec<&str> = lines.iter().map(|line| line.as_ref().trim_end()).collect();
    let text = text.join("\n");
    if !text.trim().is_empty() {
        let now = SystemClock.now().to_string();
        let line = json!({"timestamp": now, "level": level, "message": text.trim(), "target": "chancery"});
        say_line(&printable_lines(&line.to_string()));
    }
}

/// Whoever closed stderr does not want to hear; the command goes on.
fn say_line(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Stderr for the log, whose lines may hold what others wrote.
#[derive(Debug)]
pub struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        std::io::stderr().lock().write_all(printable_lines(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
}
