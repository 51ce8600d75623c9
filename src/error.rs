//! The one vocabulary of failure. Rooms with precise enums (`pki`, `validation`) turn them into this at their
//! door; `http/problem.rs` and `cli` turn it into a status, a problem type, an exit code.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// What went wrong, as coarse as a caller can act on. `http/problem.rs` matches it exhaustively.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request cannot be parsed (400).
    Malformed,
    /// Several parts are refused, each for a reason of its own kind (ACME compound).
    Compound,
    /// The media type is not the one that this endpoint takes (415).
    UnsupportedMediaType,
    /// The body, or a list in it, is over a limit (413).
    TooLarge,
    /// The method is not one of this resource (405).
    MethodNotAllowed,
    /// The request did not arrive in the time that it has (408).
    SlowRequest,
    /// None of the media types asked for can be had (406).
    NotAcceptable,
    /// The request parses and its values contradict each other or the state (422).
    Unprocessable,
    /// No credential, or one that is unknown, expired or revoked (401).
    Unauthenticated,
    /// The credential is good and does not allow this (403).
    Forbidden,
    /// No such thing, or none that this caller may see (404).
    NotFound,
    /// It exists already, or its state forbids the move (409).
    Conflict,
    /// A change was made on a revision that is no longer the present one (412).
    StaleRevision,
    /// The certificate was revoked before (REST 409, ACME alreadyRevoked 400).
    AlreadyRevoked,
    /// Another order holds the replacement of this certificate (ACME alreadyReplaced 409, RFC 9773 §7.4).
    AlreadyReplaced,
    /// The same Idempotency-Key came with another body (422).
    IdempotencyMismatch,
    /// A rule of a profile, a grant or the CA refuses (403).
    Refused,
    /// The CSR breaks a rule (422, ACME badCSR).
    BadCsr,
    /// A public key is weak, blocked or of a kind that is not accepted (422, ACME badPublicKey).
    BadKey,
    /// A name may not be certified (403, ACME rejectedIdentifier).
    RejectedIdentifier,
    /// An identifier type that is not supported (ACME unsupportedIdentifier).
    UnsupportedIdentifier,
    /// A revocation reason that this caller may not give (ACME badRevocationReason).
    BadRevocationReason,
    /// ACME badNonce.
    BadNonce,
    /// ACME badSignatureAlgorithm; the allowed ones stand in `allowed`.
    BadSignatureAlgorithm,
    /// ACME accountDoesNotExist.
    AccountDoesNotExist,
    /// ACME unauthorized for an account that is deactivated or revoked (401).
    AccountInactive,
    /// ACME unsupportedContact.
    UnsupportedContact,
    /// ACME invalidContact.
    InvalidContact,
    /// ACME orderNotReady.
    OrderNotReady,
    /// ACME userActionRequired.
    UserActionRequired,
    /// ACME externalAccountRequired.
    ExternalAccountRequired,
    /// ACME invalidProfile (draft-ietf-acme-profiles).
    InvalidProfile,
    /// Validation reached the target and its answer was not the key authorization (ACME incorrectResponse).
    IncorrectResponse,
    /// Validation could not reach the target (ACME connection).
    Connection,
    /// A DNS query of validation failed (ACME dns).
    Dns,
    /// A TLS handshake of validation failed (ACME tls).
    Tls,
    /// CAA forbids issuance (ACME caa).
    Caa,
    /// Too many requests (429); `retry_after` is set.
    RateLimited,
    /// The server runs without its unlock key (503).
    Locked,
    /// Database, signer or queue out of reach for now (503).
    Unavailable,
    /// It took longer than allowed and may still finish (504).
    TimedOut,
    /// The configuration is wrong (exit code 2).
    Config,
    /// The database holds something that cannot be (500).
    Inconsistent,
    /// A fault of ours (500). The cause is logged, never sent.
    Internal,
}

impl ErrorKind {
    /// The word for it in problem documents, metrics and logs; a code never changes.
    pub const fn code(self) -> &'static str {
        match self {
            ErrorKind::Malformed => "malformed",
            ErrorKind::Compound => "compound",
            ErrorKind::UnsupportedMediaType => "unsupported_media_type",
            ErrorKind::TooLarge => "too_large",
            ErrorKind::MethodNotAllowed => "method_not_allowed",
            ErrorKind::SlowRequest => "slow_request",
            ErrorKind::NotAcceptable => "not_acceptable",
            ErrorKind::Unprocessable => "unprocessable",
            ErrorKind::Unauthenticated => "unauthenticated",
            ErrorKind::Forbidden => "forbidden",
            ErrorKind::NotFound => "not_found",
            ErrorKind::Conflict => "conflict",
            ErrorKind::StaleRevision => "stale_revision",
            ErrorKind::AlreadyRevoked => "already_revoked",
            ErrorKind::AlreadyReplaced => "already_replaced",
            ErrorKind::IdempotencyMismatch => "idempotency_mismatch",
            ErrorKind::Refused => "refused",
            ErrorKind::BadCsr => "bad_csr",
            ErrorKind::BadKey => "bad_public_key",
            ErrorKind::RejectedIdentifier => "rejected_identifier",
            ErrorKind::UnsupportedIdentifier => "unsupported_identifier",
            ErrorKind::BadRevocationReason => "bad_revocation_reason",
            ErrorKind::BadNonce => "bad_nonce",
            ErrorKind::BadSignatureAlgorithm => "bad_signature_algorithm",
            ErrorKind::AccountDoesNotExist => "account_does_not_exist",
            ErrorKind::AccountInactive => "account_inactive",
            ErrorKind::UnsupportedContact => "unsupported_contact",
            ErrorKind::InvalidContact => "invalid_contact",
            ErrorKind::OrderNotReady => "order_not_ready",
            ErrorKind::UserActionRequired => "user_action_required",
            ErrorKind::ExternalAccountRequired => "external_account_required",
            ErrorKind::InvalidProfile => "invalid_profile",
            ErrorKind::IncorrectResponse => "incorrect_response",
            ErrorKind::Connection => "connection",
            ErrorKind::Dns => "dns",
            ErrorKind::Tls => "tls",
            ErrorKind::Caa => "caa",
            ErrorKind::RateLimited => "rate_limited",
            ErrorKind::Locked => "locked",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::TimedOut => "timed_out",
            ErrorKind::Config => "configuration",
            ErrorKind::Inconsistent => "inconsistent",
            ErrorKind::Internal => "internal",
        }
    }
}

/// One failure: kind, a sentence for people, and what a machine needs of it.
#[derive(Debug)]
pub struct Error {
    pub kind: ErrorKind,
    /// One sentence, lower case, without secrets: what was refused, why, what to do.
    pub detail: String,
    /// The rule behind a refusal, when there is one.
    pub rule: Option<Box<Rule>>,
    pub subproblems: Vec<Subproblem>,
    pub retry_after: Option<Duration>,
    /// Where a person does something about it: a path below the external URL (ACME `instance`, RFC 8555 §7.3.3).
    pub visit: Option<Box<str>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    recorded: bool,
}

/// The rule that refused: the same four parts in ACME, REST, command line and dashboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Dotted name, such as `names.allow` or `key.rsa_bits`.
    pub name: String,
    /// The value that was seen.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
    /// What to do next.
    pub fix: String,
}

/// One part of a compound failure (RFC 8555 §6.7.1; REST `errors[]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subproblem {
    pub kind: ErrorKind,
    pub detail: String,
    /// `(type, value)` of the identifier it is about.
    pub identifier: Option<(String, String)>,
    /// JSON pointer into the request.
    pub pointer: Option<String>,
    /// The rule that refuses it, if one does.
    pub rule: Option<Box<Rule>>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Characters of a sentence that goes to a client of ACME.
pub const SENTENCE: usize = 400;

/// What a sentence says was seen, and what it says to do: behind the last semicolon that stands in no quotes.
pub fn parts(text: &str) -> (&str, Option<&str>) {
    let mut quoted = false;
    let mut at = None;
    for (n, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ';' if !quoted && text[n..].starts_with("; ") => at = Some(n),
            _ => {}
        }
    }
    // an odd number of quotes: a name holds one, and where the text ends is not to be told from them
    let at = if quoted { text.rfind("; ") } else { at };
    at.map_or((text, None), |n| (&text[..n], Some(&text[n + 2..])))
}

/// A sentence of at most `SENTENCE` characters: what is to be done, behind the last semicolon, stays whole, and what
/// was seen is cut where it is too long.
pub fn sentence(text: &str) -> Cow<'_, str> {
    if text.chars().count() <= SENTENCE {
        return Cow::Borrowed(text);
    }
    let (seen, fix) = match parts(text) {
        (seen, Some(_)) => (seen, &text[seen.len()..]),
        (seen, None) => (seen, ""),
    };
    let (seen, fix) = if fix.chars().count() > SENTENCE / 2 { (text, "") } else { (seen, fix) };
    let room = SENTENCE - 1 - fix.chars().count();
    Cow::Owned(seen.chars().take(room).chain(['…']).chain(fix.chars()).collect())
}

/// A refusal whose sentence is not written yet. Its rule has members of its own in an answer, so the sentence names it
/// nowhere and is written for people: what is wrong, what is allowed, what to change.
#[derive(Debug)]
#[must_use = "a refusal becomes an error with its sentence"]
pub struct RuleRefusal {
    kind: ErrorKind,
    rule: Rule,
}

impl RuleRefusal {
    /// What is wrong and what is allowed; what to change follows behind a semicolon.
    pub fn explained(self, wrong: impl fmt::Display) -> Error {
        let sentence = format!("{wrong}; {}", self.rule.fix);
        self.saying(sentence)
    }

    /// The whole sentence, with what to change.
    pub fn saying(self, sentence: impl Into<String>) -> Error {
        Error { rule: Some(Box::new(self.rule)), ..Error::new(self.kind, sentence) }
    }
}

impl Error {
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Error {
            kind,
            detail: detail.into(),
            rule: None,
            subproblems: Vec::new(),
            retry_after: None,
            visit: None,
            source: None,
            recorded: false,
        }
    }

    /// A refusal by a rule, which lacks its sentence still.
    pub fn refused(
        kind: ErrorKind,
        rule: impl Into<String>,
        value: impl fmt::Display,
        allowed: impl fmt::Display,
        fix: impl fmt::Display,
    ) -> RuleRefusal {
        let (value, allowed, fix) = (value.to_string(), allowed.to_string(), fix.to_string());
        RuleRefusal { kind, rule: Rule { name: rule.into(), value, allowed, fix } }
    }

    /// A fault of ours: `detail` and `source` go to the log, never to a client.
    pub fn internal(detail: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error::new(ErrorKind::Internal, detail).because(source)
    }

    pub fn malformed(detail: impl Into<String>) -> Self {
        Error::new(ErrorKind::Malformed, detail)
    }

    pub fn not_found(what: impl fmt::Display) -> Self {
        Error::new(ErrorKind::NotFound, format!("no such {what}"))
    }

    pub fn inconsistent(detail: impl Into<String>) -> Self {
        Error::new(ErrorKind::Inconsistent, detail)
    }

    /// Adds the cause, which is logged and not sent.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    pub fn visit(mut self, path: impl Into<Box<str>>) -> Self {
        self.visit = Some(path.into());
        self
    }

    /// Marks a refusal that has its audit event, so that the surface does not count it among the unauthenticated.
    pub fn recorded(mut self) -> Self {
        self.recorded = true;
        self
    }

    pub fn is_recorded(&self) -> bool {
        self.recorded
    }

    /// A decision about the request, not a fault or a state of ours.
    pub fn is_refusal(&self) -> bool {
        !matches!(
            self.kind,
            ErrorKind::Internal
                | ErrorKind::Inconsistent
                | ErrorKind::Unavailable
                | ErrorKind::TimedOut
                | ErrorKind::Locked
                | ErrorKind::Config
        )
    }

    pub fn with_subproblems(mut self, subproblems: Vec<Subproblem>) -> Self {
        self.subproblems = subproblems;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as _)
    }
}

impl Error {
    /// Detail and every cause, for the one log line where the failure stops travelling.
    pub fn chain(&self) -> String {
        let mut text = self.detail.clone();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_sentence_keeps_what_is_to_be_done() {
        assert_eq!(sentence("short; do it"), "short; do it");
        let long = sentence(&format!("{}; do it", "ä".repeat(1_000))).into_owned();
        assert_eq!(long.chars().count(), SENTENCE);
        assert!(long.ends_with("ä…; do it"), "{long}");
        // a fix that is no sentence is cut as well
        let odd = sentence(&format!("seen; {}", "x".repeat(1_000))).into_owned();
        assert_eq!(odd.chars().count(), SENTENCE);
        assert!(odd.starts_with("seen; xx") && odd.ends_with('…'), "{odd}");
        let exact = "x".repeat(SENTENCE);
        assert_eq!(sentence(&exact), exact);
    }

    #[test]
    fn a_record_in_quotes_is_not_cut() {
        assert_eq!(parts("seen; more; fix"), ("seen; more", Some("fix")));
        assert_eq!(parts("it is missing; let it be \"a; b=c\""), ("it is missing", Some("let it be \"a; b=c\"")));
        assert_eq!(parts("a name with \" in it; fix"), ("a name with \" in it", Some("fix")));
        assert_eq!(parts("nothing to do"), ("nothing to do", None));
    }
}
