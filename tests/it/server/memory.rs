//! Where the unlock key stands in memory: on a locked page that is in no dump, in a process that nobody may look into.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::process::{ANY, install};

const NOBODY: u32 = 65_534;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // it may have ended before
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `chancery serve` as a user without privileges where the test runs as root, under a shell command, until it is ready.
fn serve(home: &Path, before: &str) -> Server {
    // the user must reach the binary
    let binary = home.join("chancery");
    install(Path::new(env!("CARGO_BIN_EXE_chancery")), &binary);
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{before} exec \"$0\" \"$@\"")])
        .arg(&binary)
        .args(["serve", "-o", "json"])
        .args(ANY);
    command.env_clear().env("HOME", home).current_dir(home).stdout(Stdio::piped());
    command.stderr(std::fs::File::create(home.join("stderr")).unwrap());
    if is_root() {
        chown(home, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut server = Server(command.spawn().unwrap());
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("\"ready\"")), "{}", stderr(home));
    server
}

fn is_root() -> bool {
    // SAFETY: takes nothing and cannot fail
    unsafe { libc::geteuid() == 0 }
}

fn stderr(home: &Path) -> String {
    std::fs::read_to_string(home.join("stderr")).unwrap()
}

fn proc(server: &Server, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{}/{file}", server.0.id())).unwrap()
}

#[test]
fn the_unlock_key_is_on_locked_pages_and_the_process_is_not_dumped() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(home.path(), "");
    let locked = proc(&server, "status");
    let locked = locked.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().trim().to_owned();
    assert!(locked.trim_end_matches(" kB").parse::<u32>().unwrap() >= 4, "{locked}");
    let limits = proc(&server, "limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert!(core.split_whitespace().filter(|word| *word == "0").count() == 2, "{core}");
    // the kernel gives the files of a process that may not be dumped to root
    let owner = std::fs::metadata(format!("/proc/{}/environ", server.0.id())).unwrap().uid();
    assert_eq!(owner, 0);
    if is_root() {
        let pages = proc(&server, "smaps");
        let flags = pages.lines().filter_map(|line| line.strip_prefix("VmFlags:"));
        let locked: Vec<_> = flags.filter(|flags| flags.split(' ').any(|flag| flag == "lo")).collect();
        assert!(!locked.is_empty() && locked.iter().all(|flags| flags.split(' ').any(|f| f == "dd")), "{locked:?}");
    }
    assert!(!stderr(home.path()).contains("swap"));
}

#[test]
fn a_system_that_locks_no_memory_is_a_warning() {
    let home = tempfile::tempdir().unwrap();
    let _server = serve(home.path(), "ulimit -l 0;");
    let told = stderr(home.path());
    assert_eq!(told.matches("may be written to swap").count(), 1, "{told}");
}
