//! The one-time set-up link: right once, within its time, and only while there is no administrator.

use chancery::clock::minutes;
use chancery::model::actor::{Actor, Role};

use super::browser::{PASSWORD, Pages};
use crate::on_both_engines;

async fn link(pages: &Pages) -> String {
    pages.access.make_setup_secret(&Actor::host(0, "root")).await.unwrap().secret.expose()
}

fn form<'a>(link: &'a str, name: &'a str) -> [(&'a str, &'a str); 4] {
    [("link", link), ("name", name), ("password", PASSWORD), ("repeated", PASSWORD)]
}

on_both_engines! {
    async fn the_link_makes_the_first_administrator_once(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.browser();
        browser.get("/setup").await.shows("name=\"link\"").shows("data-fragment");
        let link = link(&pages).await;
        let page = browser.post("/setup", &form(&link, "Alice")).await;
        assert_eq!(page.leads(), (303, "/"));
        browser.get("/").await.shows("alice").shows("admin");
        // only hashes are kept
        let stored: String = at.rows("SELECT password_hash FROM users").await[0].get("password_hash").unwrap();
        assert!(stored.starts_with("$argon2id$"));
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM setup_links").await, 0);

        let mut other = pages.browser();
        other.get("/setup").await.shows("Already set up").hides("name=\"link\"");
        let page = other.post("/setup", &form(&link, "mallory")).await;
        assert_eq!(page.status, 409);
        page.shows("setup.first");
        assert!(pages.access.make_setup_secret(&Actor::host(0, "root")).await.is_err());
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM users").await, 1);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'setup.refused'").await, 1);
    }

    async fn a_wrong_an_old_and_a_replaced_link_are_refused_alike(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.browser();
        let replaced = link(&pages).await;
        let old = link(&pages).await;
        pages.clock.advance(minutes(15));
        for link in [replaced.as_str(), &old, "s_0000-0000-0000-0000-0000", "nonsense", ""] {
            let page = browser.post("/setup", &form(link, "alice")).await;
            assert_eq!(page.status, 403, "{link}");
            page.shows("<code>chancery setup-link</code>").hides("`");
        }
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM users").await, 0);
    }

    async fn a_form_that_is_refused_leaves_the_link_good(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.browser();
        let link = link(&pages).await;
        let unlike = [("link", link.as_str()), ("name", "alice"), ("password", PASSWORD), ("repeated", "another one here")];
        assert_eq!(browser.post("/setup", &unlike).await.status, 422);
        let short = [("link", link.as_str()), ("name", "alice"), ("password", "short"), ("repeated", "short")];
        browser.post("/setup", &short).await.shows("user.password");
        browser.post("/setup", &form(&link, "a b")).await.shows("user.name");
        assert_eq!(browser.post_from("cross-site", "/setup", &form(&link, "alice")).await.status, 403);
        // pasted as a whole, as people do
        let whole = format!(" https://ca.test:8443/setup#{link}\n");
        assert_eq!(browser.post("/setup", &form(&whole, "alice")).await.leads(), (303, "/"));
    }

    async fn two_set_ups_at_once_make_one_administrator(at) {
        let pages = Pages::over(at).await;
        let link = link(&pages).await;
        let (mut one, mut two) = (pages.browser(), pages.browser());
        let (first, second) = (form(&link, "first"), form(&link, "second"));
        let (a, b) = tokio::join!(one.post("/setup", &first), two.post("/setup", &second));
        let mut statuses = [a.status.as_u16(), b.status.as_u16()];
        statuses.sort_unstable();
        assert!(statuses == [303, 403] || statuses == [303, 409], "{statuses:?}");
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM users").await, 1);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM sessions").await, 1);
    }

    async fn guessing_links_keeps_nobody_out_and_fills_no_audit(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.browser();
        for _ in 0..40 {
            assert_eq!(browser.post("/setup", &form("s_0000-0000-0000-0000-0000", "x")).await.status, 403);
        }
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'setup.refused'").await, 1);
        assert_eq!(browser.post("/setup", &form(&link(&pages).await, "alice")).await.leads(), (303, "/"));
    }

    async fn an_administrator_made_on_the_host_ends_the_link(at) {
        let pages = Pages::over(at).await;
        let link = link(&pages).await;
        pages.user("root", Role::Admin).await;
        assert_eq!(pages.browser().post("/setup", &form(&link, "alice")).await.status, 409);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM setup_links").await, 0);
    }
}
