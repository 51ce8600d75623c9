//! Which versions serve the database: during an upgrade several, afterwards one.

use super::{Check, Severity, check};
use crate::authority::Authority;
use crate::error::Result;
use crate::store::replica_clocks;

impl Authority {
    pub(super) async fn check_versions(&self) -> Result<Check> {
        let mut found = Vec::new();
        let versions = replica_clocks::versions(&self.store.db).await?;
        let listed = versions.iter().map(|(version, count)| match (version.as_str(), count) {
            ("", _) => "one before 0.36".to_owned(),
            (version, 1) => version.to_owned(),
            (version, count) => format!("{version} ({count} processes)"),
        });
        let listed = listed.collect::<Vec<_>>().join(", ");
        if versions.len() > 1 {
            let text = format!(
                "servers of different versions run on this database: {listed}; what only the newer one knows is not \
                 done by the others: replace them soon"
            );
            found.push((Severity::Warning, text));
        }
        let good = match versions.first() {
            Some((version, _)) if !version.is_empty() => format!("every server runs {version}"),
            Some(_) => "every server runs a version before 0.36".to_owned(),
            None => format!("no other server runs beside this {}", replica_clocks::VERSION),
        };
        Ok(check("versions", found, good))
    }
}
