//! Where a Postgres is, as libpq writes it (PostgreSQL documentation, "Connection Strings"): a URL or `key=value` pairs, with
//! several hosts. Pure reading: what a host needs of it is made in `store/engine/hosts.rs`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// Parameters that name a secret.
const SECRET: [&str; 2] = ["password", "sslpassword"];
/// What libpq calls what sqlx or others call differently.
const OTHER_NAMES: [(&str, &str); 6] = [
    ("ssl-mode", "sslmode"),
    ("ssl-root-cert", "sslrootcert"),
    ("ssl-ca", "sslrootcert"),
    ("ssl-cert", "sslcert"),
    ("ssl-key", "sslkey"),
    ("database", "dbname"),
];

// no message repeats what it was found in: that may be a part of a password
const NO_PORT: &str =
    "a port is not a number from 1 to 65535; in a URL a password is written with %2F for /, %3A for : and %40 for @";
const NO_PAIR: &str = "a part of it is not key=value; a value with blanks stands in single quotes";

/// A connection string. It prints without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// As it was written, without its secrets.
    shown: String,
    parameters: BTreeMap<String, String>,
}

/// Which of several servers will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    Any,
    /// One that takes writes.
    ReadWrite,
}

/// One server. An empty host is the default of the driver: the socket, or PGHOST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresHost {
    /// A name, an address, or the directory of a socket.
    pub host: String,
    pub port: Option<u16>,
}

impl PostgresHost {
    /// A socket directory, or a loopback host: nobody listens in between.
    pub fn is_local(&self) -> bool {
        let host = self.host.as_str();
        host.is_empty()
            || host.starts_with('/')
            || host == "localhost"
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for PostgresHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.is_empty() { "the local socket" } else { &self.host };
        match self.port {
            Some(port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Some(port) => write!(f, "{host}:{port}"),
            None => f.write_str(host),
        }
    }
}

impl PostgresUrl {
    /// Is it meant for Postgres, whether it can be read or not?
    pub fn is_meant(text: &str) -> bool {
        let is_key =
            |key: &str| !key.is_empty() && !key.contains([':', '/', '\\']) && !key.contains(char::is_whitespace);
        is_url(text) || text.split_once('=').is_some_and(|(key, _)| is_key(key.trim()))
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let parameters = if is_url(text) { of_url(text)? } else { of_pairs(text)? };
        let mut named = BTreeMap::new();
        for (key, value) in parameters {
            let key = OTHER_NAMES.iter().find(|(other, _)| *other == key).map_or(key, |(_, name)| (*name).to_owned());
            if value.contains('\0') {
                return Err(format!("{key} holds a zero byte"));
            }
            named.insert(key, value);
        }
        let url = PostgresUrl { shown: shown(text, &named), parameters: named };
        url.hosts()?;
        url.session()?;
        url.seconds("connect_timeout")?;
        Ok(url)
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.parameters.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Names of all that was given.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.parameters.keys().map(String::as_str)
    }

    pub fn has_password(&self) -> bool {
        SECRET.iter().any(|key| self.get(key).is_some())
    }

    /// In the order in which they are tried; at least one.
    pub fn hosts(&self) -> Result<Vec<PostgresHost>, String> {
        let list = |key: &str| -> Vec<String> {
            self.parameters
                .get(key)
                .map_or_else(Vec::new, |text| text.split(',').map(|s| s.trim().to_owned()).collect())
        };
        let (mut hosts, ports) = (list("host"), list("port"));
        if hosts.iter().all(String::is_empty) {
            hosts = list("hostaddr");
        }
        if hosts.is_empty() {
            hosts.push(String::new());
        }
        if ports.len() > 1 && ports.len() != hosts.len() {
            return Err(format!(
                "it names {} hosts and {} ports; give one port for all hosts, or one for each",
                hosts.len(),
                ports.len()
            ));
        }
        let mut all = Vec::new();
        for (at, host) in hosts.into_iter().enumerate() {
            let port = ports.get(at).or_else(|| ports.first()).filter(|port| !port.is_empty());
            let port = port.map(|text| text.parse().ok().filter(|port| *port != 0).ok_or(NO_PORT));
            all.push(PostgresHost { host, port: port.transpose()? });
        }
        Ok(all)
    }

    /// A CA writes: of several hosts the one that takes writes is wanted, whether that was said or not.
    pub fn session(&self) -> Result<SessionKind, String> {
        match self.get("target_session_attrs") {
            Some("read-write" | "primary") => Ok(SessionKind::ReadWrite),
            Some("any") => Ok(SessionKind::Any),
            None if self.parameters.get("host").is_some_and(|hosts| hosts.contains(',')) => {
                Ok(SessionKind::ReadWrite)
            }
            None => Ok(SessionKind::Any),
            Some(other) => Err(format!(
                "target_session_attrs is {other}, and a CA writes to its database; give read-write, primary or any"
            )),
        }
    }

    /// Whole seconds; none when it is not given or 0.
    pub fn seconds(&self, key: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let seconds: u64 = text.parse().map_err(|_| format!("{key} is \"{text}\", and wants whole seconds"))?;
        Ok(Some(seconds).filter(|seconds| *seconds > 0))
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

/// A URL without secrets as it was written; one with some is written anew.
fn shown(text: &str, parameters: &BTreeMap<String, String>) -> String {
    if !SECRET.iter().any(|key| parameters.contains_key(*key)) {
        return text.to_owned();
    }
    if !is_url(text) {
        let word = |(key, value): (&String, &String)| match SECRET.contains(&key.as_str()) {
            true => format!("{key}=***"),
            false => format!("{key}={}", quoted(value)),
        };
        return parameters.iter().map(word).collect::<Vec<_>>().join(" ");
    }
    let (head, query) = text.split_once('?').map_or((text, None), |(head, query)| (head, Some(query)));
    let (scheme, rest) = head.split_once("://").unwrap_or(("postgres", head));
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let mut out = format!("{scheme}://");
    match authority.rsplit_once('@') {
        Some((user, hosts)) => match user.split_once(':') {
            Some((name, _)) => out.push_str(&format!("{name}:***@{hosts}")),
            None => out.push_str(&format!("{user}@{hosts}")),
        },
        None => out.push_str(authority),
    }
    path.iter().for_each(|path| out.push_str(&format!("/{path}")));
    let hidden = |pair: &str| match pair.split_once('=') {
        Some((key, _)) if SECRET.contains(&key) => format!("{key}=***"),
        _ => pair.to_owned(),
    };
    query
        .iter()
        .for_each(|query| out.push_str(&format!("?{}", query.split('&').map(hidden).collect::<Vec<_>>().join("&"))));
    out
}

fn quoted(value: &str) -> String {
    let plain = !value.is_empty() && !value.contains([' ', '\'', '\\']);
    if plain { value.to_owned() } else { format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'")) }
}

/// `postgres://user:password@host:port,host:port/dbname?key=value`
fn of_url(text: &str) -> Result<Vec<(String, String)>, String> {
    let (_, rest) = text.split_once("://").ok_or("it has no scheme")?;
    let rest = rest.split('#').next().unwrap_or_default();
    let (head, query) = rest.split_once('?').map_or((rest, ""), |(head, query)| (head, query));
    let (authority, path) = head.split_once('/').map_or((head, ""), |(authority, path)| (authority, path));
    let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
    let mut all = Vec::new();
    let mut take = |key: &str, value: &str| -> Result<(), String> {
        if !value.is_empty() {
            all.push((key.to_owned(), decoded(value)?));
        }
        Ok(())
    };
    let (user, password) = user.split_once(':').map_or((user, ""), |(user, password)| (user, password));
    take("user", user)?;
    take("password", password)?;
    take("dbname", path)?;
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = host_and_port(host)?;
        names.push(name);
        ports.push(port);
    }
    take("host", &names.join(","))?;
    if ports.iter().any(|port| !port.is_empty()) {
        all.push(("port".to_owned(), if ports.len() == 1 { ports.concat() } else { filled(&ports) }));
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or(NO_PAIR)?;
        all.push((decoded(key)?, decoded(value)?));
    }
    Ok(all)
}

/// A port that is left out is the usual one.
fn filled(ports: &[&str]) -> String {
    ports.iter().map(|port| if port.is_empty() { "5432" } else { port }).collect::<Vec<_>>().join(",")
}

fn host_and_port(text: &str) -> Result<(&str, &str), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or("an IPv6 address has no closing bracket")?;
        return Ok((address, port.strip_prefix(':').unwrap_or(port)));
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            Err("a host has several colons; an IPv6 address is written as [::1]".to_owned())
        }
        Some((host, port)) => Ok((host, port)),
        None => Ok((text, "")),
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let wrong = || "a % in it is not followed by two hexadecimal digits; % itself is written %25";
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let digit = |octet: Option<u8>| octet.and_then(|o| char::from(o).to_digit(16));
        let (high, low) = (digit(rest.next()).ok_or_else(wrong)?, digit(rest.next()).ok_or_else(wrong)?);
        octets.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
    }
    String::from_utf8(octets).map_err(|_| "what is written with % is not UTF-8".to_owned())
}

/// `host=db port=5432 password='it''s'`: values in single quotes may hold blanks; a backslash takes the next character.
fn of_pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or(NO_PAIR)?;
        let key = key.trim_end();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(NO_PAIR.to_owned());
        }
        let (value, left) =
            value_of(after.trim_start()).ok_or_else(|| format!("the value of {key} has no closing quote"))?;
        all.push((key.to_owned(), value));
        rest = left.trim_start();
    }
    if all.is_empty() { Err("it is empty".to_owned()) } else { Ok(all) }
}

fn value_of(text: &str) -> Option<(String, &str)> {
    let (is_quoted, text) = text.strip_prefix('\'').map_or((false, text), |inner| (true, inner));
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.extend(characters.next().map(|(_, next)| next)),
            '\'' if is_quoted => return text.get(at + 1..).map(|rest| (value, rest)),
            c if !is_quoted && c.is_whitespace() => return text.get(at..).map(|rest| (value, rest)),
            c => value.push(c),
        }
    }
    (!is_quoted).then_some((value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_may_have_blanks_around_their_sign() {
        for text in ["host = db", "host= db", "host =db", "  host\t=\tdb user = 'a b'", "postgres://db", "host=db"] {
            assert!(PostgresUrl::is_meant(text), "{text}");
            assert_eq!(hosts(text), ["db"], "{text}");
        }
        for text in ["sqlite:///a?mode=x", "/var/lib/x=y.db", "a b", "", "=x", "two words = x", "C:\\a=b"] {
            assert!(!PostgresUrl::is_meant(text), "{text}");
        }
    }

    fn read(text: &str) -> PostgresUrl {
        PostgresUrl::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    fn hosts(text: &str) -> Vec<String> {
        read(text).hosts().unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn both_spellings_say_the_same() {
        for text in [
            "postgres://ca:p%40ss%2Fw@db.example:5433/chancery?sslmode=require",
            "postgresql://ca:p%40ss%2Fw@db.example:5433/chancery?ssl-mode=require",
            "host=db.example port=5433 user=ca password=p@ss/w dbname=chancery sslmode=require",
            "  host = db.example\tport = '5433'\nuser=ca password='p@ss/w' dbname=chancery sslmode=require ",
        ] {
            let url = read(text);
            let of = |key: &str| url.get(key).unwrap_or_default().to_owned();
            assert_eq!(
                ["user", "password", "dbname", "sslmode"].map(of),
                ["ca", "p@ss/w", "chancery", "require"],
                "{text}"
            );
            assert_eq!(hosts(text), ["db.example:5433"], "{text}");
            assert!(url.has_password() && !format!("{url} {url:?}").contains("p@ss"), "{url}");
            assert!(!url.to_string().contains("p%40ss"), "{url}");
        }
        assert_eq!(read(r"password='it\'s \\ a b' user=x").get("password"), Some(r"it's \ a b"));
        assert_eq!(read(r"password=a\ b user=x").get("password"), Some("a b"));
    }

    #[test]
    fn hosts_are_many_and_sockets_are_directories() {
        assert_eq!(hosts("postgres://a:1,b,[::1]:3/x"), ["a:1", "b:5432", "[::1]:3"]);
        assert_eq!(hosts("host=a,b port=5433 dbname=x"), ["a:5433", "b:5433"]);
        assert_eq!(hosts("host=a,b port=1,2"), ["a:1", "b:2"]);
        assert_eq!(hosts("hostaddr=192.0.2.1"), ["192.0.2.1"]);
        for text in [
            "postgres:///c?host=/run/postgresql",
            "postgres://ca@%2Frun%2Fpostgresql/c",
            "host=/run/postgresql dbname=c",
        ] {
            assert_eq!(hosts(text), ["/run/postgresql"], "{text}");
            assert!(read(text).hosts().unwrap()[0].is_local());
        }
        assert_eq!(hosts("postgres:///c"), ["the local socket"]);
        for (host, local) in
            [("localhost", true), ("127.0.0.9", true), ("::1", true), ("db", false), ("10.0.0.1", false)]
        {
            assert_eq!(PostgresHost { host: host.into(), port: None }.is_local(), local, "{host}");
        }
    }

    #[test]
    fn several_hosts_are_asked_for_one_that_takes_writes() {
        let session = |text: &str| read(text).session().unwrap();
        assert_eq!(session("postgres://a/x"), SessionKind::Any);
        assert_eq!(session("postgres://a,b/x"), SessionKind::ReadWrite);
        assert_eq!(session("postgres://a,b/x?target_session_attrs=any"), SessionKind::Any);
        assert_eq!(session("postgres://a/x?target_session_attrs=primary"), SessionKind::ReadWrite);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (text, part) in [
            ("postgres://a:x/c", "port"),
            ("postgres://a:0/c", "port"),
            ("postgres://::1/c", "[::1]"),
            ("postgres://[::1/c", "bracket"),
            ("postgres://a%zz/c", "hexadecimal"),
            ("postgres://a/c?sslmode", "not key=value"),
            ("postgres://a,b,c/x?port=1,2", "3 hosts and 2 ports"),
            ("postgres://a/c?target_session_attrs=standby", "read-write, primary or any"),
            ("postgres://a/c?connect_timeout=soon", "whole seconds"),
            ("host=a password='x", "closing quote"),
            ("host=a nonsense", "not key=value"),
            ("", "empty"),
        ] {
            let why = PostgresUrl::parse(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
        assert!(PostgresUrl::is_meant("host=a dbname=b") && PostgresUrl::is_meant("postgres://x"));
        assert!(!PostgresUrl::is_meant("sqlite:///x?mode=rw") && !PostgresUrl::is_meant("mysql://a/b"));
    }
}
