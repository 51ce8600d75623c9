//! A real `chancery serve` process with a database of its own, its token, and what the kernel says of its CPU.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

pub struct Server {
    child: Child,
    pub https: String,
    pub http: String,
    pub ops: String,
    pub token: String,
    pub root: Vec<u8>,
    pub engine: &'static str,
    data: tempfile::TempDir,
    database: Option<String>,
}

impl Server {
    /// Starts the release binary beside this one. `database` is a Postgres URL, or SQLite when absent.
    pub fn start(engine: &'static str, database: Option<String>) -> Server {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut child = command(data.path(), database.as_deref())
            .args(["serve", "-o", "json", "--listen", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"])
            .args(["--listen-ops", "127.0.0.1:0"])
            .env("CHANCERY_ACME__ALLOW_LOOPBACK", "true")
            .env("CHANCERY_ACME__HTTP01_PORT", super::acme::HTTP01_PORT.to_string())
            .env("CHANCERY_ACME__RESOLVERS", super::acme::RESOLVER)
            .stdout(Stdio::piped())
            // CHANCERY_LOG=chancery=debug shows how long each step of a publication takes
            .stderr(if std::env::var_os("CHANCERY_LOG").is_some() { Stdio::inherit() } else { Stdio::null() })
            .spawn()
            .expect("target/release/chancery starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let ready = lines
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find(|event| event["event"] == "ready")
            .expect("the server says that it is ready");
        let text = |key: &str| ready[key].as_str().expect(key).to_owned();
        let made = command(data.path(), database.as_deref())
            .args(["token", "create", "--name", "bench", "--role", "operator"])
            .output()
            .expect("token create runs");
        let token = String::from_utf8(made.stdout).expect("a token is text").trim().to_owned();
        assert!(token.starts_with("chy_"), "no token: {}", String::from_utf8_lossy(&made.stderr));
        let mut server = Server {
            https: text("https"),
            http: text("http"),
            ops: text("ops"),
            child,
            token,
            root: Vec::new(),
            engine,
            data,
            database,
        };
        server.root = super::load::get_plain(&server.http, "/root.der");
        server.lift_limits();
        server
    }

    pub fn cpu_seconds(&self) -> f64 {
        cpu_seconds(&format!("/proc/{}/stat", self.child.id())).expect("the server runs")
    }

    /// The same for the Postgres backends of this server's database, which the kernel lists under its name.
    pub fn database_cpu_seconds(&self) -> f64 {
        let Some(name) = self.database.as_deref().and_then(|url| url.rsplit('/').next()) else { return 0.0 };
        let name = name.split('?').next().unwrap_or(name);
        let processes = std::fs::read_dir("/proc").expect("a proc file system").flatten();
        processes
            .filter(|p| {
                let title = std::fs::read_to_string(p.path().join("cmdline")).unwrap_or_default();
                title.starts_with("postgres: ") && title.contains(name)
            })
            .filter_map(|p| cpu_seconds(p.path().join("stat").to_str()?))
            .sum()
    }

    /// Resident memory of the server.
    pub fn resident_bytes(&self) -> f64 {
        self.memory("VmRSS:")
    }

    /// The most that it was since `forget_peak`.
    pub fn peak_bytes(&self) -> f64 {
        self.memory("VmHWM:")
    }

    /// proc(5), clear_refs: the peak is measured anew from here.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("the peak can be reset");
    }

    fn memory(&self, member: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the server runs");
        let line = status.lines().find(|l| l.starts_with(member)).expect(member);
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).expect("kB") * 1024.0
    }

    pub fn acme(&self) -> super::acme::Directory {
        super::acme::Directory { https: self.https.clone(), root: self.root.clone(), path: "/acme/default/directory" }
    }

    /// No limit stands in the way of a benchmark from one address.
    fn lift_limits(&self) {
        let limits = ["new_accounts=none", "new_orders=none", "open_orders=none"];
        let set = command(self.data.path(), self.database.as_deref())
            .args(["acme", "directory", "set", "default"])
            .args(limits.map(|limit| format!("--limit={limit}")))
            .output()
            .expect("acme directory set runs");
        assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    }

    /// A counter of /metrics, summed over its labels.
    pub fn counter(&self, name: &str) -> f64 {
        let text = String::from_utf8(super::load::get_plain(&self.ops, "/metrics")).expect("metrics are text");
        text.lines()
            .filter(|l| l.starts_with(name) && l[name.len()..].starts_with([' ', '{']))
            .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    pub fn data(&self) -> PathBuf {
        self.data.path().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(data: &Path, database: Option<&str>) -> Command {
    let mut binary = std::env::current_exe().expect("this binary has a path");
    binary.pop();
    if binary.ends_with("examples") {
        binary.pop();
    }
    let mut command = Command::new(binary.join("chancery"));
    command.env("CHANCERY_DATA", data).env("HOME", data).stdin(Stdio::null());
    if let Some(url) = database {
        // a Postgres that somebody else started may run with fsync=off
        command.env("CHANCERY_DATABASE_URL", url).env("CHANCERY_ALLOW_UNSAFE_DATABASE", "true");
    }
    command
}

/// utime + stime (proc(5), fields 14 and 15, in ticks of 10 ms); `None` when the process is gone.
pub fn cpu_seconds(stat: &str) -> Option<f64> {
    let stat = std::fs::read_to_string(stat).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?) / 100.0)
}
