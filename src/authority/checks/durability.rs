//! `doctor`: what the database server's settings cost when its machine crashes or a standby takes over.

use super::{Authority, Check, Severity, check};
use crate::error::Result;
use crate::store::durability::{self, Durability};

impl Authority {
    pub(super) async fn check_durability(&self) -> Result<Check> {
        let found = problems(&durability::read(&self.store).await?);
        Ok(check("durability", found, "commits are on the disk before they are answered".to_owned()))
    }
}

fn problems(durability: &Durability) -> Vec<(Severity, String)> {
    let mut found = Vec::new();
    if !durability.fsync {
        let text = "the database server runs with fsync=off: a crash of its machine loses certificates and revocations; set fsync = on there";
        found.push((Severity::Warning, text.to_owned()));
    }
    if !durability.full_page_writes {
        let text = "the database server runs with full_page_writes=off: a crash of its machine can destroy pages unless its file system writes them whole; set full_page_writes = on there";
        found.push((Severity::Warning, text.to_owned()));
    }
    if durability.failover_loses_commits() {
        let text = "the database has a standby and no synchronous_standby_names: a failover loses the newest certificates and revocations; name the standbys there";
        found.push((Severity::Warning, text.to_owned()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_that_loses_commits_is_a_warning() {
        let sound = Durability { fsync: true, full_page_writes: true, standbys: 0, standby_names: String::new() };
        assert!(problems(&sound).is_empty());
        let lossy = [
            (Durability { fsync: false, ..sound.clone() }, "fsync=off"),
            (Durability { full_page_writes: false, ..sound.clone() }, "full_page_writes=off"),
            (Durability { standbys: 1, ..sound.clone() }, "no synchronous_standby_names"),
        ];
        for (durability, word) in lossy {
            let found = problems(&durability);
            assert!(matches!(&found[..], [(Severity::Warning, text)] if text.contains(word)), "{found:?}");
        }
        let waits = Durability { standbys: 1, standby_names: "ANY 1 (a, b)".to_owned(), ..sound };
        assert!(problems(&waits).is_empty());
    }
}
