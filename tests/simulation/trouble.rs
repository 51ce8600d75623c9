//! What goes wrong in a step of the week, drawn by the seed.

use chancery::store::faults::{Outage, StatementFault, Statements};

use crate::dice::Dice;

/// A statement or commit of the next so many is hit.
const REACH: usize = 120;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// Statements and commits fail, or lose their answers.
    Statements,
    /// The server is killed at some statement or commit.
    Kill,
    /// Clients are gone before they are answered.
    Clients,
    DiskFull,
    /// The server's clock is set, by seconds, and set right again.
    Clock(i64),
    Restart,
    Backup,
    /// An older database comes back.
    Restore,
}

impl Trouble {
    pub fn drawn(dice: &mut Dice, has_backup: bool) -> Trouble {
        match dice.below(100) {
            0..30 => Trouble::None,
            30..50 => Trouble::Statements,
            50..68 => Trouble::Kill,
            68..78 => Trouble::Clients,
            78..83 => Trouble::DiskFull,
            83..88 => Trouble::Clock(wrong(dice)),
            88..91 => Trouble::Restart,
            91..95 => Trouble::Backup,
            _ if has_backup => Trouble::Restore,
            _ => Trouble::Restart,
        }
    }

    /// What a server that lives meets from now on.
    pub fn plan(self, dice: &mut Dice, faults: &Statements) {
        match self {
            Trouble::Statements => {
                for _ in 0..=dice.below(3) {
                    let outage = if dice.below(3) == 0 { Outage::Silent } else { Outage::Broken };
                    let lost = dice.below(2) == 0;
                    let fault =
                        if lost { StatementFault::LosesAnswer(outage) } else { StatementFault::Fails(outage) };
                    faults.plan(dice.below(REACH) as u64, fault);
                }
            }
            Trouble::Kill => {
                let fault = if dice.below(2) == 0 { StatementFault::DiesBefore } else { StatementFault::DiesAfter };
                faults.plan(dice.below(REACH) as u64, fault);
            }
            Trouble::DiskFull => faults.fill_disk(true),
            _ => {}
        }
    }
}

/// Further than any clock may be wrong: behind, or so far ahead that no machine that stood still explains it.
fn wrong(dice: &mut Dice) -> i64 {
    const DAY: i64 = 86_400;
    let some = i64::try_from(dice.below(500)).unwrap_or(0);
    if dice.below(2) == 0 { -60 - some * 600 } else { 2 * DAY + some * DAY }
}
