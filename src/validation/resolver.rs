//! Names to addresses and TXT records for validation: never from a cache, always the name as it stands (a search
//! domain would prove control over another name). Without `resolvers` this follows `/etc/hosts` and then
//! `/etc/resolv.conf`, as getaddrinfo does with "files dns"; both are read anew each time, so that a changed
//! file needs no restart. With `resolvers` the hosts file is not looked at.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig, ResolverOpts,
    ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use super::config::ValidationConfig;

/// Why a name has no address that could be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsFailure {
    /// The name does not exist.
    NxDomain,
    /// The name exists, with neither A nor AAAA records.
    NoAddress,
    /// The DNS server could not answer.
    ServFail,
    /// The DNS server does not want to answer us.
    Refused,
    /// Another response code.
    Code(u16),
    /// No answer in time.
    Timeout,
    /// The DNS servers cannot be reached, or there are none.
    Unreachable,
    /// An answer that makes no sense, such as a loop of aliases.
    BadAnswer,
    /// The text is no name that DNS could hold.
    BadName,
}

/// The addresses of one name, in the order in which they are tried: AAAA and A in turns (RFC 8555 §8.3, RFC 8305).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    pub addresses: Vec<IpAddr>,
    /// `hosts file`, or the servers that were asked, for the timeline.
    pub source: String,
}

#[derive(Debug, Clone)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    timeout: Duration,
    random_case: bool,
}

/// Clients for one name.
struct Dns {
    usual: TokioResolver,
    /// Asks by TCP with the name as it stands, where the usual one changes its letters.
    exact: Option<TokioResolver>,
}

/// A CAA record (RFC 8659 §4.1) as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaaRecord {
    pub critical: bool,
    pub tag: String,
    pub value: Vec<u8>,
}

/// More addresses than this are not looked at: one name must not make a port scanner of us.
const MAX_ADDRESSES: usize = 8;
/// More TXT records of one name than this are not looked at.
const MAX_TEXTS: usize = 100;
/// A chain of aliases that is longer leads nowhere; the resolver follows 8.
const MAX_ALIASES: usize = 8;
/// The part of the time for one name that an exact question may take, since some resolvers answer nothing by TCP.
const EXACT_SHARE: u32 = 5;
/// Queries sent again to the same servers when nothing came back.
const RETRIES: u32 = 2;

impl Resolver {
    pub fn new(config: &ValidationConfig) -> Self {
        Resolver {
            servers: config.resolvers.clone(),
            timeout: config.timeouts.resolve,
            random_case: config.random_case,
        }
    }

    /// The same asking other servers.
    pub fn asking(&self, servers: &[SocketAddr]) -> Self {
        Resolver { servers: servers.to_vec(), ..*self }
    }

    /// The TXT records of a name, the strings of each joined. No record is no failure of DNS, and an empty list.
    pub async fn texts(&self, name: &str) -> Result<Vec<Vec<u8>>, DnsFailure> {
        let mut texts: Vec<_> = self.records(name, RecordType::TXT).await?.iter().filter_map(text).collect();
        texts.truncate(MAX_TEXTS);
        Ok(texts)
    }

    /// The CAA records of this very name, or of what it is an alias of; its parents are the caller's.
    pub async fn caa(&self, name: &str) -> Result<Vec<CaaRecord>, DnsFailure> {
        let look_up = async {
            let mut name = Name::from_ascii(name).map_err(|_| DnsFailure::BadName)?;
            name.set_fqdn(true);
            let client = self.client().await?;
            let found = self.query(&client, &name, RecordType::CAA).await?;
            if found.is_empty() && !self.ends(&client, &name).await? {
                return Err(DnsFailure::BadAnswer);
            }
            Ok(found.iter().filter_map(caa).collect())
        };
        tokio::time::timeout(self.timeout, look_up).await.unwrap_or(Err(DnsFailure::Timeout))
    }

    /// Whom a question goes to, for the timeline: `DNS 192.0.2.53`, with the port when it is another than 53.
    pub async fn asked(&self) -> String {
        let servers = match self.servers.as_slice() {
            [] => system_servers().await.unwrap_or_default().iter().map(|s| s.ip.to_string()).collect(),
            some => some.iter().map(server).collect::<Vec<_>>(),
        };
        match servers.as_slice() {
            [] => "no DNS server is known".to_owned(),
            some => format!("DNS {}", some.join(", ")),
        }
    }

    async fn records(&self, name: &str, kind: RecordType) -> Result<Vec<Record>, DnsFailure> {
        let look_up = async {
            let mut name = Name::from_ascii(name).map_err(|_| DnsFailure::BadName)?;
            name.set_fqdn(true);
            self.query(&self.client().await?, &name, kind).await
        };
        tokio::time::timeout(self.timeout, look_up).await.unwrap_or(Err(DnsFailure::Timeout))
    }

    /// All addresses of `host`, which is a DNS name without a trailing dot. Takes `resolve_ms` at most.
    pub async fn addresses(&self, host: &str) -> Result<Resolved, DnsFailure> {
        tokio::time::timeout(self.timeout, self.look_up(host)).await.unwrap_or(Err(DnsFailure::Timeout))
    }

    async fn look_up(&self, host: &str) -> Result<Resolved, DnsFailure> {
        if self.servers.is_empty() {
            let found = hosts_file(host).await;
            if !found.is_empty() {
                return Ok(in_turns(found, "hosts file".to_owned()));
            }
            // RFC 6761 §6.3: localhost is loopback and is never asked of a DNS server
            if host == "localhost" || host.ends_with(".localhost") {
                return Ok(in_turns(
                    vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()],
                    "hosts file".to_owned(),
                ));
            }
        }
        let mut name = Name::from_ascii(host).map_err(|_| DnsFailure::BadName)?;
        name.set_fqdn(true);
        let dns = self.client().await?;
        let (mut v6, mut v4) =
            tokio::join!(ips(&dns.usual, &name, RecordType::AAAA), ips(&dns.usual, &name, RecordType::A));
        // most names have no AAAA records: the exact question is only asked when there is nothing at all
        if let (Some(exact), true) = (&dns.exact, is_negative(&v6) && is_negative(&v4)) {
            let again = async { tokio::join!(ips(exact, &name, RecordType::AAAA), ips(exact, &name, RecordType::A)) };
            if let Ok((exact_v6, exact_v4)) = tokio::time::timeout(self.timeout / EXACT_SHARE, again).await {
                (v6, v4) = (better(v6, exact_v6), better(v4, exact_v4));
            }
        }
        let found = match (v6, v4) {
            (Ok(v6), Ok(v4)) => [v6, v4].concat(),
            (Ok(some), Err(_)) | (Err(_), Ok(some)) if !some.is_empty() => some,
            (Ok(_), Err(failure)) | (Err(failure), Ok(_)) => return Err(failure),
            // the A answer is the one that people know how to look up
            (Err(_), Err(failure)) => return Err(failure),
        };
        if found.is_empty() { Err(DnsFailure::NoAddress) } else { Ok(in_turns(found, self.asked().await)) }
    }

    /// Clients for one name: no cache, no shared query, no memory of which server was slow. Letter case in questions is random
    /// (draft-vixie-dnsext-dns0x20); a server that folds it is asked by TCP.
    async fn client(&self) -> Result<Dns, DnsFailure> {
        let servers = if self.servers.is_empty() {
            // the search list is left out on purpose
            system_servers().await?
        } else {
            self.servers.iter().map(|s| name_server(*s)).collect()
        };
        let build = |servers: Vec<NameServerConfig>, random_case: bool| {
            let config = ResolverConfig::from_name_servers(servers);
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            limit(builder.options_mut(), self.timeout);
            builder.options_mut().case_randomization = random_case;
            builder.build().map_err(|_| DnsFailure::Unreachable)
        };
        let exact = match self.random_case {
            true => Some(build(servers.iter().cloned().map(by_tcp).collect(), false)?),
            false => None,
        };
        Ok(Dns { usual: build(servers, self.random_case)?, exact })
    }

    /// A server that compares names letter by letter knows none whose letters were changed: it says that there is nothing.
    /// The name is then asked as it stands, by TCP, since without random letters a forged UDP answer is easier to guess.
    async fn query(&self, dns: &Dns, name: &Name, kind: RecordType) -> Result<Vec<Record>, DnsFailure> {
        let found = query(&dns.usual, name, kind).await;
        let Some(exact) = dns.exact.as_ref().filter(|_| is_negative(&found)) else { return found };
        match tokio::time::timeout(self.timeout / EXACT_SHARE, query(exact, name, kind)).await {
            Ok(again) => better(found, again),
            Err(_) => found,
        }
    }

    /// Do the aliases of a name lead anywhere? The resolver gives up a circle with the same words as "no record", which
    /// would let everybody issue.
    async fn ends(&self, dns: &Dns, name: &Name) -> Result<bool, DnsFailure> {
        let mut at = name.clone();
        for _ in 0..MAX_ALIASES {
            let found = self.query(dns, &at, RecordType::CNAME).await?;
            let next = found.iter().find_map(|record| match &record.data {
                RData::CNAME(to) => Some(to.0.clone()),
                _ => None,
            });
            match next {
                None => return Ok(true),
                Some(next) => at = next,
            }
        }
        Ok(false)
    }
}

fn is_negative<T>(found: &Result<Vec<T>, DnsFailure>) -> bool {
    match found {
        Ok(records) => records.is_empty(),
        Err(failure) => *failure == DnsFailure::NxDomain,
    }
}

/// The second answer, if it has records.
fn better<T>(first: Result<Vec<T>, DnsFailure>, second: Result<Vec<T>, DnsFailure>) -> Result<Vec<T>, DnsFailure> {
    if second.as_ref().is_ok_and(|records| !records.is_empty()) { second } else { first }
}

fn by_tcp(mut server: NameServerConfig) -> NameServerConfig {
    server.connections.retain(|connection| matches!(connection.protocol, ProtocolConfig::Tcp));
    server
}

fn limit(options: &mut ResolverOpts, whole: Duration) {
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.attempts = RETRIES as usize;
    options.timeout = whole / (RETRIES + 1);
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    // one server after the other, as resolv.conf(5) says; the answer then does not depend on a race
    options.num_concurrent_reqs = 1;
    // aliases are kept, so that it is seen which records belong to the name
    options.preserve_intermediates = true;
}

fn server(address: &SocketAddr) -> String {
    match address.port() {
        53 => address.ip().to_string(),
        port => format!("{} port {port}", address.ip()),
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
    udp.port = address.port();
    tcp.port = address.port();
    NameServerConfig::new(address.ip(), true, vec![udp, tcp])
}

async fn system_servers() -> Result<Vec<NameServerConfig>, DnsFailure> {
    let text = tokio::fs::read("/etc/resolv.conf").await.map_err(|_| DnsFailure::Unreachable)?;
    let (config, _) = hickory_resolver::system_conf::parse_resolv_conf(text).map_err(|_| DnsFailure::Unreachable)?;
    Ok(config.name_servers)
}

fn text(record: &Record) -> Option<Vec<u8>> {
    match &record.data {
        RData::TXT(text) => Some(text.txt_data.concat()),
        _ => None,
    }
}

async fn ips(dns: &TokioResolver, name: &Name, kind: RecordType) -> Result<Vec<IpAddr>, DnsFailure> {
    Ok(query(dns, name, kind).await?.iter().filter_map(|record| record.data.ip_addr()).collect())
}

fn caa(record: &Record) -> Option<CaaRecord> {
    match &record.data {
        RData::CAA(caa) => {
            Some(CaaRecord { critical: caa.issuer_critical, tag: caa.tag.clone(), value: caa.value.clone() })
        }
        _ => None,
    }
}

async fn query(dns: &TokioResolver, name: &Name, kind: RecordType) -> Result<Vec<Record>, DnsFailure> {
    match dns.lookup(name.clone(), kind).await {
        Ok(found) => Ok(belonging(name, kind, found.answers())),
        Err(error) => match failure(&error) {
            DnsFailure::NoAddress => Ok(Vec::new()),
            other => Err(other),
        },
    }
}

/// Of an answer's records those of the name, or of the name that its aliases lead to: what else a server puts in
/// is about other names.
fn belonging(name: &Name, kind: RecordType, answers: &[Record]) -> Vec<Record> {
    let alias = |at: &Name| {
        answers.iter().find_map(|record| match &record.data {
            RData::CNAME(to) if record.name == *at => Some(to.0.clone()),
            _ => None,
        })
    };
    let mut owners = vec![name.clone()];
    // as many turns as there are records: a circle ends
    while let (Some(next), true) = (owners.last().and_then(alias), owners.len() <= answers.len()) {
        owners.push(next);
    }
    let fits = |record: &&Record| record.record_type() == kind && owners.contains(&record.name);
    answers.iter().filter(fits).cloned().collect()
}

fn failure(error: &NetError) -> DnsFailure {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => code(none.response_code),
        NetError::Dns(DnsError::ResponseCode(seen)) => code(*seen),
        NetError::Timeout => DnsFailure::Timeout,
        NetError::Io(_) | NetError::NoConnections | NetError::Busy => DnsFailure::Unreachable,
        _ => DnsFailure::BadAnswer,
    }
}

fn code(seen: ResponseCode) -> DnsFailure {
    match seen {
        ResponseCode::NoError => DnsFailure::NoAddress,
        ResponseCode::NXDomain => DnsFailure::NxDomain,
        ResponseCode::ServFail => DnsFailure::ServFail,
        ResponseCode::Refused => DnsFailure::Refused,
        other => DnsFailure::Code(other.into()),
    }
}

async fn hosts_file(host: &str) -> Vec<IpAddr> {
    match tokio::fs::read("/etc/hosts").await {
        Ok(bytes) => in_hosts(&String::from_utf8_lossy(&bytes), host),
        Err(_) => Vec::new(),
    }
}

/// hosts(5): an address, then names; `#` begins a comment.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|name| name.trim_end_matches('.').eq_ignore_ascii_case(host)).then_some(address)
        })
        .collect()
}

fn in_turns(found: Vec<IpAddr>, source: String) -> Resolved {
    let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = found.into_iter().partition(IpAddr::is_ipv6);
    let mut addresses: Vec<IpAddr> = Vec::new();
    for turn in 0..v6.len().max(v4.len()) {
        for address in [v6.get(turn), v4.get(turn)].into_iter().flatten() {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
    }
    addresses.truncate(MAX_ADDRESSES);
    Resolved { addresses, source }
}

impl fmt::Display for DnsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DnsFailure::NxDomain => f.write_str("the name does not exist in DNS (NXDOMAIN)"),
            DnsFailure::NoAddress => f.write_str("the name has neither A nor AAAA records"),
            DnsFailure::ServFail => f.write_str("the DNS server answered SERVFAIL"),
            DnsFailure::Refused => f.write_str("the DNS server answered REFUSED"),
            DnsFailure::Code(code) => write!(f, "the DNS server answered with code {code}"),
            DnsFailure::Timeout => f.write_str("the DNS servers did not answer in time"),
            DnsFailure::Unreachable => f.write_str("no DNS server could be reached"),
            DnsFailure::BadAnswer => f.write_str("the DNS answer made no sense, or its aliases go in a circle"),
            DnsFailure::BadName => f.write_str("it is not a name that DNS can hold"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lines_match_names_without_regard_to_case_and_comments() {
        let text = "# 10.0.0.9 web.corp\n10.0.0.1 WEB.corp web # alias\n::2\tweb.corp\nnonsense web.corp\n";
        let expected: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "::2".parse().unwrap()];
        assert_eq!(in_hosts(text, "web.corp"), expected);
        assert!(in_hosts(text, "alias").is_empty());
    }

    #[test]
    fn addresses_alternate_beginning_with_ipv6_and_are_bounded() {
        let found = (1..=9).map(|n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n))).chain(["fd00::1".parse().unwrap()]);
        let order = in_turns(found.collect(), "t".to_owned()).addresses;
        assert_eq!(order.len(), MAX_ADDRESSES);
        assert_eq!(order[0], "fd00::1".parse::<IpAddr>().unwrap());
        assert_eq!(order[1], "10.0.0.1".parse::<IpAddr>().unwrap());
    }
}
