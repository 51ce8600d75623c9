//! What this machine is called: its host name and its fully qualified name, as `hostname --fqdn` finds it: in the
//! host name, in /etc/hosts, then through the system's resolver, which gets two seconds.

use std::ffi::{CStr, CString};
use std::sync::OnceLock;
use std::time::Duration;
use std::{fs, ptr, thread};

use crate::model::identifier::Identifier;

/// A resolver that does not answer must not hold up a start.
const PATIENCE: Duration = Duration::from_secs(2);

/// The host name, lower case, or `localhost`.
pub fn host_name() -> String {
    let name = hostname::get().map(|n| n.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// The fully qualified name, or the host name when there is none. Asked once in the life of a process.
pub fn fqdn() -> String {
    static FOUND: OnceLock<String> = OnceLock::new();
    FOUND.get_or_init(|| as_name(find(host_name(), PATIENCE, canonical))).clone()
}

/// A host that is called 12345 or ca_server has no name for URLs: the first is read as an address, and no certificate
/// carries the other.
fn as_name(found: String) -> String {
    let is_number = found.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    if is_number || Identifier::dns(&found).is_err() { "localhost".to_owned() } else { found }
}

fn find(host: String, patience: Duration, resolve: fn(&str) -> Option<String>) -> String {
    if host.contains('.') {
        return host;
    }
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    in_hosts(&hosts, &host).or_else(|| in_time(&host, patience, resolve)).unwrap_or(host)
}

fn in_hosts(hosts: &str, host: &str) -> Option<String> {
    let prefix = format!("{host}.");
    hosts.lines().find_map(|line| {
        let names: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().skip(1).collect();
        let mine = names.iter().any(|n| n.eq_ignore_ascii_case(host));
        let long = names.iter().map(|n| n.to_ascii_lowercase()).find(|n| n.starts_with(&prefix));
        long.filter(|_| mine)
    })
}

/// The resolver runs in a thread of its own, which is left behind when it takes too long.
fn in_time(host: &str, patience: Duration, resolve: fn(&str) -> Option<String>) -> Option<String> {
    let (sender, answer) = std::sync::mpsc::sync_channel(1);
    let asked = host.to_owned();
    thread::Builder::new()
        .name("fqdn".into())
        .spawn(move || {
            // nobody listens any more when the patience was over
            let _ = sender.send(resolve(&asked));
        })
        .ok()?;
    let found = answer.recv_timeout(patience).ok().flatten()?.trim_end_matches('.').to_ascii_lowercase();
    // an alias that leads to another machine, or a wildcard of a search domain, is not what this one is called
    let ours = found.strip_prefix(host).is_some_and(|rest| rest.starts_with('.'));
    (ours && Identifier::dns(&found).is_ok()).then_some(found)
}

/// The canonical name by getaddrinfo (RFC 3493 §6.1): /etc/hosts, DNS, or what else nsswitch.conf says.
fn canonical(host: &str) -> Option<String> {
    let host = CString::new(host).ok()?;
    // SAFETY: an addrinfo of zeros and null pointers is the documented empty hint
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_flags = libc::AI_CANONNAME;
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut list: *mut libc::addrinfo = ptr::null_mut();
    // SAFETY: host is a C string and hints an addrinfo that both outlive the call; list is written by it
    let status = unsafe { libc::getaddrinfo(host.as_ptr(), ptr::null(), &hints, &mut list) };
    if status != 0 || list.is_null() {
        return None;
    }
    // SAFETY: after a success list is one addrinfo or more, whose first carries the name or null; it is freed once,
    // after the name was copied
    unsafe {
        let name = (*list).ai_canonname;
        let name = (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned());
        libc::freeaddrinfo(list);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_name_for_urls_is_localhost() {
        for (found, expected) in [
            ("12345", "localhost"),
            ("host.7", "localhost"),
            ("ca_server", "localhost"),
            ("", "localhost"),
            ("ca7", "ca7"),
            ("ca.lab.example", "ca.lab.example"),
        ] {
            assert_eq!(as_name(found.to_owned()), expected, "{found}");
        }
    }

    #[test]
    fn the_long_name_stands_beside_the_short_one() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1 ca.corp.example ca # me\n10.0.0.9 ca.other\n";
        assert_eq!(in_hosts(hosts, "ca").as_deref(), Some("ca.corp.example"));
        assert_eq!(in_hosts(hosts, "db"), None);
    }

    #[test]
    fn the_resolver_names_what_no_file_does() {
        let host = || "no-file-names-this".to_owned();
        let long = |h: &str| Some(format!("{}.Corp.Example.", h.to_uppercase()));
        assert_eq!(find(host(), PATIENCE, long), "no-file-names-this.corp.example");
        assert_eq!(find("ca.lab".into(), PATIENCE, long), "ca.lab", "it is qualified already");
        for other in ["parking.example.com", "no-file-names-this", "no-file-names-this-2.corp.example", "x..y"] {
            static ANSWER: std::sync::Mutex<&str> = std::sync::Mutex::new("");
            *ANSWER.lock().unwrap() = other;
            assert_eq!(find(host(), PATIENCE, |_| Some((*ANSWER.lock().unwrap()).to_owned())), host(), "{other}");
        }
        assert_eq!(find(host(), PATIENCE, |_| None), host());
    }

    #[test]
    fn a_resolver_that_hangs_is_left_behind() {
        let start = crate::clock::monotonic();
        let hangs = |_: &str| -> Option<String> {
            thread::park_timeout(Duration::from_secs(60));
            None
        };
        let host = "no-file-names-this".to_owned();
        assert_eq!(find(host.clone(), Duration::from_millis(50), hangs), host);
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn the_system_is_asked() {
        assert!(canonical("localhost").is_some_and(|name| name.starts_with("localhost")));
        assert_eq!(canonical("no such host"), None);
    }
}
