//! The reference time of an installation: the median of the database's clock and of the replicas' clocks. Clocks are
//! compared as offsets from the database's clock in microseconds, so the database itself has the offset 0.

use std::time::Duration;

/// A clock that differs by more from the reference time is wrong: leases, nonces and thisUpdate tolerate this much.
pub const TOLERANCE: Duration = Duration::from_secs(30);
const TOLERANCE_MICROS: u64 = 30_000_000;

/// Are the two offsets the same time?
pub const fn agree(a: i64, b: i64) -> bool {
    a.abs_diff(b) <= TOLERANCE_MICROS
}

/// Everything that one replica knows about clocks at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClockVotes<'v> {
    pub own: i64,
    /// The other replicas that run now.
    pub peers: &'v [i64],
    /// The reference time of the last measurement, continued on the monotonic clock.
    pub history: Option<i64>,
    /// The newest time that the installation recorded.
    pub mark: Option<i64>,
    /// The kernel reports that this machine's clock is synchronized.
    pub synchronized: bool,
}

/// The outcome of one vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReferenceOffset {
    /// The reference time minus the database's clock.
    pub offset: i64,
    /// The clocks themselves have a majority: no older knowledge decided.
    pub majority: bool,
}

impl ClockVotes<'_> {
    pub fn decide(&self) -> ReferenceOffset {
        let mut all = [self.peers, &[self.own, 0]].concat();
        all.sort_unstable();
        let middle = all.len() / 2;
        let (low, high) = (all[if all.len().is_multiple_of(2) { middle - 1 } else { middle }], all[middle]);
        if agree(low, high) {
            return ReferenceOffset { offset: low + (high - low) / 2, majority: true };
        }
        ReferenceOffset { offset: self.break_tie(low, high), majority: false }
    }

    /// Half of the clocks against the other half, at worst this one against the database's: a clock that did not jump
    /// is right, then one that is not behind what was recorded, then a synchronized one, then the one that needs the
    /// smaller leap since the newest recorded time, which a server writes every minute. Before the first record it is the
    /// database's, which all replicas share.
    fn break_tie(&self, low: i64, high: i64) -> i64 {
        if let Some(history) = self.history
            && let Some(steady) = [low, high].into_iter().find(|offset| agree(*offset, history))
        {
            return steady;
        }
        if self.mark.is_some_and(|mark| low < mark && !agree(low, mark)) {
            return high;
        }
        let nearer = |to: i64| if low.abs_diff(to) <= high.abs_diff(to) { low } else { high };
        match (self.synchronized, self.mark) {
            (true, _) => nearer(self.own),
            (false, Some(mark)) => nearer(mark),
            (false, None) => nearer(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const DAY: i64 = 86_400 * SECOND;

    fn offset(votes: ClockVotes<'_>) -> i64 {
        votes.decide().offset
    }

    #[test]
    fn one_wrong_clock_of_three_is_outvoted() {
        for wrong in [400 * DAY, 120 * SECOND, -120 * SECOND, -DAY] {
            let seen_by_itself = ClockVotes { own: wrong, peers: &[0], ..ClockVotes::default() };
            let seen_by_its_peer = ClockVotes { own: 0, peers: &[wrong], ..ClockVotes::default() };
            assert_eq!((offset(seen_by_itself), offset(seen_by_its_peer)), (0, 0), "{wrong}");
            // the database's clock is the wrong one
            let both = ClockVotes { own: -wrong, peers: &[-wrong], ..ClockVotes::default() };
            assert_eq!(both.decide(), ReferenceOffset { offset: -wrong, majority: true });
        }
    }

    #[test]
    fn a_tie_goes_to_the_clock_that_did_not_jump() {
        let own_jumped = ClockVotes { own: DAY, history: Some(SECOND), ..ClockVotes::default() };
        assert_eq!(own_jumped.decide(), ReferenceOffset { offset: 0, majority: false });
        let database_jumped = ClockVotes { own: DAY, history: Some(DAY - SECOND), ..ClockVotes::default() };
        assert_eq!(offset(database_jumped), DAY);
        let two_against_two = ClockVotes { own: DAY, peers: &[DAY, 0], history: Some(0), ..ClockVotes::default() };
        assert_eq!(offset(two_against_two), 0);
    }

    #[test]
    fn a_tie_without_history_goes_to_the_record_then_to_a_synchronized_clock_then_to_the_smaller_leap() {
        let first = ClockVotes { own: DAY, ..ClockVotes::default() };
        assert_eq!(offset(first), 0);
        assert_eq!(offset(ClockVotes { synchronized: true, ..first }), DAY);
        // the database is a day behind what was recorded
        assert_eq!(offset(ClockVotes { mark: Some(DAY - SECOND), ..first }), DAY);
        // this machine is
        let behind = ClockVotes { own: -DAY, mark: Some(-SECOND), synchronized: true, ..ClockVotes::default() };
        assert_eq!(offset(behind), 0);
        // a start after a pause of a minute: the database leapt forward, or this machine did
        let leapt = ClockVotes { own: -DAY, mark: Some(-DAY - 60 * SECOND), ..ClockVotes::default() };
        assert_eq!(offset(leapt), -DAY);
        assert_eq!(offset(ClockVotes { own: DAY, mark: Some(-60 * SECOND), ..ClockVotes::default() }), 0);
        assert_eq!(offset(ClockVotes { own: DAY, mark: Some(0), synchronized: true, ..ClockVotes::default() }), DAY);
    }

    #[test]
    fn small_differences_are_no_tie() {
        let near = ClockVotes { own: 20 * SECOND, ..ClockVotes::default() };
        assert_eq!(near.decide(), ReferenceOffset { offset: 10 * SECOND, majority: true });
    }
}
