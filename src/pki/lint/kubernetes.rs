//! Names that Kubernetes gives a meaning (kubernetes.io/docs/reference/access-authn-authz): the group that stands
//! above RBAC, nodes as the kubelet's signers want them, and the address of the API server's service.

use super::{Checked, Findings, Kind, Outcome};
use crate::clock::days;
use crate::model::identifier::{DnsName, Identifier};
use crate::pki::name::DistinguishedName;
use crate::pki::oids;

const MASTERS: &str = "system:masters";
const NODES: &str = "system:nodes";
const NODE: &str = "system:node:";
/// Inside a cluster every client dials this name.
const SERVICE: &str = "kubernetes.default.svc";

pub(super) fn check(checked: &Checked<'_>, findings: &mut Findings) -> Outcome {
    if checked.kind != Kind::Leaf {
        return Ok(());
    }
    let subject = DistinguishedName::from_der(checked.view.subject)?;
    let groups = subject.texts(&oids::ORGANIZATION)?;
    let users = subject.texts(&oids::COMMON_NAME)?;
    let names = checked.view.names()?;
    let usages = checked.view.extended_key_usage()?;
    let server = usages.contains(&oids::EKU_SERVER_AUTH);
    let client = usages.contains(&oids::EKU_CLIENT_AUTH);
    if groups.iter().any(|group| group == MASTERS) {
        masters(checked, server, &names, findings);
    }
    if groups.iter().any(|group| group == NODES) || users.iter().any(|user| user.starts_with(NODE)) {
        node(&users, &groups, (server, client), &names, findings);
    }
    if server && users.iter().any(|user| user == "kube-apiserver") {
        let service = names.iter().any(|name| name.value() == SERVICE);
        let address = names.iter().any(|name| matches!(name, Identifier::Ip(_)));
        let cites = "kubernetes.io PKI certificates and requirements";
        let rule = "kubernetes.service_address";
        findings.require(service, rule, cites, format!("an API server without the name {SERVICE}"));
        findings.require(address, rule, cites, "an API server without the address of its service");
    }
    Ok(())
}

/// No RBAC rule bounds it and no revocation is read by the API server: what it is for is breaking glass.
fn masters(checked: &Checked<'_>, server: bool, names: &[Identifier], findings: &mut Findings) {
    let (rule, cites) = ("kubernetes.system_masters", "kubernetes.io RBAC good practices");
    let life = checked.view.validity.not_after().since(checked.view.validity.not_before());
    findings.require(life <= days(31), rule, cites, "O=system:masters for longer than 31 days");
    findings.require(!server && names.is_empty(), rule, cites, "O=system:masters in a certificate of a server");
}

/// As kube-apiserver-client-kubelet and kubelet-serving take them.
fn node(
    users: &[String],
    groups: &[String],
    (server, client): (bool, bool),
    names: &[Identifier],
    findings: &mut Findings,
) {
    let (rule, cites) = ("kubernetes.node", "kubernetes.io certificate signers");
    let named = |user: &String| user.strip_prefix(NODE).is_some_and(|node| DnsName::parse(node).is_ok());
    let user = users.len() == 1 && users.iter().all(named);
    findings.require(user, rule, cites, "O=system:nodes without CN=system:node:NAME");
    findings.require(groups == [NODES], rule, cites, "CN=system:node:NAME without O=system:nodes alone");
    findings.require(server != client, rule, cites, "a kubelet is either client or server");
    let hosts = names.iter().all(|name| matches!(name, Identifier::Dns(_) | Identifier::Ip(_)));
    findings.require(!client || names.is_empty(), rule, cites, "a kubelet as client has no names beside its subject");
    findings.require(
        !server || (hosts && !names.is_empty()),
        rule,
        cites,
        "a kubelet as server has DNS names or addresses",
    );
}
