//! How a command fails: four parts on stderr in a fixed order, and an exit code that scripts may rely on
//! (reference/operators.md §2.4, §2.5).

use crate::client::Refusal;
use crate::client::problem::Problem;
use crate::error::{Error, ErrorKind};
use crate::store::is_busy;

/// What did not happen, and why.
#[derive(Debug)]
pub struct Failure {
    /// "cannot issue a certificate for db.example": filled in by the command.
    pub what: String,
    pub cause: Cause,
}

#[derive(Debug)]
pub enum Cause {
    Error(Box<Error>),
    Problem(Box<Problem>),
    /// A check that failed: its report is already printed.
    Check(u8),
}

pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { what: String::new(), cause: Cause::Error(Box::new(error)) }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let cause = match refusal {
            Refusal::Problem(problem) => Cause::Problem(problem),
            Refusal::Failed(error) => Cause::Error(Box::new(error)),
        };
        Failure { what: String::new(), cause }
    }
}

/// Names the thing that did not happen.
pub trait Trying<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Failure>> Trying<T> for std::result::Result<T, E> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| {
            let failure: Failure = e.into();
            Failure { what: what(), ..failure }
        })
    }
}

impl Failure {
    /// The server refused by this rule.
    pub fn is_rule(&self, name: &str) -> bool {
        matches!(&self.cause, Cause::Problem(problem) if problem.rule == name)
    }

    pub fn exit_code(&self) -> u8 {
        match &self.cause {
            Cause::Error(error) => of_kind(error.kind),
            Cause::Problem(problem) => of_problem(problem),
            Cause::Check(code) => *code,
        }
    }

    /// The lines for stderr; none for a check, which has told its own.
    pub fn lines(&self) -> Vec<String> {
        let (detail, rule, fix, trace) = match &self.cause {
            Cause::Check(_) => return Vec::new(),
            Cause::Error(error) => {
                let rule = error.rule.as_deref();
                let detail = if error.kind == ErrorKind::Internal { error.chain() } else { with_cause(error) };
                (detail, rule.map(|r| r.name.clone()), rule.map(|r| r.fix.clone()), None)
            }
            Cause::Problem(p) => {
                let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                let trace = some(&p.instance).map(|i| format!("{i}   {}", p.r#type));
                (p.detail.clone(), some(&p.rule), some(&p.fix), trace)
            }
        };
        let mut lines = Vec::new();
        if self.what.is_empty() {
            lines.push(format!("error: {detail}"));
        } else {
            lines.push(format!("error: {}", self.what));
            lines.push(format!("  {detail}"));
        }
        let rows = [("rule", rule), ("try", fix), ("trace", trace)];
        lines.extend(rows.into_iter().filter_map(|(name, text)| text.map(|t| format!("  {name:<6} {t}"))));
        lines
    }
}

/// A system's own words help when the database or a file is out of reach.
fn with_cause(error: &Error) -> String {
    match (error.kind, std::error::Error::source(error)) {
        (ErrorKind::Unavailable, _) if is_busy(error) => error.detail.clone(),
        (ErrorKind::Unavailable | ErrorKind::Config, Some(_)) => error.chain(),
        _ => error.detail.clone(),
    }
}

/// For the end of `chancery --help`. Scripts rely on the codes: none changes its meaning.
const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "done"),
    ("1", "failed"),
    ("2", "wrong usage or settings, or --yes is missing where nobody can be asked"),
    ("3", "refused by a rule"),
    ("4", "not found"),
    ("5", "not signed in, or not allowed"),
    ("6", "server or database out of reach"),
    ("7", "conflict: it exists already, has changed, or the server is locked"),
    ("8", "timed out; it may still finish"),
    ("10", "a check ended with a warning, or something is still under way"),
    ("11", "a check found a fault"),
    ("20-24", "verify: expired, not yet valid, revoked, another name, untrusted chain"),
];

/// What the exit codes mean, and where the output goes.
pub fn exit_codes() -> String {
    let mut text = String::from("Data goes to stdout, everything else to stderr. Exit codes:");
    EXIT_CODES.iter().for_each(|(code, meaning)| text.push_str(&format!("\n  {code:<7}{meaning}")));
    text
}

const fn of_kind(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Malformed
        | ErrorKind::UnsupportedMediaType
        | ErrorKind::TooLarge
        | ErrorKind::MethodNotAllowed
        | ErrorKind::NotAcceptable
        | ErrorKind::UnsupportedIdentifier
        | ErrorKind::BadRevocationReason
        | ErrorKind::Config => 2,
        ErrorKind::Refused
        | ErrorKind::BadCsr
        | ErrorKind::BadKey
        | ErrorKind::RejectedIdentifier
        | ErrorKind::Unprocessable
        | ErrorKind::InvalidProfile
        | ErrorKind::Caa => 3,
        ErrorKind::NotFound => 4,
        ErrorKind::Unauthenticated | ErrorKind::Forbidden => 5,
        ErrorKind::Unavailable | ErrorKind::Connection | ErrorKind::Dns | ErrorKind::Tls => 6,
        ErrorKind::Conflict
        | ErrorKind::StaleRevision
        | ErrorKind::AlreadyRevoked
        | ErrorKind::AlreadyReplaced
        | ErrorKind::IdempotencyMismatch
        | ErrorKind::Locked => 7,
        ErrorKind::TimedOut => 8,
        _ => 1,
    }
}

fn of_problem(problem: &Problem) -> u8 {
    match (problem.status, problem.code.as_str()) {
        (_, "locked") => 7,
        (401, _) | (403, "forbidden" | "unauthenticated") => 5,
        (403 | 422, _) => 3,
        (404, _) => 4,
        (409 | 412, _) => 7,
        (400 | 405 | 406 | 413 | 415, _) => 2,
        (503, _) => 6,
        (504, _) => 8,
        _ => 1,
    }
}
