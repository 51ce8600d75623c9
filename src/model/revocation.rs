//! What a revocation says, and when a later one says more: a reason can be raised to a compromise of the key, and a hold
//! to any final reason. The date of the first revocation stays (RFC 5280 §5.3.1, §5.3.2).

use super::certificate::CertificateStatus;
use super::reason::RevocationReason;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// What somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewRevocation {
    pub reason: RevocationReason,
    /// When the key is known or suspected to have been compromised, in whole seconds.
    pub invalidity_date: Option<Timestamp>,
}

impl From<RevocationReason> for NewRevocation {
    fn from(reason: RevocationReason) -> Self {
        NewRevocation { reason, invalidity_date: None }
    }
}

impl NewRevocation {
    pub fn new(reason: RevocationReason, invalidity_date: Option<Timestamp>) -> Self {
        NewRevocation { reason, invalidity_date: invalidity_date.map(Timestamp::truncated) }
    }

    /// Does this say more than what a certificate is revoked for? It does when it reports a compromise of the key, when
    /// it ends a hold for good, and when it brings a first or an earlier date for a compromise.
    pub fn raises(&self, status: &CertificateStatus) -> bool {
        let CertificateStatus::Revoked { reason, invalidity_date, .. } = status else { return false };
        if self.reason == *reason {
            let earlier = |new: Timestamp| invalidity_date.is_none_or(|known| new < known);
            return reason.blocks_key() && self.invalidity_date.is_some_and(earlier);
        }
        let ends_hold = *reason == RevocationReason::CertificateHold;
        ends_hold || (self.reason.blocks_key() && !reason.blocks_key())
    }

    /// The invalidity date lies neither in the future nor after the revocation (RFC 5280 §5.3.2). `revoked_at` is the date
    /// of the revocation, which is `now` for a first one.
    pub fn check_date(&self, revoked_at: Timestamp, now: Timestamp) -> Result<()> {
        let Some(date) = self.invalidity_date else { return Ok(()) };
        let refuse = |sentence: String, allowed: String| {
            let fix =
                "name the time of the compromise with --invalidity-date or \"invalidity_date\", or leave it out";
            let refused = Error::refused(ErrorKind::Unprocessable, "revocation.invalidity_date", date, allowed, fix);
            Err(refused.saying(sentence))
        };
        if self.reason == RevocationReason::CertificateHold {
            let sentence = "a hold has no invalidity date, because it may be lifted; leave the date out, or give a final \
                            reason such as keyCompromise";
            return refuse(sentence.into(), "no date".into());
        }
        if date > now {
            let sentence = format!(
                "the invalidity date {date} lies in the future, and it is {}; give the time since when the key is known \
                 or suspected to be compromised, or leave it out",
                now.truncated()
            );
            return refuse(sentence, format!("a time up to {}", now.truncated()));
        }
        if date > revoked_at {
            let sentence = format!(
                "the invalidity date {date} lies after the revocation of {}, from which on the certificate is not trusted \
                 anyway; give an earlier time, or leave it out",
                revoked_at.truncated()
            );
            return refuse(sentence, format!("a time up to {}", revoked_at.truncated()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RevocationReason::{CaCompromise, CertificateHold, KeyCompromise, Superseded, Unspecified};

    fn revoked(reason: RevocationReason, date: Option<i64>) -> CertificateStatus {
        let invalidity_date = date.map(Timestamp::from_secs);
        CertificateStatus::Revoked { at: Timestamp::from_secs(1_000), reason, invalidity_date }
    }

    #[test]
    fn a_compromise_is_raised_and_a_hold_becomes_final() {
        let raises = |new: RevocationReason, old| NewRevocation::from(new).raises(&revoked(old, None));
        for old in RevocationReason::ALL {
            let compromise = matches!(old, KeyCompromise | CaCompromise);
            assert_eq!(raises(KeyCompromise, old), !compromise, "{}", old.name());
            assert_eq!(raises(Superseded, old), old == CertificateHold, "{}", old.name());
            assert!(!raises(CertificateHold, old) && !raises(old, old), "{}", old.name());
        }
        assert!(raises(Unspecified, CertificateHold) && !raises(CaCompromise, KeyCompromise));
        assert!(!NewRevocation::from(KeyCompromise).raises(&CertificateStatus::Valid));
    }

    #[test]
    fn a_first_or_an_earlier_date_of_a_compromise_says_more() {
        let raises = |reason, date: i64, old| {
            NewRevocation::new(reason, Some(Timestamp::from_secs(date))).raises(&revoked(reason, old))
        };
        assert!(raises(KeyCompromise, 500, None) && raises(KeyCompromise, 500, Some(501)));
        assert!(!raises(KeyCompromise, 500, Some(500)) && !raises(KeyCompromise, 501, Some(500)));
        assert!(!raises(Superseded, 500, None));
    }

    #[test]
    fn a_date_lies_before_the_revocation_and_never_in_the_future() {
        let check = |reason, date: i64, revoked: i64, now: i64| {
            let wanted = NewRevocation::new(reason, Some(Timestamp::from_secs(date)));
            wanted.check_date(Timestamp::from_secs(revoked), Timestamp::from_secs(now)).is_ok()
        };
        assert!(check(KeyCompromise, -5, 1_000, 2_000) && check(KeyCompromise, 1_000, 1_000, 2_000));
        assert!(!check(KeyCompromise, 1_001, 1_000, 2_000) && !check(KeyCompromise, 2_001, 2_000, 2_000));
        assert!(!check(CertificateHold, 5, 1_000, 2_000));
    }
}
