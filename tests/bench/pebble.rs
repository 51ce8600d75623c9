//! Debian's Pebble as the peer: in memory, without durable commits, validating through the same resolver and listener.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::acme::{Directory, HTTP01_PORT, RESOLVER};

const LISTEN: &str = "127.0.0.1:15140";
const MANAGEMENT: &str = "127.0.0.1:15141";

pub struct Pebble {
    child: Child,
    root: Vec<u8>,
    _data: tempfile::TempDir,
}

impl Pebble {
    /// `None` when it is not installed.
    pub fn start() -> Option<Pebble> {
        let data = tempfile::tempdir().expect("a temporary directory");
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let (certificate, key) = (data.path().join("cert.pem"), data.path().join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        let config = json!({"pebble": {"listenAddress": LISTEN, "managementListenAddress": MANAGEMENT,
            "certificate": certificate, "privateKey": key, "httpPort": HTTP01_PORT, "tlsPort": 15_001,
            "ocspResponderURL": "", "externalAccountBindingRequired": false}});
        let file = data.path().join("config.json");
        std::fs::write(&file, config.to_string()).expect("written");
        let child = Command::new("pebble")
            .arg("-config")
            .arg(&file)
            .args(["-dnsserver", RESOLVER])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "0")
            .env("PEBBLE_AUTHZREUSE", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let pebble = Pebble { child, root: made.cert.der().to_vec(), _data: data };
        let started = Instant::now();
        while std::net::TcpStream::connect(LISTEN).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "pebble does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(pebble)
    }

    pub fn acme(&self) -> Directory {
        Directory { https: format!("https://{LISTEN}"), root: self.root.clone(), path: "/dir" }
    }

    pub fn cpu_seconds(&self) -> f64 {
        super::server::cpu_seconds(&format!("/proc/{}/stat", self.child.id())).expect("pebble runs")
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
