//! What remains of the names that a CA permits below the CAs above it (RFC 5280 §6.1.4 (g)): an issuer that permits only
//! names which a CA above forbids could sign nothing. Excluded networks of one CA or of several are taken together; of
//! names of other forms there is no end, so that only one excluded subtree can take all of a permitted one.

use super::ca_certificate::CaCertificate;
use super::name_constraints::NameConstraints;
use super::path::IssuingPath;
use super::subtree::Subtree;
use crate::error::{Error, ErrorKind, Result};

impl IssuingPath {
    /// Whether each name that a new CA below this path is to permit has something left under every CA of the path.
    pub fn check_permits(&self, constraints: &NameConstraints) -> Result<()> {
        let named = constraints.permitted().iter().filter(|tree| !tree.is_closing());
        named.map(|tree| self.remains(constraints, tree)).try_for_each(|left| left.map(drop))
    }

    /// Whether the issuer of this path may sign any of the names that its certificate permits. Its CA chose them, so that
    /// some may be out of reach.
    pub fn check_own_permits(&self) -> Result<()> {
        let Some((own, above)) = self.cas().split_first() else { return Ok(()) };
        let Some(constraints) = own.constraints.as_ref().filter(|_| !own.is_root()) else { return Ok(()) };
        let above = IssuingPath::known(above.to_vec());
        let named = constraints.permitted().iter().filter(|tree| !tree.is_closing());
        let mut refused = None;
        for tree in named {
            match above.remains(constraints, tree) {
                Ok(_) => return Ok(()),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// The name constraints of the CAs that have any, nearest first.
    pub fn constraints(&self) -> Vec<NameConstraints> {
        self.cas().iter().filter_map(|ca| ca.constraints.clone()).collect()
    }

    /// The names that may stand below every CA of the path, of the forms that one of them restricts.
    pub fn permitted_names(&self) -> Vec<String> {
        let constraints: Vec<_> = self.cas().iter().filter_map(|ca| ca.constraints.as_ref()).collect();
        let mut names: Vec<String> = Vec::new();
        for (at, own) in constraints.iter().enumerate() {
            for tree in own.permitted().iter().filter(|tree| !tree.is_closing()) {
                let before = constraints.iter().take(at).flat_map(|nearer| nearer.permitted());
                if before.into_iter().any(|nearer| nearer.form() == tree.form()) {
                    continue;
                }
                let left = constraints.iter().fold(vec![tree.clone()], |left, ca| ca.narrow(&left));
                names.extend(left.iter().map(ToString::to_string).filter(|name| !name.is_empty()));
            }
        }
        names.dedup();
        names
    }

    fn remains(&self, own: &NameConstraints, tree: &Subtree) -> Result<Vec<Subtree>> {
        let mut excluded: Vec<&Subtree> = own.excluded().iter().collect();
        let mut left = own.without_excluded(vec![tree.clone()]);
        left.retain(|tree| !tree.is_covered_by(&excluded));
        if left.is_empty() {
            return Err(refuse(tree, "the same CA excludes it", None));
        }
        for ca in self.cas() {
            let Some(constraints) = &ca.constraints else { continue };
            left = constraints.narrow(&left);
            excluded.extend(constraints.excluded());
            left.retain(|tree| !tree.is_covered_by(&excluded));
            if left.is_empty() {
                return Err(refuse(tree, &format!("{} forbids every name in it", ca.described()), Some(ca)));
            }
        }
        Ok(left)
    }
}

fn refuse(tree: &Subtree, why: &str, ca: Option<&CaCertificate>) -> Error {
    let value = format!("a CA that permits {tree}");
    let permits: Vec<_> = ca
        .and_then(|ca| ca.constraints.as_ref())
        .map(|constraints| {
            let of_form = constraints.permitted().iter().filter(|own| own.form() == tree.form());
            of_form.map(ToString::to_string).collect()
        })
        .unwrap_or_default();
    let allowed = if permits.is_empty() { "names that no CA above forbids".to_owned() } else { permits.join(", ") };
    let fix = match permits.as_slice() {
        [] => "permit other names, or none".to_owned(),
        some => format!("permit names within {}, or none", some.join(", ")),
    };
    let sentence = format!("permitting {tree} would allow nothing: {why}; {fix}");
    Error::refused(ErrorKind::Unprocessable, "issuer.name_constraints", value, allowed, fix).saying(sentence)
}
