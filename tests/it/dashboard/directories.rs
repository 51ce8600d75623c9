//! The pages of ACME directories: seen by everybody, made and changed by administrators, nothing lost on a refusal.

use chancery::model::actor::Role;

use super::browser::Pages;
use crate::on_both_engines;

on_both_engines! {
    async fn a_directory_is_made_and_changed_in_the_browser(at) {
        let pages = Pages::over(at).await;
        let mut admin = pages.signed_in(Role::Admin).await;
        admin.get("/directories").await.shows("/acme/default/directory").shows("not required").shows(">any<");
        assert_eq!(admin.submit("/directories", "/directories", &[("slug", "development")]).await.leads(), (303, "/directories/development"));
        let page = admin.get("/directories/development").await;
        page.shows("https://ca.test:8443/acme/development/directory").shows("value=\"tls-server\" checked");
        let fields = [
            ("profiles", "tls-server"), ("first", "tls-server"), ("challenges", "http-01"), ("pre_authorization", "1"),
            ("external_account_required", "1"), ("issuers", "tls-1"), ("allow_names", "dev.lab.example\r\n10.0.0.0/8"),
            ("deny_names", "=secret.dev.lab.example"), ("resolvers", "10.0.0.53:53"), ("http01_port", "8088"),
            ("deny_networks", "10.9.0.0/16"), ("reuse_authorizations", "8h"), ("website", "https://ca.lab.example/"),
            ("caa", "log"), ("caa_identities", "ca.lab.example"),
        ];
        assert_eq!(admin.submit("/directories", "/directories/development", &fields).await.leads(), (303, "/directories/development"));
        admin.get("/directories").await.shows("dev.lab.example, 10.0.0.0/8, not =secret.dev.lab.example").shows("required");
        let page = admin.get("/directories/development").await;
        page.shows("10.0.0.53:53").shows("value=\"8088\"").shows("10.9.0.0/16").shows("value=\"8h\"");
        page.shows("value=\"log\"").shows("ca.lab.example");
        let events = at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action IN ('directory.created', 'directory.changed')").await;
        assert_eq!(events, 2);
    }

    async fn a_refused_change_keeps_what_was_written(at) {
        let pages = Pages::over(at).await;
        let mut admin = pages.signed_in(Role::Admin).await;
        let good = [("profiles", "tls-server"), ("challenges", "http-01"), ("issuers", "*"), ("allow_names", "*")];
        for (name, wrong, says) in [
            ("allow_names", "no spaces please", "directory.allow_names"),
            ("http01_port", "70000", "directory.http01_port"),
            ("resolvers", "10.0.0.53", "directory.resolvers"),
            ("reuse_authorizations", "forever", "directory.reuse_authorizations"),
            ("issuers", "nobody-1", "directory.issuers"),
            ("deny_networks", "10.0.0.1/8", "directory.deny_networks"),
            ("website", "ftp://x", "directory.url"),
            ("caa", "sometimes", "directory.caa"),
            ("caa_identities", "ca_x", "directory.caa_identities"),
        ] {
            let mut fields: Vec<_> = good.iter().copied().filter(|(n, _)| *n != name).collect();
            fields.push((name, wrong));
            let page = admin.submit("/directories/default", "/directories/default", &fields).await;
            assert_eq!(page.status, 422, "{name}: {}", page.html);
            page.shows(says).shows(wrong);
        }
        for slug in ["", "Upper", "a b", "default", "-x"] {
            let page = admin.submit("/directories", "/directories", &[("slug", slug)]).await;
            assert!(matches!(page.status.as_u16(), 409 | 422), "{slug}: {}", page.status);
        }
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'directory.changed'").await, 0);
        assert_eq!(admin.get("/directories/nowhere").await.status, 404);
    }

    async fn who_may_not_change_directories_sees_them(at) {
        let pages = Pages::over(at).await;
        let mut viewer = pages.signed_in(Role::Viewer).await;
        viewer.get("/directories").await.hides("Make the directory");
        viewer.get("/directories/default").await.hides("Change the directory").shows("<fieldset disabled>");
        assert_eq!(viewer.submit("/directories", "/directories", &[("slug", "mine")]).await.status, 403);
        assert_eq!(viewer.submit("/directories", "/directories/default", &[("allow_names", "")]).await.status, 403);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'directory.refused'").await, 2);
    }
}
