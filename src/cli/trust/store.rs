//! What every trust store can do, and how its tools are run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Kind;
use super::root::Root;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Trusted,
    Absent,
    /// Neither to be read nor to be changed, and why.
    Unusable(String),
}

pub trait TrustStore {
    fn kind(&self) -> Kind;
    /// The file or database, for people.
    fn place(&self, root: &Root) -> String;
    fn state(&self, root: &Root) -> State;
    /// Why this user cannot change it.
    fn writable(&self) -> Option<String>;
    fn install(&self, root: &Root) -> Result<(), String>;
    fn remove(&self, root: &Root) -> Result<(), String>;
}

/// Runs a tool without input; its last words are the reason when it fails. The tool's output is in its own language
/// otherwise, hence LC_ALL.
pub fn tool(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        // Java tells about it on every start
        .env_remove("JAVA_TOOL_OPTIONS")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{}: {e}", program.display()))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(said(&output.stdout));
    }
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    let words = if err.is_empty() { out } else { err };
    Err(format!("{}: {}", program.display(), words.lines().last().unwrap_or("it failed without a word")))
}

/// A program on the path.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // update-ca-certificates is not on every user's path
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|d| d.join(name))
        .find(|p| p.is_file())
}

/// Whether this user may write there (access(2)).
pub fn may_write(path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: access reads the string it is given, which ends with NUL and lives through the call
    unsafe { libc::access(path.as_ptr(), libc::W_OK) == 0 }
}
