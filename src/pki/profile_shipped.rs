//! The profiles that ship (design/profiles.md), as data. One works as soon as its trust domain is there.

use super::profile_config::*;
use crate::model::key::KeyAlgorithm::{self, Ed25519, P256, P384, P521, Rsa};
use crate::model::names::NameRule;

pub fn shipped() -> Vec<ProfileConfig> {
    let mut all = tls();
    all.extend(kubernetes());
    all.extend(etcd());
    all.extend(signing());
    all
}

use CommonNameRule::{AsAsked, FirstDns, Fixed, Member, None as NoName, Prefixed};
use ExtendedKeyUsage::{ClientAuth, CodeSigning, EmailProtection, ServerAuth, TimeStamping};

const ANY_KEY: [KeyAlgorithm; 7] = [P256, P384, P521, Ed25519, Rsa(2048), Rsa(3072), Rsa(4096)];

fn tls() -> Vec<ProfileConfig> {
    vec![
        ProfileConfig {
            lifetime: LifetimeRule { acme_ip: Some("7d".into()), ..life("90d", "397d") },
            ..leaf("tls-server", "tls", "TLS servers: any name that is not reserved", FirstDns, &[ServerAuth])
                .names(&["dns", "ip"], 1, &["*"])
                .wildcards()
        },
        ProfileConfig {
            lifetime: life("30d", "397d"),
            ..leaf("tls-client", "mtls", "TLS clients", AsAsked, &[ClientAuth])
        }
        .names(&["dns", "email", "uri"], 0, &["*", "@*", "*:"]),
        ProfileConfig {
            lifetime: life("30d", "397d"),
            ..leaf("tls-peer", "mtls", "Servers that are clients too", FirstDns, &[ServerAuth, ClientAuth])
        }
        .names(&["dns", "ip", "uri"], 1, &["*", "*:"]),
    ]
}

fn kubernetes() -> Vec<ProfileConfig> {
    let client = |name: &str, cn: &str, organization: &str, default: &str, max: &str| {
        let description = format!("Kubernetes: client certificate of {cn}");
        let config = leaf(name, "kubernetes", &description, Fixed(cn.into()), &[ClientAuth]);
        ProfileConfig { lifetime: life(default, max), ..config }.organization(organization)
    };
    let node = || Prefixed("system:node:".into());
    vec![
        leaf("kube-apiserver", "kubernetes", "Kubernetes: API server", Fixed("kube-apiserver".into()), &[ServerAuth])
            .names(
                &["dns", "ip"],
                2,
                &[
                    "*",
                    "=kubernetes",
                    "kubernetes.default",
                    "svc",
                    "cluster.local",
                    "=localhost",
                    "127.0.0.0/8",
                    "::1",
                ],
            )
            .required(&["dns", "ip"]),
        ProfileConfig {
            description:
                "Kubernetes: client certificate of the API server towards kubelets; its user needs the ClusterRole \
                          system:kubelet-api-admin (`chancery quickstart kube-apiserver`)"
                    .into(),
            ..client("kube-apiserver-kubelet-client", "kube-apiserver-kubelet-client", "", "90d", "397d")
        },
        client("kube-admin", "kubernetes-admin", "kubeadm:cluster-admins", "7d", "90d"),
        client("kube-super-admin", "kubernetes-super-admin", "system:masters", "1d", "30d"),
        client("kube-controller-manager", "system:kube-controller-manager", "", "90d", "397d"),
        client("kube-scheduler", "system:kube-scheduler", "", "90d", "397d"),
        client("kube-proxy", "system:kube-proxy", "", "90d", "397d"),
        ProfileConfig {
            lifetime: life("30d", "397d"),
            ..leaf("kubelet-client", "kubernetes", "Kubernetes: kubelet as client", node(), &[ClientAuth])
        }
        .organization("system:nodes"),
        ProfileConfig {
            lifetime: life("30d", "397d"),
            ..leaf("kubelet-server", "kubernetes", "Kubernetes: kubelet as server", node(), &[ServerAuth])
        }
        .organization("system:nodes")
        .names(&["dns", "ip"], 1, &["*"]),
        leaf("kube-webhook", "kubernetes", "Kubernetes: webhooks of a service", NoName, &[ServerAuth]).names(
            &["dns"],
            1,
            &[".svc", ".svc.cluster.local"],
        ),
        leaf(
            "front-proxy-client",
            "front-proxy",
            "Kubernetes: front proxy",
            Fixed("front-proxy-client".into()),
            &[ClientAuth],
        ),
    ]
}

fn etcd() -> Vec<ProfileConfig> {
    let server = |name: &str, description: &str| {
        leaf(name, "etcd", description, Member, &[ServerAuth, ClientAuth]).names(
            &["dns", "ip"],
            1,
            &["*", "svc", "cluster.local", "=localhost", "127.0.0.0/8", "::1"],
        )
    };
    vec![
        server("etcd-server", "etcd: member towards clients"),
        server("etcd-peer", "etcd: member towards members"),
        leaf("etcd-client", "etcd", "etcd: a client, whose user name is the CN", AsAsked, &[ClientAuth]),
    ]
}

fn signing() -> Vec<ProfileConfig> {
    let code = leaf("code-signing", "code-signing", "Code signing with a full subject", AsAsked, &[CodeSigning]);
    let smime = leaf("smime", "smime", "S/MIME", AsAsked, &[EmailProtection]);
    vec![
        ProfileConfig {
            subject: SubjectRule {
                asked: vec![AskedField::Country, AskedField::State, AskedField::Organization],
                ..code.subject.clone()
            },
            lifetime: life("1y", "3y"),
            ..code
        }
        .names(&["email", "uri"], 0, &["@*", "*:"]),
        ProfileConfig {
            lifetime: life("10m", "10m"),
            no_revocation: true,
            ..leaf("keyless", "code-signing", "Code signing by identity", NoName, &[CodeSigning])
        }
        .names(&["email", "uri"], 1, &["@*", "*:"])
        .at_most(1),
        ProfileConfig {
            lifetime: life("1y", "3y"),
            critical_extended_key_usage: true,
            ..leaf("timestamping", "timestamping", "Time stamping (RFC 3161)", AsAsked, &[TimeStamping])
        },
        ProfileConfig {
            lifetime: life("1y", "2y"),
            key_usage: vec![KeyUsage::DigitalSignature, KeyUsage::NonRepudiation],
            ..smime
        }
        .names(&["email"], 1, &["@*"])
        .required(&["email"]),
    ]
}

/// A leaf without names: 90 d, every key, digitalSignature.
fn leaf(
    name: &str,
    domain: &str,
    description: &str,
    cn: CommonNameRule,
    usages: &[ExtendedKeyUsage],
) -> ProfileConfig {
    ProfileConfig {
        name: name.into(),
        description: description.into(),
        domain: domain.into(),
        subject: SubjectRule {
            common_name: cn,
            organization: Vec::new(),
            country: None,
            state: None,
            locality: None,
            organizational_unit: Vec::new(),
            asked: Vec::new(),
        },
        names: NamesRule {
            kinds: Vec::new(),
            required: Vec::new(),
            min: 0,
            max: 0,
            wildcards: false,
            allow: Vec::new(),
            deny: Vec::new(),
        },
        keys: ANY_KEY.to_vec(),
        lifetime: life("90d", "397d"),
        key_usage: vec![KeyUsage::DigitalSignature],
        key_encipherment_for_rsa: usages.contains(&ServerAuth),
        extended_key_usage: usages.to_vec(),
        critical_extended_key_usage: false,
        policies: Vec::new(),
        no_revocation: false,
    }
}

fn life(default: &str, max: &str) -> LifetimeRule {
    LifetimeRule {
        default: default.into(),
        max: max.into(),
        acme_ip: None,
        backdate: "60s".into(),
        acme_order: None,
        max_start_delay: None,
    }
}

impl ProfileConfig {
    fn names(mut self, kinds: &[&str], min: usize, allow: &[&str]) -> Self {
        self.names.kinds = kinds.iter().map(|k| (*k).to_owned()).collect();
        (self.names.min, self.names.max) = (min, 100);
        // these are constants: a test parses every one of them
        self.names.allow = allow.iter().filter_map(|rule| NameRule::parse(rule).ok()).collect();
        self
    }

    fn required(mut self, kinds: &[&str]) -> Self {
        self.names.required = kinds.iter().map(|k| (*k).to_owned()).collect();
        self
    }

    fn at_most(mut self, max: usize) -> Self {
        self.names.max = max;
        self
    }

    fn wildcards(mut self) -> Self {
        self.names.wildcards = true;
        self
    }

    fn organization(mut self, organization: &str) -> Self {
        self.subject.organization = Some(organization.to_owned()).into_iter().filter(|o| !o.is_empty()).collect();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::profile::Profile;
    use super::*;

    #[test]
    fn every_shipped_profile_passes_its_checks_and_survives_json() {
        let all = shipped();
        assert_eq!(all.len(), 21);
        for config in all {
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<ProfileConfig>(&json).unwrap(), config);
            Profile::new(config).unwrap();
        }
    }

    #[test]
    fn every_rule_of_a_shipped_profile_parses() {
        let rules: Vec<usize> = shipped().iter().map(|c| c.names.allow.len()).collect();
        // in the order of `shipped`: a rule that did not parse would be missing
        assert_eq!(rules, [1, 3, 2, 8, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 6, 6, 0, 2, 2, 0, 1]);
    }

    #[test]
    fn contradictions_are_refused() {
        let base = || shipped().remove(0);
        let change = |edit: fn(&mut ProfileConfig)| {
            let mut config = base();
            edit(&mut config);
            Profile::new(config).err().and_then(|e| e.rule).map(|r| r.name)
        };
        type Edit = fn(&mut ProfileConfig);
        let cases: [(Edit, &str); 22] = [
            (|c| c.name = "TLS".into(), "profile.name"),
            (|c| c.domain.clear(), "profile.domain"),
            (|c| c.lifetime.default = "400d".into(), "profile.lifetime.default"),
            (|c| c.lifetime.acme_ip = Some("398d".into()), "profile.lifetime.acme_ip"),
            (|c| c.lifetime.max = "10y".into(), "profile.lifetime.max"),
            (|c| c.lifetime.backdate = "2d".into(), "profile.lifetime.backdate"),
            (|c| c.no_revocation = true, "profile.no_revocation"),
            (|c| c.extended_key_usage.clear(), "profile.extended_key_usage"),
            (|c| c.extended_key_usage.push(ServerAuth), "profile.extended_key_usage"),
            (|c| c.extended_key_usage.push(TimeStamping), "profile.extended_key_usage"),
            (|c| c.extended_key_usage.push(CodeSigning), "profile.extended_key_usage"),
            (|c| c.extended_key_usage.push(EmailProtection), "profile.extended_key_usage"),
            (|c| c.extended_key_usage.push(ExtendedKeyUsage::OcspSigning), "profile.extended_key_usage"),
            (|c| c.keys.clear(), "profile.keys"),
            (|c| c.key_usage.push(KeyUsage::KeyEncipherment), "profile.key_usage"),
            (|c| c.names.min = 0, "profile.names.min"),
            (|c| c.names.max = 101, "profile.names.max"),
            (|c| c.names.allow.clear(), "profile.names.allow"),
            (|c| c.names.kinds = vec!["upn".into()], "profile.names.kinds"),
            (|c| c.names.required = vec!["uri".into()], "profile.names.required"),
            (|c| c.names.kinds = vec!["ip".into()], "profile.names.wildcards"),
            (|c| c.subject.organization = vec!["x".repeat(65)], "profile.subject"),
        ];
        for (i, (edit, rule)) in cases.into_iter().enumerate() {
            assert_eq!(change(edit).as_deref(), Some(rule), "case {i}");
        }
    }
}
