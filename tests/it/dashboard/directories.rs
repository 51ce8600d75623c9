//! The pages of ACME directories: seen by everybody, made and changed by administrators, nothing lost on a refusal.

use std::time::Duration;

use chancery::model::actor::{Actor, Role};
use chancery::model::limits::Limit;
use chancery::store::{attempts, limits};

use super::browser::Pages;
use crate::on_both_engines;
use crate::support::acme_rows::{refused, stored_account};

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

    async fn a_name_is_tested_from_the_page_of_its_directory(at) {
        let pages = Pages::over(at).await;
        let mut operator = pages.signed_in(Role::Operator).await;
        operator.get("/directories/default").await.shows("Test a name").shows("Test now");
        let ask = [("name", "169.254.169.254"), ("type", "http-01"), ("account", "")];
        let page = operator.submit("/directories/default", "/directories/default/test", &ask).await;
        assert_eq!(page.status, 200, "{}", page.html);
        page.shows("failed").shows("169.254.169.254 port 80").shows("deny").shows("chancery acme test 169.254.169.254 --type http-01");
        for (ask, status, says) in [
            ([("name", "<b>"), ("type", "http-01"), ("account", "")], 400, "&#60;b&#62;"),
            ([("name", "web.lab.example"), ("type", "smtp-01"), ("account", "")], 422, "challenge_tests.type"),
            ([("name", ""), ("type", "http-01"), ("account", "")], 400, "Test again"),
            ([("name", "web.lab.example"), ("type", "http-01"), ("account", "x")], 404, "no such ACME account"),
        ] {
            let page = operator.submit("/directories/default", "/directories/default/test", &ask).await;
            assert_eq!(page.status.as_u16(), status, "{ask:?} {}", page.html);
            page.shows(says);
        }
        assert_eq!(operator.submit("/directories/default", "/directories/nowhere/test", &ask).await.status, 404);
        let mut viewer = pages.signed_in(Role::Viewer).await;
        viewer.get("/directories/default").await.hides("Test now");
        assert_eq!(viewer.submit("/directories", "/directories/default/test", &ask).await.status, 403);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'challenge.tested'").await, 1);
    }

    async fn an_account_shows_what_was_refused_and_resumes_what_is_paused(at) {
        let pages = Pages::over(at).await;
        let account = stored_account(&at.store).await;
        let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
        for _ in 0..2 {
            limits::fail(&mut tx, account.id, "www.lab.example", Limit(None), "1/1s".parse().unwrap()).await.unwrap();
            at.clock.advance(Duration::from_secs(1));
        }
        let refused = refused(&at.store, &account);
        attempts::insert(&mut tx, &refused).await.unwrap();
        tx.commit().await.unwrap();
        let path = format!("/accounts/{}", account.id);
        let mut viewer = pages.signed_in(Role::Viewer).await;
        viewer.get(&path).await.shows("is reserved").shows("3 times").shows("www.lab.example").hides("Resume");
        let mut admin = pages.signed_in(Role::Admin).await;
        admin.get(&path).await.shows("Resume www.lab.example");
        let ask = [("name", "www.lab.example")];
        assert_eq!(viewer.submit("/directories", &format!("{path}/resume"), &ask).await.status, 403);
        assert_eq!(admin.submit(&path, &format!("{path}/resume"), &ask).await.leads(), (303, path.as_str()));
        admin.get(&path).await.hides("Resume");
        assert_eq!(admin.submit("/directories", &format!("{path}/resume"), &ask).await.status, 404, "nothing is paused");
    }
}
