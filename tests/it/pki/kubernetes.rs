//! What Kubernetes reads into a certificate is refused where it would be wrong there, on the bytes that would be
//! signed: whatever a profile says.

use chancery::model::key::KeyAlgorithm::{P256, P384};
use chancery::pki::issuer::Ask;
use chancery::pki::profile::{CommonNameRule, ExtendedKeyUsage, Profile, ProfileConfig};

use super::ca::{Ca, ask, request, rule, shipped_profile};
use super::support::signer;
use chancery::pki::signer::Signer;

fn outcome(config: ProfileConfig, common_name: Option<&str>, names: &[&str]) -> String {
    let ca = Ca::new(P384, P256);
    let profile = Profile::new(config).unwrap();
    let key = signer(P256);
    let asked = Ask { common_name: common_name.map(str::to_owned), ..ask(names) };
    rule(ca.key.prepare(&profile, &request(key.public_key()), &asked).map(drop))
}

fn config(name: &str) -> ProfileConfig {
    shipped_profile(name).config().clone()
}

#[test]
fn the_group_above_rbac_is_for_breaking_glass_only() {
    let mut long = config("kube-super-admin");
    (long.lifetime.default, long.lifetime.max) = ("90d".into(), "90d".into());
    assert_eq!(outcome(long, None, &[]), "lint.kubernetes.system_masters");
    let mut server = config("kube-apiserver");
    server.subject.organization = vec!["system:masters".into()];
    server.lifetime.default = "1d".into();
    let names = ["kubernetes.default.svc", "10.96.0.1"];
    assert_eq!(outcome(server, None, &names), "lint.kubernetes.system_masters");
}

#[test]
fn nodes_are_named_as_the_kubelets_signers_want_them() {
    let node = || config("kubelet-client");
    let mut other = node();
    other.subject.organization = vec!["system:nodes".into(), "other".into()];
    let mut lone = node();
    lone.subject.organization = Vec::new();
    let mut user = node();
    user.subject.common_name = CommonNameRule::Fixed("alice".into());
    let mut both = config("kubelet-server");
    both.extended_key_usage = vec![ExtendedKeyUsage::ServerAuth, ExtendedKeyUsage::ClientAuth];
    let n1 = Some("system:node:n1");
    for (what, config, cn, names) in [
        ("two groups", other, n1, &[][..]),
        ("no group", lone, n1, &[]),
        ("no node", user, None, &[]),
        ("a name that is none", node(), Some("system:node:a b"), &[]),
        ("client and server", both, n1, &["n1"]),
    ] {
        assert_eq!(outcome(config, cn, names), "lint.kubernetes.node", "{what}");
    }
}

#[test]
fn an_api_server_has_the_name_and_the_address_of_its_service() {
    let names = ["kubernetes", "10.96.0.1"];
    assert_eq!(outcome(config("kube-apiserver"), None, &names), "lint.kubernetes.service_address");
    let mut nameless = config("kube-apiserver");
    nameless.names.required = vec!["dns".into()];
    let names = ["kubernetes.default.svc", "kubernetes"];
    assert_eq!(outcome(nameless, None, &names), "lint.kubernetes.service_address");
}
