//! Why control over a name was not proved, precisely, and the one sentence that the owner of the name gets to see.
//! Nothing in here holds bytes of a response body: what a server inside the network answers is not for the client.

use std::net::SocketAddr;
use std::time::Duration;

use super::guard::Denial;
use super::resolver::DnsFailure;
use crate::error::{Error, ErrorKind, sentence};
use crate::model::identifier::shown;
use crate::model::text::is_deceptive;
use crate::pki::der::DerError;

/// One reason. `target` and `place` are `ADDRESS port PORT` for addresses, `http://host:port` for redirects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValidationError {
    /// The method cannot prove this kind of identifier (a wildcard, a mail address).
    UnsupportedIdentifier {
        identifier: String,
        method: &'static str,
    },
    /// A token that we cannot have made, or a key authorization of another token. A fault of ours.
    BadToken,
    /// No place among the running attempts came free. Says nothing about the name: try again.
    Busy,
    Dns {
        host: String,
        failure: DnsFailure,
    },
    /// The TXT records of a name could not be had.
    TxtLookup {
        name: String,
        failure: DnsFailure,
    },
    /// None of the TXT records is the expected one, which is no secret.
    TxtValue {
        name: String,
        expected: String,
        found: usize,
    },
    /// Every address of the name is denied; the first one and why.
    Denied {
        host: String,
        target: SocketAddr,
        denial: Denial,
    },
    /// No address could be connected to; the last one tried and why.
    Dial {
        host: String,
        target: SocketAddr,
        failure: DialFailure,
        tried: usize,
    },
    Tls {
        target: SocketAddr,
        failure: TlsFailure,
    },
    Http {
        target: SocketAddr,
        failure: HttpFailure,
    },
    Redirect {
        target: SocketAddr,
        failure: RedirectFailure,
    },
    Status {
        target: SocketAddr,
        status: u16,
    },
    Body {
        target: SocketAddr,
        seen: BodySeen,
    },
    /// tls-alpn-01: the handshake, or what was agreed on in it.
    Alpn {
        target: SocketAddr,
        failure: AlpnFailure,
    },
    /// tls-alpn-01: the certificate.
    Certificate {
        target: SocketAddr,
        seen: CertificateSeen,
    },
    /// dns-persist-01: no record fits. `expected` would.
    Persist {
        name: String,
        expected: String,
        seen: PersistSeen,
    },
    /// The CAA records of a name do not permit this CA, whose name is `identity`.
    Caa {
        name: String,
        identity: String,
        seen: CaaSeen,
    },
    /// Whether there are CAA records could not be learned, and that refuses (RFC 8659 §6.2).
    CaaLookup {
        name: String,
        failure: DnsFailure,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialFailure {
    Refused,
    Timeout,
    Unreachable,
    Reset,
    /// Anything else, by its kind in std::io.
    Other(std::io::ErrorKind),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFailure {
    Timeout,
    Closed,
    /// An alert, no common version (1.2 or 1.3) or cipher, or no TLS at all.
    Handshake,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpFailure {
    /// Connected, and no complete response header within the time.
    HeaderTimeout,
    /// The header came, the body did not end within the time.
    BodyTimeout,
    /// Closed or reset before a complete response header.
    ClosedBeforeHeader,
    /// Closed or reset before the end of the body.
    ClosedInBody,
    HeaderTooLarge,
    NotHttp,
}

/// What a redirect did wrong. `to` is its scheme, host and port, without path, query and user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectFailure {
    NoLocation,
    SeveralLocations,
    /// Not parseable, not ASCII, or longer than 2,000 bytes.
    BadLocation,
    Scheme {
        scheme: String,
    },
    UserInfo {
        to: String,
    },
    Port {
        to: String,
        port: u16,
    },
    /// `http://name.well-known/…`: the slash behind the name is missing.
    MissingSlash {
        to: String,
    },
    Loop {
        to: String,
    },
    TooMany {
        limit: usize,
    },
}

/// The kind of body that was not the key authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodySeen {
    Empty,
    TooLong {
        limit: usize,
    },
    LeadingWhitespace,
    /// The token without `.thumbprint`.
    TokenOnly,
    /// The right token with another account's thumbprint.
    OtherAccount,
    /// Our thumbprint behind another token.
    OtherToken,
    Html,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlpnFailure {
    Timeout,
    Closed,
    /// Something that is not TLS.
    NotTls,
    /// Older than 1.2.
    Version,
    /// `acme-tls/1` was not agreed on.
    NoProtocol,
    /// The server chose what was not offered.
    OtherProtocol,
    /// This alert.
    Alert(u8),
    /// More than a handshake needs, or a certificate over 64 KB.
    TooLarge,
    NoCertificate,
    /// The handshake is not signed with the certificate's key.
    Signature,
    Handshake,
}

/// The kind of certificate that was no answer. No name in it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateSeen {
    TooLarge {
        limit: usize,
    },
    /// Not strict DER, or an extension that stands twice.
    Der(DerError),
    NotSelfSigned,
    NoName,
    SeveralNames,
    OtherKind {
        seen: &'static str,
    },
    OtherName,
    NoAcmeIdentifier,
    NotCritical,
    /// Not an OCTET STRING of 32 octets.
    BadAcmeIdentifier,
    OtherDigest,
}

impl From<DerError> for CertificateSeen {
    fn from(error: DerError) -> Self {
        CertificateSeen::Der(error)
    }
}

/// The nearest that the TXT records of dns-persist-01 came, from nothing to almost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PersistSeen {
    Nothing,
    OtherIssuer,
    Malformed,
    Repeated,
    NoAccount,
    OtherAccount,
    BadUntil,
    Passed,
    NoPolicy,
}

/// The nearest that the CAA records came to a permission.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CaaSeen {
    /// `;`
    Nobody,
    /// A value that does not match the grammar.
    Malformed,
    OtherIssuer,
    /// A parameter that stands twice.
    Repeated,
    OtherAccount,
    OtherMethod {
        method: String,
    },
    CriticalUnknown {
        tag: String,
    },
}

impl ValidationError {
    /// True when nothing was learned about the name: the caller tries again and fails no challenge.
    pub fn is_ours(&self) -> bool {
        matches!(self, ValidationError::Busy | ValidationError::BadToken)
    }

    /// Somebody answered at the place where the proof is looked for, and all that is missing is what a client puts
    /// there for the time of its order.
    pub fn lacks_only_the_answer(&self) -> bool {
        match self {
            ValidationError::Status { status, .. } => *status < 500,
            ValidationError::Body { .. }
            | ValidationError::TxtValue { .. }
            | ValidationError::TxtLookup { failure: DnsFailure::NxDomain, .. }
            | ValidationError::Certificate { .. } => true,
            ValidationError::Alpn { failure, .. } => match failure {
                // no_application_protocol and unrecognized_name: a server that has no responder at this moment
                AlpnFailure::NoProtocol | AlpnFailure::Alert(120 | 112) => true,
                AlpnFailure::Timeout
                | AlpnFailure::Closed
                | AlpnFailure::NotTls
                | AlpnFailure::Version
                | AlpnFailure::OtherProtocol
                | AlpnFailure::Alert(_)
                | AlpnFailure::TooLarge
                | AlpnFailure::NoCertificate
                | AlpnFailure::Signature
                | AlpnFailure::Handshake => false,
            },
            ValidationError::UnsupportedIdentifier { .. }
            | ValidationError::BadToken
            | ValidationError::Busy
            | ValidationError::Dns { .. }
            | ValidationError::TxtLookup { .. }
            | ValidationError::Denied { .. }
            | ValidationError::Dial { .. }
            | ValidationError::Tls { .. }
            | ValidationError::Http { .. }
            | ValidationError::Redirect { .. }
            | ValidationError::Persist { .. }
            | ValidationError::Caa { .. }
            | ValidationError::CaaLookup { .. } => false,
        }
    }

    pub fn kind(&self) -> ErrorKind {
        match self {
            ValidationError::UnsupportedIdentifier { .. } => ErrorKind::UnsupportedIdentifier,
            ValidationError::BadToken => ErrorKind::Inconsistent,
            ValidationError::Busy => ErrorKind::Unavailable,
            ValidationError::Dns { .. } | ValidationError::TxtLookup { .. } => ErrorKind::Dns,
            ValidationError::Tls { .. } | ValidationError::Alpn { .. } => ErrorKind::Tls,
            ValidationError::Caa { .. } | ValidationError::CaaLookup { .. } => ErrorKind::Caa,
            ValidationError::Persist { seen, .. } => seen.kind(),
            ValidationError::Denied { .. }
            | ValidationError::Dial { .. }
            | ValidationError::Http { .. }
            | ValidationError::Redirect { .. } => ErrorKind::Connection,
            ValidationError::Status { .. }
            | ValidationError::Body { .. }
            | ValidationError::TxtValue { .. }
            | ValidationError::Certificate { .. } => ErrorKind::IncorrectResponse,
        }
    }

    /// One sentence of at most 400 characters without control characters: where, what was seen, what to do.
    pub fn detail(&self) -> String {
        let text: String = self.words().chars().filter(|c| !is_deceptive(*c)).collect();
        sentence(&text).into_owned()
    }

    fn words(&self) -> String {
        match self {
            ValidationError::UnsupportedIdentifier { identifier, method } => {
                format!("{} cannot be proved by {method}: choose another challenge type", shown(identifier))
            }
            ValidationError::BadToken => "the stored challenge token is not one that this server makes".to_owned(),
            ValidationError::Busy => "too many validations are running on the CA server: try again later".to_owned(),
            ValidationError::Dns { host, failure } => {
                format!("{}: {failure}, asked from the CA server; {}", shown(host), dns_fix(failure))
            }
            ValidationError::TxtLookup { name, failure: DnsFailure::NxDomain } => {
                format!(
                    "{}: {}, asked from the CA server; add the TXT record and wait until every server of the zone has it",
                    shown(name),
                    DnsFailure::NxDomain
                )
            }
            ValidationError::TxtLookup { name, failure } => {
                format!("{}: {failure}, asked from the CA server; {}", shown(name), dns_fix(failure))
            }
            ValidationError::TxtValue { name, expected, found: 0 } => {
                format!("{} has no TXT record, asked from the CA server; add one with {expected}", shown(name))
            }
            ValidationError::TxtValue { name, expected, found } => format!(
                "{} has {found} TXT records, none of which is {expected}, asked from the CA server; add it or wait until every server of the zone has it",
                shown(name)
            ),
            ValidationError::Denied { host, target, denial } => format!(
                "{} ({}) is not connected to: {denial}; give the name an address that the CA server may use",
                place(*target),
                shown(host)
            ),
            ValidationError::Dial { host, target, failure, tried } => format!(
                "{} ({}) {} from the CA server{}; open the port to it and keep the responder running",
                place(*target),
                shown(host),
                failure.words(),
                if *tried > 1 { format!(", as the last of {tried} addresses") } else { String::new() }
            ),
            ValidationError::Tls { target, failure } => format!(
                "{} {} in the TLS handshake with the CA server; offer TLS 1.2 or 1.3 there (any certificate will do)",
                place(*target),
                failure.words()
            ),
            ValidationError::Http { target, failure } => {
                format!(
                    "{} {} to the CA server; answer with the key authorization at once",
                    place(*target),
                    failure.words()
                )
            }
            ValidationError::Redirect { target, failure } => {
                format!("{} answered the CA server with a redirect {}", place(*target), failure.words())
            }
            ValidationError::Status { target, status } => format!(
                "{} answered the CA server with status {status} in place of 200; serve the key authorization \
                 under /.well-known/acme-challenge/",
                place(*target)
            ),
            ValidationError::Body { target, seen } => format!(
                "{} answered the CA server with {} in place of the key authorization TOKEN.THUMBPRINT; serve \
                 exactly that",
                place(*target),
                seen.words()
            ),
            ValidationError::Alpn { target, failure } => format!(
                "{} {} in the TLS handshake with the CA server; offer TLS 1.2 or 1.3 there and choose acme-tls/1 (RFC 8737)",
                place(*target),
                failure.words()
            ),
            ValidationError::Certificate { target, seen } => format!(
                "{} showed the CA server {}; show a self-signed certificate for this name alone with the critical \
                 acmeIdentifier of this challenge (RFC 8737 §3)",
                place(*target),
                seen.words()
            ),
            ValidationError::Persist { name, expected, seen } => format!(
                "{} {}, asked from the CA server; let a TXT record there be \"{}\"",
                shown(name),
                seen.words(),
                clear(expected)
            ),
            ValidationError::Caa { name, identity, seen } => format!(
                "the CAA records of {} {}, asked from the CA server; add the property issue \"{}\" there, or mend the one there is",
                shown(name),
                seen.words(),
                clear(identity)
            ),
            ValidationError::CaaLookup { name, failure } => format!(
                "CAA of {}: {failure}, asked from the CA server, and without an answer nothing is issued; {}",
                shown(name),
                dns_fix(failure)
            ),
        }
    }
}

/// What goes into a sentence whole, although `shown` would cut it: URLs of ours.
fn clear(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect()
}

impl From<ValidationError> for Error {
    fn from(error: ValidationError) -> Error {
        let outcome = Error::new(error.kind(), error.detail());
        if error == ValidationError::Busy { outcome.retry_after(Duration::from_secs(5)) } else { outcome }
    }
}

impl std::fmt::Display for ValidationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail())
    }
}

impl std::error::Error for ValidationError {}

/// `192.0.2.1 port 80`.
pub(super) fn place(target: SocketAddr) -> String {
    format!("{} port {}", target.ip(), target.port())
}

fn dns_fix(failure: &DnsFailure) -> &'static str {
    match failure {
        DnsFailure::NxDomain | DnsFailure::NoAddress => "add an A or AAAA record and try again",
        DnsFailure::BadName => "ask for another name",
        DnsFailure::ServFail
        | DnsFailure::Refused
        | DnsFailure::Code(_)
        | DnsFailure::Timeout
        | DnsFailure::Unreachable
        | DnsFailure::BadAnswer => "check the zone's servers, or set acme.resolvers on the CA server",
    }
}

impl DialFailure {
    pub(super) fn of(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        match error.kind() {
            Io::ConnectionRefused => DialFailure::Refused,
            Io::TimedOut => DialFailure::Timeout,
            Io::HostUnreachable | Io::NetworkUnreachable | Io::AddrNotAvailable => DialFailure::Unreachable,
            Io::ConnectionReset | Io::ConnectionAborted => DialFailure::Reset,
            other => DialFailure::Other(other),
        }
    }

    pub(super) fn words(self) -> String {
        match self {
            DialFailure::Refused => "refused the connection".to_owned(),
            DialFailure::Timeout => "did not accept a connection in time".to_owned(),
            DialFailure::Unreachable => "is not reachable".to_owned(),
            DialFailure::Reset => "reset the connection".to_owned(),
            DialFailure::Other(kind) => format!("could not be connected to ({kind})"),
        }
    }
}

impl TlsFailure {
    fn words(self) -> &'static str {
        match self {
            TlsFailure::Timeout => "did not answer in time",
            TlsFailure::Closed => "closed the connection",
            TlsFailure::Handshake => "failed",
        }
    }
}

impl AlpnFailure {
    pub(super) fn words(self) -> String {
        match self {
            AlpnFailure::Timeout => "did not answer in time".to_owned(),
            AlpnFailure::Closed => "closed the connection".to_owned(),
            AlpnFailure::NotTls => "sent something that is not TLS".to_owned(),
            AlpnFailure::Version => "offered nothing newer than TLS 1.1".to_owned(),
            AlpnFailure::NoProtocol => "did not choose the protocol acme-tls/1".to_owned(),
            AlpnFailure::OtherProtocol => "chose another protocol than acme-tls/1".to_owned(),
            AlpnFailure::Alert(code) => format!("sent the alert {:?}", rustls::AlertDescription::from(code)),
            AlpnFailure::TooLarge => "sent more than 64 KB".to_owned(),
            AlpnFailure::NoCertificate => "showed no certificate".to_owned(),
            AlpnFailure::Signature => "did not sign with the key of its certificate".to_owned(),
            AlpnFailure::Handshake => "failed".to_owned(),
        }
    }
}

impl CertificateSeen {
    fn words(self) -> String {
        match self {
            CertificateSeen::TooLarge { limit } => format!("a certificate over {limit} bytes"),
            CertificateSeen::Der(error) => format!("a certificate that is {error}"),
            CertificateSeen::NotSelfSigned => "a certificate that is not signed by itself".to_owned(),
            CertificateSeen::NoName => "a certificate without a subjectAltName".to_owned(),
            CertificateSeen::SeveralNames => "a certificate with several names".to_owned(),
            CertificateSeen::OtherKind { seen } => format!("a certificate whose name is of another kind ({seen})"),
            CertificateSeen::OtherName => "a certificate for another name".to_owned(),
            CertificateSeen::NoAcmeIdentifier => "a certificate without acmeIdentifier".to_owned(),
            CertificateSeen::NotCritical => "a certificate whose acmeIdentifier is not critical".to_owned(),
            CertificateSeen::BadAcmeIdentifier => {
                "a certificate whose acmeIdentifier is not an OCTET STRING of 32 octets".to_owned()
            }
            CertificateSeen::OtherDigest => "a certificate of another token or another account key".to_owned(),
        }
    }
}

impl PersistSeen {
    /// As the draft has it: a record that cannot be read is malformed, one of others lets nobody in.
    fn kind(self) -> ErrorKind {
        match self {
            PersistSeen::Malformed | PersistSeen::Repeated | PersistSeen::NoAccount | PersistSeen::BadUntil => {
                ErrorKind::Malformed
            }
            PersistSeen::Nothing
            | PersistSeen::OtherIssuer
            | PersistSeen::OtherAccount
            | PersistSeen::Passed
            | PersistSeen::NoPolicy => ErrorKind::Forbidden,
        }
    }

    fn words(self) -> &'static str {
        match self {
            PersistSeen::Nothing => "has no TXT record",
            PersistSeen::OtherIssuer => "has TXT records, and none names this CA",
            PersistSeen::Malformed => "has a record whose form is wrong",
            PersistSeen::Repeated => "has a record with the same parameter twice",
            PersistSeen::NoAccount => "has a record without accounturi",
            PersistSeen::OtherAccount => "has a record for another account",
            PersistSeen::BadUntil => "has a record whose persistUntil is not a number of seconds",
            PersistSeen::Passed => "has a record whose persistUntil is over",
            PersistSeen::NoPolicy => "has a record without policy=wildcard, which this name needs",
        }
    }
}

impl CaaSeen {
    pub(super) fn words(&self) -> String {
        match self {
            CaaSeen::Nobody => "let nobody issue".to_owned(),
            CaaSeen::Malformed => "have a value whose form is wrong, which lets nobody issue".to_owned(),
            CaaSeen::OtherIssuer => "do not name this CA".to_owned(),
            CaaSeen::Repeated => "name this CA with the same parameter twice".to_owned(),
            CaaSeen::OtherAccount => "name this CA for another account".to_owned(),
            CaaSeen::OtherMethod { method } => format!("name this CA without the method {}", shown(method)),
            CaaSeen::CriticalUnknown { tag } => {
                format!("have the critical property {}, which is unknown", shown(tag))
            }
        }
    }
}

impl HttpFailure {
    fn words(self) -> &'static str {
        match self {
            HttpFailure::HeaderTimeout => "accepted the connection and sent no complete response header in time",
            HttpFailure::BodyTimeout => "sent a response whose body did not end in time",
            HttpFailure::ClosedBeforeHeader => "closed the connection before it sent a response",
            HttpFailure::ClosedInBody => "closed the connection before it sent the whole body",
            HttpFailure::HeaderTooLarge => "sent a response header over 16 KB or 100 fields",
            HttpFailure::NotHttp => "sent something that is not an HTTP/1.1 response",
        }
    }
}

impl RedirectFailure {
    fn words(&self) -> String {
        match self {
            RedirectFailure::NoLocation => "without a Location header; name the target there".to_owned(),
            RedirectFailure::SeveralLocations => "with several Location headers; send one".to_owned(),
            RedirectFailure::BadLocation => {
                "whose Location is not a URL of at most 2000 ASCII characters; mend it".to_owned()
            }
            RedirectFailure::Scheme { scheme } => {
                format!("to a {} URL; only http and https are followed", shown(scheme))
            }
            RedirectFailure::UserInfo { to } => format!("to {} with user or password; leave them out", shown(to)),
            RedirectFailure::Port { to, port } => {
                format!("to {}, port {port}; only ports 80 and 443 and the configured ones are followed", shown(to))
            }
            RedirectFailure::MissingSlash { to } => {
                format!("to {}; the slash between host name and path is missing", shown(to))
            }
            RedirectFailure::Loop { to } => format!("to {} that it was sent from before; end the loop", shown(to)),
            RedirectFailure::TooMany { limit } => format!("after {limit} others; shorten the chain"),
        }
    }
}

impl BodySeen {
    fn words(self) -> String {
        match self {
            BodySeen::Empty => "an empty body".to_owned(),
            BodySeen::TooLong { limit } => format!("a body longer than {limit} bytes"),
            BodySeen::LeadingWhitespace => "a body that begins with white space".to_owned(),
            BodySeen::TokenOnly => "the token alone, without the account's thumbprint,".to_owned(),
            BodySeen::OtherAccount => "the key authorization of another account key".to_owned(),
            BodySeen::OtherToken => "the key authorization of another token".to_owned(),
            BodySeen::Html => "an HTML page".to_owned(),
            BodySeen::Other => "another body".to_owned(),
        }
    }
}
