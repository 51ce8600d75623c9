//! One attempt: its deadline, its timeline, and the only way from a name to a connection — resolve once, check
//! every address, dial a checked one (security.md T1: what was checked is what is dialled, so that a second DNS
//! answer changes nothing). Denied addresses are skipped; the attempt fails when none is left.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::net::{TcpSocket, TcpStream};
use url::Host;

use super::Validator;
use super::error::{DialFailure, ValidationError, place};
use super::limits::Place;
use super::resolver::{DnsFailure, Resolver};
use super::rules::{Ports, Rules};
use crate::clock::{Timestamp, exact, monotonic};
use crate::model::identifier::shown;
use crate::model::text::is_deceptive;

/// What an attempt came to, and how. The timeline is for operators; it holds no byte of any body.
#[derive(Debug)]
pub struct Outcome {
    pub result: Result<(), ValidationError>,
    pub timeline: Vec<Step>,
}

impl Outcome {
    /// What was looked at afterwards: its failure counts.
    pub fn and(self, more: Outcome) -> Outcome {
        let timeline = self.timeline.into_iter().chain(more.timeline).collect();
        Outcome { result: if more.result.is_err() { more.result } else { self.result }, timeline }
    }
}

/// One thing that was done or seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    #[serde(with = "exact")]
    pub at: Timestamp,
    pub what: StepKind,
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    Resolve,
    Deny,
    Dial,
    Tls,
    Request,
    Response,
    Redirect,
    Caa,
    /// Not of an attempt itself: the next one begins.
    Retry,
    Result,
}

const PROVED: &str = "control is proved";
pub(super) const PERMITTED: &str = "CAA permits it";
pub(super) const KNOWN: &str = "DNS knows a name where records can be added";

impl Step {
    /// Is it a verdict, and a good one?
    pub fn verdict(&self) -> Option<bool> {
        (self.what == StepKind::Result).then(|| [PROVED, PERMITTED, KNOWN].contains(&self.detail.as_str()))
    }
}

impl StepKind {
    /// The word for it in stored timelines and on every surface.
    pub const fn name(self) -> &'static str {
        match self {
            StepKind::Resolve => "resolve",
            StepKind::Deny => "deny",
            StepKind::Dial => "dial",
            StepKind::Tls => "tls",
            StepKind::Request => "request",
            StepKind::Response => "response",
            StepKind::Redirect => "redirect",
            StepKind::Caa => "caa",
            StepKind::Retry => "retry",
            StepKind::Result => "result",
        }
    }
}

/// Characters kept of one step.
const MAX_STEP: usize = 400;
/// Steps kept of one attempt: more cannot come of an honest name.
const MAX_STEPS: usize = 200;
/// What the kernel may hold of a connection's bytes before we read them.
const RECEIVE_BUFFER: u32 = 64 * 1024;

pub(super) struct Attempt<'a> {
    pub validator: &'a Validator,
    pub rules: &'a Rules,
    pub resolver: Resolver,
    deadline: Instant,
    timeline: Vec<Step>,
    /// Held until the attempt ends.
    _place: Place,
}

/// A connection to an address that passed the guard. Dropping it gives the target's place back.
#[derive(Debug)]
pub(super) struct Connected {
    pub stream: TcpStream,
    pub target: SocketAddr,
    pub place: Place,
}

impl<'a> Attempt<'a> {
    /// Waits for a place first; the deadline is counted from there. `Err` is the outcome when none came free.
    pub async fn begin(validator: &'a Validator, rules: &'a Rules) -> Result<Self, Outcome> {
        let servers = &rules.resolvers;
        let own = &validator.resolver;
        let resolver = if servers.is_empty() { own.clone() } else { own.asking(servers) };
        let timeouts = &validator.config.timeouts;
        match validator.limits.attempt(timeouts.queue).await {
            Some(place) => {
                let deadline = monotonic() + timeouts.total;
                Ok(Attempt { validator, rules, resolver, deadline, timeline: Vec::new(), _place: place })
            }
            None => {
                let busy = ValidationError::Busy;
                let step = Step { at: validator.clock.now(), what: StepKind::Result, detail: busy.detail() };
                Err(Outcome { result: Err(busy), timeline: vec![step] })
            }
        }
    }

    pub fn end(self, result: Result<(), ValidationError>) -> Outcome {
        self.end_saying(PROVED, result)
    }

    /// The same with other words for success.
    pub fn end_saying(mut self, good: &str, result: Result<(), ValidationError>) -> Outcome {
        let detail = result.as_ref().map_or_else(ValidationError::detail, |()| good.to_owned());
        self.note(StepKind::Result, detail);
        Outcome { result, timeline: self.timeline }
    }

    pub fn ports(&self) -> Ports {
        self.rules.ports(&self.validator.config)
    }

    pub fn note(&mut self, what: StepKind, detail: impl Into<String>) {
        if self.timeline.len() >= MAX_STEPS && what != StepKind::Result {
            return;
        }
        let detail = detail.into().chars().filter(|c| !is_deceptive(*c)).take(MAX_STEP).collect();
        self.timeline.push(Step { at: self.validator.clock.now(), what, detail });
    }

    /// `None` when the attempt's time is over first.
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout_at(self.deadline.into(), work).await.ok()
    }

    /// Resolves `host`, drops denied addresses, and dials the others in turn until one accepts.
    pub async fn connect(&mut self, host: &Host<String>, port: u16) -> Result<Connected, ValidationError> {
        let mut denied = None;
        let mut last = None;
        let mut tried = 0;
        for address in self.addresses(host).await? {
            let target = SocketAddr::new(address, port);
            if let Err(denial) = self.validator.guard.check(target).and_then(|()| self.rules.check(address)) {
                self.note(StepKind::Deny, format!("{}: {denial}", place(target)));
                denied.get_or_insert((target, denial));
                continue;
            }
            tried += 1;
            match self.dial(target).await? {
                Ok(connected) => return Ok(connected),
                Err(failure) => last = Some((target, failure)),
            }
        }
        let host = host.to_string();
        Err(match (last, denied) {
            (Some((target, failure)), _) => ValidationError::Dial { host, target, failure, tried },
            (None, Some((target, denial))) => ValidationError::Denied { host, target, denial },
            (None, None) => ValidationError::Dns { host, failure: DnsFailure::NoAddress },
        })
    }

    async fn addresses(&mut self, host: &Host<String>) -> Result<Vec<IpAddr>, ValidationError> {
        let name = match host {
            Host::Ipv4(address) => return Ok(vec![IpAddr::V4(*address)]),
            Host::Ipv6(address) => return Ok(vec![IpAddr::V6(*address)]),
            Host::Domain(name) => name.trim_end_matches('.'),
        };
        let answer = self.within(self.resolver.addresses(name)).await.unwrap_or(Err(DnsFailure::Timeout));
        match answer {
            Ok(found) => {
                let list: Vec<String> = found.addresses.iter().map(IpAddr::to_string).collect();
                self.note(StepKind::Resolve, format!("{} is {} ({})", shown(name), list.join(", "), found.source));
                Ok(found.addresses)
            }
            Err(failure) => {
                let asked = self.resolver.asked().await;
                self.note(StepKind::Resolve, format!("{}: {failure} ({asked})", shown(name)));
                Err(ValidationError::Dns { host: name.to_owned(), failure })
            }
        }
    }

    /// Is there such a name in DNS, with or without addresses?
    pub async fn exists(&mut self, place: &str) -> Result<bool, ValidationError> {
        let answer = self.within(self.resolver.addresses(place)).await.unwrap_or(Err(DnsFailure::Timeout));
        let asked = self.resolver.asked().await;
        let place = shown(place);
        match answer {
            Ok(_) | Err(DnsFailure::NoAddress) => {
                self.note(StepKind::Resolve, format!("{place} is a name in DNS ({asked})"));
                Ok(true)
            }
            Err(DnsFailure::NxDomain) => {
                self.note(StepKind::Resolve, format!("{place}: {} ({asked})", DnsFailure::NxDomain));
                Ok(false)
            }
            Err(failure) => Err(ValidationError::Dns { host: place, failure }),
        }
    }

    /// The outer error ends the attempt, the inner one lets the next address be tried.
    async fn dial(&mut self, target: SocketAddr) -> Result<Result<Connected, DialFailure>, ValidationError> {
        let timeouts = &self.validator.config.timeouts;
        let wait = self.remaining().min(timeouts.queue);
        let held = self.validator.limits.connection(target.ip(), wait).await.ok_or(ValidationError::Busy)?;
        let patience = self.remaining().min(timeouts.dial);
        let dialled = match tokio::time::timeout(patience, open(target)).await {
            Ok(Ok(stream)) => Ok(Connected { stream, target, place: held }),
            Ok(Err(error)) => Err(DialFailure::of(&error)),
            Err(_) => Err(DialFailure::Timeout),
        };
        let seen = dialled.as_ref().map_or_else(|failure| failure.words(), |_| "connected".to_owned());
        self.note(StepKind::Dial, format!("{}: {seen}", place(target)));
        Ok(dialled)
    }

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(monotonic())
    }
}

/// With a small receive buffer: a target that sends without end fills no memory of ours.
async fn open(target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.connect(target).await
}
