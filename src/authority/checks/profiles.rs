//! Do profiles of an earlier version give what shipped ones do not give any more?

use super::{Check, Severity, check};
use crate::authority::Authority;

/// Makes whoever has the certificate an administrator of the cluster. kubeadm dropped it in 1.36.1.
const DROPPED: [&str; 2] = ["kubeadm:cluster-admins", "system:masters"];
const OF_API_SERVERS: &str = "kube-apiserver-kubelet-client";

impl Authority {
    pub(super) fn check_profiles(&self) -> Check {
        let snapshot = self.snapshot();
        let mut found = Vec::new();
        let given = snapshot.profiles.get(OF_API_SERVERS).map(|loaded| &loaded.config.subject.organization);
        if let Some(group) = given.into_iter().flatten().find(|group| DROPPED.contains(&group.as_str())) {
            let text = format!(
                "profile {OF_API_SERVERS} puts O={group} into certificates, so the key with which an API server reaches kubelets \
                 administers the whole cluster; give its user what it needs with the output of `chancery quickstart \
                 kube-apiserver`, then take the organization out with `chancery profile edit {OF_API_SERVERS}` and renew its \
                 certificates"
            );
            found.push((Severity::Warning, text));
        }
        check("profiles", found, format!("{} profiles", snapshot.profiles.len()))
    }
}
