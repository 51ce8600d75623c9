//! The real server as a process, ended when it is dropped, and plain HTTP to it without a client library.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::Value;

use super::{ANY, chancery};

pub struct Server {
    child: Child,
    /// `127.0.0.1:PORT`
    pub https: String,
    pub http: String,
}

impl Server {
    /// Waits for the line that says that it is ready.
    pub fn start(home: &Path) -> Server {
        let mut command = chancery(home);
        command.args(["serve", "-o", "json"]).args(ANY).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let events = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let ready = { events }.find(|event| event["event"] == "ready").expect("the server ended before it was ready");
        let address = |member: &str| ready[member].as_str().unwrap().split("//").nth(1).unwrap().to_owned();
        Server { child, https: address("https"), http: address("http") }
    }

    pub fn get(&self, path: &str) -> Vec<u8> {
        self.send(format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.http).as_bytes())
    }

    pub fn post(&self, path: &str, media: &str, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "POST {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\r\n",
            self.http,
            body.len()
        );
        self.send(&[head.as_bytes(), body].concat())
    }

    fn send(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        assert!(answer.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&answer[..end]));
        answer.split_off(end)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
