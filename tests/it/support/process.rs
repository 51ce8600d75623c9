//! The real binary as a process of its own, in an empty HOME: started, asked, stopped.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

pub const ANY: [&str; 6] = ["--listen", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--listen-ops", "127.0.0.1:0"];

/// The command with nothing of our surroundings.
pub fn chancery(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
    command.env_clear().env("HOME", home).current_dir(home);
    command
}

pub fn run(home: &Path, arguments: &[&str]) -> Output {
    chancery(home).args(arguments).output().unwrap()
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// Runs a command that must end with 0. Returns what it said on stderr.
pub fn succeeds(home: &Path, arguments: &[&str]) -> String {
    let output = run(home, arguments);
    assert_eq!(code(&output), 0, "{arguments:?}: {}", told(&output));
    told(&output)
}

pub fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Copies a program for whoever may run it. Another process writes it: a child between fork and exec would have the file that
/// this one writes open, and a file that is open for writing cannot be run.
pub fn install(program: &Path, to: &Path) {
    assert!(Command::new("install").args(["-m", "755"]).arg(program).arg(to).status().unwrap().success());
}

/// The cluster of the tests may run with fsync=off.
fn unsafe_database(environment: &[(&str, &str)]) -> Option<(&'static str, &'static str)> {
    let postgres = |(name, value): &(&str, &str)| *name == "CHANCERY_DATABASE_URL" && value.starts_with("postgres");
    environment.iter().any(postgres).then_some(("CHANCERY_ALLOW_UNSAFE_DATABASE", "true"))
}

/// `chancery serve`, which said that it is ready. Killed when dropped.
pub struct Process {
    pub ready: Value,
    pub home: PathBuf,
    pub child: Child,
    environment: Vec<(String, String)>,
}

impl Process {
    /// With `-o json` on free ports, its settings in the environment; stderr goes to `HOME/stderr`.
    pub fn start(home: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Process {
        let serve = [&["serve", "-o", "json"], arguments].concat();
        Process::spawn(home, chancery(home).args(serve), environment)
    }

    /// The same on a machine whose kernel has no IPv6.
    pub fn start_without_ipv6(home: &Path, arguments: &[&str]) -> Process {
        let mut command = chancery(home);
        command.args(["serve", "-o", "json"]).args(arguments);
        // SAFETY: between fork and exec it makes system calls alone
        unsafe { command.pre_exec(refuse_ipv6) };
        Process::spawn(home, &mut command, &[])
    }

    /// The same with a file system of its own at the folder `disk`, of so many KiB: it goes with the process.
    pub fn start_on_disk(home: &Path, disk: &Path, kib: u32, environment: &[(&str, &str)]) -> Process {
        let empty = home.join("empty");
        std::fs::create_dir(&empty).unwrap();
        Process::start_on_disk_with(home, disk, kib, &empty, environment)
    }

    /// The same with what stands in the folder `files`.
    pub fn start_on_disk_with(
        home: &Path,
        disk: &Path,
        kib: u32,
        files: &Path,
        environment: &[(&str, &str)],
    ) -> Process {
        let fill = "cp -a \"$2/.\" \"$1\" && shift 2 && exec \"$@\"";
        let mount = format!("mount -t tmpfs -o size={kib}k chancery-test \"$1\" && {fill}");
        let mut command = Command::new("unshare");
        let is_root = unsafe { libc::geteuid() } == 0;
        command.args(if is_root { &["--mount"][..] } else { &["--user", "--map-root-user", "--mount"] });
        command.args(["sh", "-c", &mount, "sh"]).arg(disk).arg(files).arg(env!("CARGO_BIN_EXE_chancery"));
        command.args(["serve", "-o", "json"]).env_clear().env("HOME", home).current_dir(home);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        Process::spawn(home, &mut command, environment)
    }

    fn spawn(home: &Path, command: &mut Command, environment: &[(&str, &str)]) -> Process {
        let stderr = std::fs::File::create(home.join("stderr")).unwrap();
        let mut child = command
            .envs(["", "_HTTP", "_OPS"].map(|l| (format!("CHANCERY_LISTEN{l}"), "127.0.0.1:0")))
            .envs(environment.iter().copied())
            .envs(unsafe_database(environment))
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find(|event| event["event"] == "ready");
        let Some(ready) = ready else {
            let status = child.wait().unwrap();
            panic!("{status}: {}", std::fs::read_to_string(home.join("stderr")).unwrap());
        };
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Process { ready, home: home.to_owned(), child, environment }
    }

    /// A command beside it, with the same settings.
    pub fn run(&self, arguments: &[&str]) -> Output {
        chancery(&self.home).args(arguments).envs(self.environment.iter().cloned()).output().unwrap()
    }

    /// The same where the process has a file system of its own.
    pub fn run_inside(&self, arguments: &[&str]) -> Output {
        self.inside_of(env!("CARGO_BIN_EXE_chancery")).args(arguments).output().unwrap()
    }

    /// One more process on that file system, whose stderr goes to a folder of its own.
    pub fn start_inside(&self, folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Process {
        let mut command = self.inside_of(env!("CARGO_BIN_EXE_chancery"));
        command.args(["serve", "-o", "json"]).args(arguments);
        Process::spawn(folder, &mut command, environment)
    }

    /// A program on that file system, with the settings of this process.
    pub fn inside_of(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.child.id().to_string(), "--mount"]);
        if unsafe { libc::geteuid() } != 0 {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg(program).env_clear().env("HOME", &self.home).envs(self.environment.iter().cloned());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    /// A path as the process sees it.
    pub fn inside(&self, path: &Path) -> PathBuf {
        let inner = path.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.child.id())).join(inner)
    }

    /// `Bearer …` of an operator's token.
    pub fn operator(&self) -> String {
        let made = self.run(&["token", "create", "--role", "operator", "--name", "ci"]);
        assert_eq!(code(&made), 0, "{}", told(&made));
        format!("Bearer {}", String::from_utf8(made.stdout).unwrap().trim())
    }

    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.home.join("stderr")).unwrap()
    }

    /// The address of `https`, `http` or `ops`.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let url = self.ready[listener].as_str().unwrap();
        url.rsplit_once('/').unwrap().1.parse().unwrap()
    }

    pub fn signal(&self, signal: libc::c_int) {
        let pid = i32::try_from(self.child.id()).unwrap();
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Waits for its end; the exit code.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // it may have ended before
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets the kernel answer EAFNOSUPPORT to sockets of IPv6, by a filter of system calls (seccomp(2)).
fn refuse_ipv6() -> std::io::Result<()> {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: u16::try_from(code).unwrap_or(0), jt, jf, k };
    let (load, is_equal, answer) =
        (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::BPF_RET);
    let number = u32::try_from(libc::SYS_socket).unwrap_or(u32::MAX);
    let mut filter = [
        step(load, 0, 0, 0),
        step(is_equal, 0, 3, number),
        // the first argument, on machines that are little-endian
        step(load, 0, 0, 16),
        step(is_equal, 0, 1, libc::AF_INET6 as u32),
        step(answer, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32),
        step(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 6, filter: filter.as_mut_ptr() };
    // SAFETY: both calls read their arguments, which live until they return
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, u64::from(libc::SECCOMP_MODE_FILTER), &raw const program) == 0
    };
    if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
