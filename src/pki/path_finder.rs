//! Ways from a CA certificate up to a root among the certificates that are known (RFC 4158): every one of them within
//! a bound, because the first that is found may be expired or forbid what another permits.

use super::algorithm::VerifyError;
use super::ca_certificate::CaCertificate;
use super::path::IssuingPath;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// A hierarchy has a few levels.
const LONGEST: usize = 8;

/// Roots and cross-certificates multiply: this many ways are enough to choose from.
const MOST: usize = 64;

/// Signatures that one search verifies at most.
const WORK: usize = 2_048;

/// What a search found.
#[derive(Debug, Default)]
pub struct FoundPaths {
    /// From the certificate itself to a root.
    pub complete: Vec<Vec<CaCertificate>>,
    /// Those that end below a certificate that is not known, with the reason.
    pub open: Vec<(Vec<CaCertificate>, Error)>,
}

/// Searches depth first; certificates that are valid at `now` come first.
pub fn find(lowest: &CaCertificate, pool: &[CaCertificate], now: Timestamp) -> FoundPaths {
    let mut pool: Vec<_> = pool.iter().collect();
    pool.sort_by_key(|ca| std::cmp::Reverse((ca.validity.contains(now), ca.validity.not_after())));
    pool.dedup_by(|a, b| a.der == b.der);
    let mut search = Search { pool, found: FoundPaths::default(), work: WORK };
    search.climb(vec![lowest]);
    search.found
}

/// The best way up at `now`: the one that is valid for the longest. Refuses with the reason of the most promising one
/// when none is valid.
pub fn best(lowest: &CaCertificate, pool: &[CaCertificate], now: Timestamp) -> Result<IssuingPath> {
    let found = find(lowest, pool, now);
    let mut refused = None;
    let mut good: Option<IssuingPath> = None;
    let end = |path: &IssuingPath| path.validity().map(|v| v.not_after());
    for way in found.complete {
        let judged = IssuingPath::new(way).and_then(|path| path.check(now).map(|()| path));
        match judged {
            Ok(path) if good.as_ref().is_none_or(|other| end(other) < end(&path)) => good = Some(path),
            Ok(_) => {}
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    let open = found.open.into_iter().next().map(|(_, error)| error);
    good.ok_or_else(|| refused.or(open).unwrap_or_else(too_long))
}

struct Search<'a> {
    pool: Vec<&'a CaCertificate>,
    found: FoundPaths,
    work: usize,
}

impl<'a> Search<'a> {
    fn climb(&mut self, path: Vec<&'a CaCertificate>) {
        let Some(last) = path.last().copied().filter(|_| path.len() <= LONGEST) else { return };
        let whole = || path.iter().map(|ca| (*ca).clone()).collect::<Vec<_>>();
        if last.is_root() {
            self.found.complete.push(whole());
            return;
        }
        let above = match self.above(last) {
            Ok(above) => above,
            Err(gap) if self.found.open.len() < MOST => return self.found.open.push((whole(), gap)),
            Err(_) => return,
        };
        for next in above {
            // the same name and key twice is a loop
            let is_loop = path.iter().any(|ca| ca.subject == next.subject && ca.spki == next.spki);
            if !is_loop && self.found.complete.len() < MOST {
                self.climb(path.iter().copied().chain([next]).collect());
            }
        }
    }

    /// The certificates whose key signed this one.
    fn above(&mut self, below: &CaCertificate) -> Result<Vec<&'a CaCertificate>> {
        let (mut above, mut weak) = (Vec::new(), None);
        for candidate in self.pool.clone().into_iter().filter(|above| above.subject == below.issuer) {
            if self.work == 0 {
                break;
            }
            self.work -= 1;
            match below.signed_by(&candidate.spki) {
                Ok(()) => above.push(candidate),
                Err(VerifyError::Weak(hash)) => weak = Some(hash),
                Err(_) => {}
            }
        }
        // a key identifier that another certificate of that name has does not rule one out, but verifiers skip it
        if above.iter().any(|above| above.fits_above(below)) {
            above.retain(|above| above.fits_above(below));
        }
        if above.is_empty() { Err(gap(below, weak.as_ref().map(ToString::to_string))) } else { Ok(above) }
    }
}

fn gap(below: &CaCertificate, weak: Option<String>) -> Error {
    if let Some(hash) = weak {
        let value = format!("{}, signed with {hash}", below.name());
        let wrong = format!("{} is signed with {hash}; SHA-256 or better is needed", below.name());
        return refuse("issuer.signature", &value, "SHA-256 or better", &wrong, "have it signed again");
    }
    let value = format!("{}, whose issuer {} is not given", below.name(), below.issuer_name());
    let wrong = format!("the certificate of {}, which signed {}, is not given", below.issuer_name(), below.name());
    let fix = "give the certificates above it, up to its root, with --chain FILE";
    refuse("issuer.chain", &value, "the certificates above it, up to its root", &wrong, fix)
}

fn too_long() -> Error {
    let allowed = format!("a path of at most {LONGEST} certificates up to a root");
    refuse(
        "issuer.chain",
        "a CA without a way up to a root",
        &allowed,
        &format!("no path of at most {LONGEST} certificates leads from this CA up to a root"),
        "give the certificates above it with --chain FILE",
    )
}

fn refuse(rule: &str, value: &str, allowed: &str, wrong: &str, fix: &str) -> Error {
    Error::refused(ErrorKind::Unprocessable, rule, value, allowed, fix).explained(wrong)
}
