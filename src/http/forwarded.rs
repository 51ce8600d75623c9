//! The hops that X-Forwarded-For and Forwarded (RFC 7239 §4, §6) list, leftmost first. A hop that is no IP address
//! (unknown, obfuscated, malformed) is `None`: whoever walks the list stops there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderName, header};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// `None` without such a header. Empty list members are skipped (RFC 9110 §5.6.1.2).
pub fn x_forwarded_for(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    hops(headers, &X_FORWARDED_FOR, |line| {
        line.split(',').map(str::trim).filter(|item| !item.is_empty()).map(listed_address).collect()
    })
}

/// `None` without such a header. A line with a syntax error is one unknown hop: an open quote may have swallowed what
/// a proxy appended to it.
pub fn forwarded(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    hops(headers, &header::FORWARDED, |line| elements(line).unwrap_or_else(|| vec![None]))
}

fn hops(
    headers: &HeaderMap,
    name: &HeaderName,
    read: impl Fn(&str) -> Vec<Option<IpAddr>>,
) -> Option<Vec<Option<IpAddr>>> {
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek()?;
    Some(lines.flat_map(|line| line.to_str().map_or_else(|_| vec![None], &read)).collect())
}

/// An address as proxies write it: bare, with a port, IPv6 with or without brackets.
fn listed_address(item: &str) -> Option<IpAddr> {
    item.parse::<Ipv6Addr>().map(IpAddr::V6).ok().or_else(|| node(item)).map(|ip| ip.to_canonical())
}

/// `nodename [ ":" node-port ]` (RFC 7239 §6): IPv6 only in brackets.
fn node(text: &str) -> Option<IpAddr> {
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let port = if port.is_empty() { None } else { Some(port.strip_prefix(':')?) };
            (IpAddr::V6(address.parse().ok()?), port)
        }
        None => {
            let (address, port) = text.split_once(':').map_or((text, None), |(a, p)| (a, Some(p)));
            (IpAddr::V4(address.parse::<Ipv4Addr>().ok()?), port)
        }
    };
    port.is_none_or(is_port).then(|| address.to_canonical())
}

fn is_port(text: &str) -> bool {
    let obfuscated = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    match text.strip_prefix('_') {
        Some(name) => obfuscated(name),
        None => text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok(),
    }
}

/// One hop an element: `forwarded-pair *( ";" forwarded-pair )`, separated by commas. `None` at a syntax error.
fn elements(line: &str) -> Option<Vec<Option<IpAddr>>> {
    let (mut hops, mut rest) = (Vec::new(), line);
    // the node of this element, and whether the element has any pair
    let (mut current, mut any): (Option<Option<IpAddr>>, bool) = (None, false);
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with([',', ';']) {
            let (name, value, after) = pair(rest)?;
            if name.eq_ignore_ascii_case("for") {
                // a parameter given twice says nothing (RFC 7239 §4)
                current = Some(if current.is_none() { node(&value) } else { None });
            }
            (any, rest) = (true, after.trim_start_matches([' ', '\t']));
        }
        match rest.chars().next() {
            Some(';') => {}
            Some(',') | None if any => {
                hops.push(current.take().flatten());
                any = false;
            }
            Some(',') | None => {}
            Some(_) => return None,
        }
        if rest.is_empty() {
            return Some(hops);
        }
        rest = &rest[1..];
    }
}

/// `token "=" ( token / quoted-string )`, and what follows it. Tokens may also hold what IPv4 with a port needs.
fn pair(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = text.split_once('=')?;
    if name.is_empty() || !name.bytes().all(is_token) {
        return None;
    }
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.bytes().position(|b| !is_token(b) && b != b':').unwrap_or(rest.len());
        return (end > 0).then(|| (name, rest[..end].to_owned(), &rest[end..]));
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((name, value, &quoted[at + 1..])),
            c => value.push(c),
        }
    }
    None
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
