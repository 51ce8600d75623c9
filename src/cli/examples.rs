//! The examples at the end of every help page. `tests/clients/help.py` types each of them, in an order in which it works.

use clap::Command;

use super::formats;

/// The commands that a page shows, by the words of the page without `chancery`. `…` stands for the rest of an id or
/// fingerprint.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("", &["chancery serve", "chancery issue web.lab.example", "chancery doctor"]),
    (
        "serve",
        &[
            "chancery serve",
            "chancery serve --external-url https://ca.lab.example:8443 --status-url http://ca.lab.example:8080",
            "chancery serve --listen 127.0.0.1:8443 --locked",
        ],
    ),
    (
        "init",
        &[
            "chancery init --external-url https://ca.lab.example:8443 --status-url http://ca.lab.example:8080",
            "chancery init --data /srv/second-ca",
        ],
    ),
    ("migrate", &["chancery migrate --check", "chancery migrate --run"]),
    ("clock", &["chancery clock show"]),
    ("clock show", &["chancery clock show"]),
    ("clock trust", &["chancery clock trust"]),
    ("setup-link", &["chancery setup-link"]),
    (
        "issue",
        &[
            "chancery issue web.lab.example",
            "chancery issue db.lab.example 10.0.0.5 --ttl 7d --out /etc/ssl",
            "chancery issue '*.apps.lab.example' --key P-384 --dry-run",
            "chancery issue iis.lab.example --pkcs12 --legacy --password-file p12.password",
        ],
    ),
    ("sign", &["chancery sign web.csr -o pem > web.pem", "cat web.csr | chancery sign - --ttl 30d --dry-run"]),
    (
        "renew",
        &[
            "chancery renew web.lab.example.crt",
            "chancery renew web.lab.example.crt --force --reuse-key",
            "chancery renew web.lab.example.crt --force --pkcs12 --password-file p12.password",
        ],
    ),
    (
        "revoke",
        &[
            "chancery revoke web.lab.example.crt --reason superseded",
            "chancery revoke db.lab.example.crt --reason certificateHold",
            "chancery revoke db.lab.example.crt --lift",
            "chancery revoke crt_… --reason keyCompromise",
        ],
    ),
    (
        "inspect",
        &[
            "chancery inspect web.lab.example.crt",
            "chancery inspect web.csr --long",
            "chancery inspect ca.lab.example:8443",
            "chancery inspect web.lab.example.p12 --password-file p12.password",
        ],
    ),
    (
        "verify",
        &["chancery verify web.lab.example.crt --host web.lab.example", "chancery verify ca.lab.example:8443"],
    ),
    (
        "find",
        &[
            "chancery find '*.lab.example'",
            "chancery find --status revoked --limit 20",
            "chancery find --issuer tls-1 --all -o jsonl",
        ],
    ),
    ("ca", &["chancery ca list", "chancery ca create etcd"]),
    ("ca list", &["chancery ca list"]),
    ("ca show", &["chancery ca show tls-1", "chancery ca show tls-root"]),
    (
        "ca create",
        &[
            "chancery ca create etcd",
            "chancery ca create tls --under tls-root",
            "chancery ca create partner --permit partner.example --years 2",
            "chancery ca create etcd --new-root",
        ],
    ),
    (
        "ca import",
        &[
            "chancery ca import old-ca.pem --key old-ca.key --domain old",
            "chancery ca import old-ca.p12 --password-file old-ca.password --domain older",
        ],
    ),
    (
        "ca import-certificates",
        &[
            "chancery ca import-certificates /etc/easy-rsa/pki --dry-run",
            "chancery ca import-certificates issued/*.crt --index index.txt",
        ],
    ),
    (
        "ca csr",
        &[
            "chancery ca csr corp --common-name 'Lab Issuing CA' --out corp.csr",
            "chancery ca csr --issuer tls-1 --out tls-1.csr",
        ],
    ),
    ("ca install", &["chancery ca install corp.pem --chain corporate-root.pem"]),
    ("ca root", &["chancery ca root offline etcd-root --out etcd-root.key"]),
    ("ca root offline", &["chancery ca root offline etcd-root --out etcd-root.key"]),
    ("ca root online", &["chancery ca root online etcd-root.key"]),
    ("ca anchor", &["chancery ca anchor list"]),
    ("ca anchor add", &["chancery ca anchor add tls partner-root.pem"]),
    ("ca anchor list", &["chancery ca anchor list"]),
    ("ca anchor remove", &["chancery ca anchor remove tls partner-root.pem --yes"]),
    ("ca crl", &["chancery ca crl sign etcd-root"]),
    ("ca crl sign", &["chancery ca crl sign etcd-root"]),
    ("ca crl import", &["chancery ca crl import corporate-root.crl"]),
    ("ca renew", &["chancery ca renew tls-1", "chancery ca renew tls-1 --years 2"]),
    ("ca ocsp", &["chancery ca ocsp tls-1 --sign-by issuer"]),
    (
        "ca set",
        &[
            "chancery ca set tls-1 --crl-lifetime 7d --ocsp-lifetime 2d",
            "chancery ca set tls-1 --crl-lifetime default",
        ],
    ),
    ("ca activate", &["chancery ca activate tls-2 --default", "chancery ca activate etcd-root-2"]),
    ("ca retire", &["chancery ca retire tls-1", "chancery ca retire etcd-1 --yes"]),
    ("ca remove", &["chancery ca remove etcd-1 --yes"]),
    ("profile", &["chancery profile list"]),
    ("profile list", &["chancery profile list"]),
    ("profile show", &["chancery profile show tls-server", "chancery profile show tls-server -o json"]),
    ("profile create", &["chancery profile create kiosk.json"]),
    ("profile edit", &["EDITOR=nano chancery profile edit tls-server"]),
    ("profile test", &["chancery profile test tls-server web.csr --ttl 12h"]),
    (
        "profile export",
        &["chancery profile export --out profiles", "chancery profile export tls-server > tls-server.json"],
    ),
    ("profile apply", &["chancery profile apply profiles/*.json"]),
    ("key", &["chancery key list"]),
    (
        "key block",
        &["chancery key block stolen.key --comment 'found in a public repository'", "chancery key block stolen.csr"],
    ),
    ("key list", &["chancery key list"]),
    ("key unblock", &["chancery key unblock 4f1d…"]),
    ("token", &["chancery token list"]),
    (
        "token create",
        &[
            "chancery token create --name ci --allow-name lab.example --profile tls-server",
            "chancery token create --name nightly-report --role auditor --expires 30d",
        ],
    ),
    ("token list", &["chancery token list", "chancery token list --all -o yaml"]),
    ("token revoke", &["chancery token revoke tok_…"]),
    ("grant", &["chancery grant create --name shop --allow-name shop.lab.example"]),
    (
        "grant create",
        &["chancery grant create --name shop --allow-name shop.lab.example --max-count 500 --expires 365d"],
    ),
    ("grant list", &["chancery grant list"]),
    ("grant revoke", &["chancery grant revoke grt_…"]),
    ("acme", &["chancery acme explain web.lab.example"]),
    ("acme accounts", &["chancery acme accounts list"]),
    (
        "acme accounts list",
        &["chancery acme accounts list --status valid", "chancery acme accounts list ops@lab.example"],
    ),
    ("acme accounts show", &["chancery acme accounts show acc_…"]),
    ("acme accounts grant", &["chancery acme accounts grant acc_… --grant grt_…"]),
    ("acme accounts deactivate", &["chancery acme accounts deactivate acc_… --reason 'the host was taken down'"]),
    ("acme orders", &["chancery acme orders list"]),
    (
        "acme orders list",
        &["chancery acme orders list --status invalid --since 2026-11-01", "chancery acme orders list 'web*'"],
    ),
    ("acme orders show", &["chancery acme orders show ord_…"]),
    ("acme attempts", &["chancery acme attempts", "chancery acme attempts 'web*' --limit 20"]),
    ("acme explain", &["chancery acme explain web.lab.example", "chancery acme explain ord_…"]),
    ("acme test", &["chancery acme test web.lab.example", "chancery acme test web.lab.example --type tls-alpn-01"]),
    ("acme eab", &["chancery acme eab create --name web-team --allow-name web.lab.example"]),
    ("acme eab create", &["chancery acme eab create --name web-team --allow-name web.lab.example --max-accounts 3"]),
    ("acme eab list", &["chancery acme eab list"]),
    ("acme eab revoke", &["chancery acme eab revoke eab_…", "chancery acme eab revoke eab_… --accounts"]),
    ("acme directory", &["chancery acme directory show default"]),
    ("acme directory list", &["chancery acme directory list", "chancery acme directory list -o name"]),
    ("acme directory show", &["chancery acme directory show default"]),
    (
        "acme directory create",
        &["chancery acme directory create partner --allow-names partner.example --eab-required true"],
    ),
    (
        "acme directory set",
        &[
            "chancery acme directory set default --resolvers 10.0.0.53:53 --reuse-authorizations 8h",
            "chancery acme directory set default --limit new_orders=600/3h",
        ],
    ),
    ("acme limits", &["chancery acme limits acc_…", "chancery acme limits acc_… --set new_orders=20000/3h"]),
    ("acme resume", &["chancery acme resume acc_…"]),
    ("acme renewals", &["chancery acme renewals list"]),
    ("acme renewals move", &["chancery acme renewals move --issuer tls-1 --reason 'tls-1 is replaced'"]),
    ("acme renewals list", &["chancery acme renewals list"]),
    ("acme renewals cancel", &["chancery acme renewals cancel rnw_…"]),
    ("bootstrap", &["chancery bootstrap https://ca.lab.example:8443 --fingerprint 7f3a…"]),
    ("context", &["chancery context list"]),
    ("context list", &["chancery context list"]),
    ("context use", &["chancery context use ca.lab.example", "chancery context use local"]),
    ("context show", &["chancery context show", "chancery context show ca.lab.example"]),
    ("context set", &["chancery context set ca.lab.example --token-file ci.token"]),
    ("context remove", &["chancery context remove ca.lab.example"]),
    ("trust", &["chancery trust status"]),
    ("trust install", &["chancery trust install --dry-run", "sudo chancery trust install --store system --yes"]),
    ("trust uninstall", &["sudo chancery trust uninstall --yes"]),
    ("trust status", &["chancery trust status"]),
    ("trust doctor", &["chancery trust doctor https://ca.lab.example:8443"]),
    ("user", &["chancery user list"]),
    ("user create", &["chancery user create alice --role operator --password-file alice.password"]),
    ("user list", &["chancery user list"]),
    ("user role", &["chancery user role alice auditor"]),
    ("user password", &["chancery user password alice --password-file alice.password"]),
    ("user sign-in-link", &["chancery user sign-in-link alice"]),
    ("user disable", &["chancery user disable alice"]),
    ("user enable", &["chancery user enable alice"]),
    ("audit", &["chancery audit list --limit 20"]),
    ("audit list", &["chancery audit list --limit 20", "chancery audit list -o json"]),
    (
        "audit verify",
        &[
            "chancery audit verify",
            "chancery audit verify --key 52d1…",
            "chancery audit verify audit.jsonl --key 52d1…",
        ],
    ),
    ("audit confirm", &["chancery audit confirm rep_…/0 --reason \"the clock was an hour ahead until 10:15\""]),
    ("audit export", &["chancery audit export --out audit.jsonl"]),
    ("audit key", &["chancery audit key"]),
    (
        "quickstart",
        &[
            "chancery quickstart certbot --name web.lab.example",
            "chancery quickstart cert-manager > cert-manager.yaml",
        ],
    ),
    ("doctor", &["chancery doctor", "chancery doctor -o json"]),
    ("fsck", &["chancery fsck"]),
    ("reconcile", &["chancery reconcile --dry-run", "chancery reconcile --restored --crl tls-1.crl --confirm ci"]),
    ("config", &["chancery config show --origin"]),
    ("config check", &["chancery config check", "chancery config check --config chancery.toml"]),
    ("config show", &["chancery config show --origin"]),
    ("config schema", &["chancery config schema > chancery.schema.json"]),
    ("completion", &["chancery completion bash > /etc/bash_completion.d/chancery"]),
    ("man", &["chancery man man1", "man -l man1/chancery-issue.1"]),
];

/// The command with its examples at the end of each page.
pub fn added_to(command: Command) -> Command {
    added(command, "")
}

fn added(command: Command, page: &str) -> Command {
    let shown = EXAMPLES.iter().find(|(name, _)| *name == page).map_or(&[][..], |(_, lines)| lines);
    let mut text = String::from("Examples:");
    shown.iter().for_each(|line| text.push_str(&format!("\n  {line}")));
    if let Some(formats) = formats::line(page) {
        text = format!("{formats}\n\n{text}");
    }
    if let Some(before) = command.get_after_help() {
        text = format!("{before}\n\n{text}");
    }
    let command = if shown.is_empty() { command } else { command.after_help(text) };
    command.mut_subcommands(|sub| {
        let page = if page.is_empty() { sub.get_name().to_owned() } else { format!("{page} {}", sub.get_name()) };
        added(sub, &page)
    })
}

#[cfg(test)]
mod tests {
    use super::EXAMPLES;

    fn pages(command: &clap::Command, page: &str, into: &mut Vec<String>) {
        into.push(page.to_owned());
        for sub in command.get_subcommands() {
            pages(sub, format!("{page} {}", sub.get_name()).trim_start(), into);
        }
    }

    #[test]
    fn every_page_has_examples_and_no_others_do() {
        let mut expected = Vec::new();
        pages(&crate::cli::command(), "", &mut expected);
        let mut shown: Vec<_> = EXAMPLES.iter().map(|(page, _)| (*page).to_owned()).collect();
        expected.sort();
        shown.sort();
        assert_eq!(shown, expected);
    }

    #[test]
    fn an_example_is_a_command_of_its_page() {
        for (page, lines) in EXAMPLES.iter().filter(|(page, _)| *page != "man") {
            for line in *lines {
                let command = format!("chancery {page}");
                assert!(line.contains(command.trim_end()), "{line} on the page of {command}");
            }
        }
    }
}
