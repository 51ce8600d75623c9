//! What this machine is called: its host name and its fully qualified name, from the system alone.

use std::fs;

/// The host name, lower case, or `localhost`.
pub fn host_name() -> String {
    let name = hostname::get().map(|n| n.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// As `hostname --fqdn` finds it on most machines: a host name with a dot, else its longer form in /etc/hosts.
pub fn fqdn() -> String {
    let host = host_name();
    if host.contains('.') {
        return host;
    }
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    in_hosts(&hosts, &host).unwrap_or(host)
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

#[cfg(test)]
mod tests {
    use super::in_hosts;

    #[test]
    fn the_long_name_stands_beside_the_short_one() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1 ca.corp.example ca # me\n10.0.0.9 ca.other\n";
        assert_eq!(in_hosts(hosts, "ca").as_deref(), Some("ca.corp.example"));
        assert_eq!(in_hosts(hosts, "db"), None);
    }
}
