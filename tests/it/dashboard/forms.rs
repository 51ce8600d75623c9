//! What no page and no form may do: be framed, run another's script, be sent by another site, go past the role.

use chancery::model::actor::Role;

use super::browser::{PASSWORD, Pages};
use crate::on_both_engines;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'";

/// Every page of the navigation, and some that are not there.
const PAGES: &[&str] = &[
    "/",
    "/certificates",
    "/certificates/new",
    "/certificates/crt_x",
    "/nothing-here",
    "/authorities",
    "/authorities/tls-1",
    "/orders",
    "/accounts",
    "/directories",
    "/directories/default",
    "/tokens",
    "/eab-keys",
    "/users",
    "/me",
    "/audit",
    "/connect",
    "/sign-in?next=/x",
    "/setup",
];

on_both_engines! {
    async fn every_page_has_a_strict_policy_and_no_inline_code(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.signed_in(Role::Admin).await;
        let mut seen = 0;
        for signed in [true, false] {
            if !signed {
                browser.cookie = None;
            }
            for path in PAGES {
                let page = browser.get(path).await;
                if page.status == 303 {
                    continue;
                }
                seen += 1;
                assert_eq!(page.headers["content-security-policy"], POLICY, "{path}");
                assert_eq!(page.headers["x-content-type-options"], "nosniff");
                assert_eq!(page.headers["x-frame-options"], "DENY");
                assert_eq!(page.headers["cache-control"], "no-store");
                assert_eq!(page.headers["content-type"], "text/html; charset=utf-8", "{path}");
                for inline in ["<style", " style=", "<script>", " onclick=", "javascript:"] {
                    page.hides(inline);
                }
                page.shows("<html lang=\"en\">").shows("<title>").shows("<main id=\"main\"");
            }
        }
        assert!(seen > PAGES.len());
    }

    async fn a_form_of_another_site_or_session_is_refused_and_audited(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.signed_in(Role::Admin).await;
        let token = browser.get("/").await.field("form_token").unwrap();
        for site in ["cross-site", "same-site", "none"] {
            assert_eq!(browser.post_from(site, "/sign-out", &[("form_token", &token)]).await.status, 403, "{site}");
        }
        let mut other = pages.browser();
        other.sign_in("admin", PASSWORD).await;
        let others = other.get("/").await.field("form_token").unwrap();
        assert_ne!(token, others, "a token a session");
        for wrong in ["", "x", &others, &token.to_uppercase()] {
            assert_eq!(browser.post("/sign-out", &[("form_token", wrong)]).await.status, 403);
        }
        assert_eq!(browser.post("/sign-out", &[]).await.status, 403);
        assert_eq!(browser.get("/").await.status, 200, "still signed in");
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'form.refused'").await, 8);
        browser.cookie = None;
        assert_eq!(browser.post("/sign-out", &[("form_token", &token)]).await.status, 401);
    }

    async fn a_role_goes_no_further_than_over_rest(at) {
        let pages = Pages::over(at).await;
        let mut viewer = pages.signed_in(Role::Viewer).await;
        viewer.get("/certificates").await.hides("New certificate");
        let page = viewer.get("/certificates/new").await;
        assert_eq!(page.status, 403);
        page.shows("role viewer to issue certificates").shows("requester, operator, admin");
        let page = viewer.submit("/", "/certificates", &[("csr", "x"), ("profile", "tls-server")]).await;
        assert_eq!(page.status, 403);
        let refusals = at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'certificate.rejected'").await;
        assert_eq!(refusals, 1, "a refused change is an event");
    }

    async fn an_unknown_page_is_a_page(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.signed_in(Role::Viewer).await;
        let page = browser.get("/certificates/crt_01ARZ3NDEKTSV4RRFFQ69G5FAV").await;
        assert_eq!(page.status, 404);
        page.shows("no such certificate").shows("/errors/not_found").shows("req_");
    }

    async fn static_files_are_kept_by_browsers(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.browser();
        let html = browser.get("/sign-in").await.html;
        for mark in ["href=\"/static/chancery.css?v=", "src=\"/static/chancery.js?v="] {
            let (_, rest) = html.split_once(mark).unwrap();
            let path = mark.split('"').nth(1).unwrap().to_owned() + rest.split('"').next().unwrap();
            let page = browser.get(&path).await;
            assert_eq!(page.status, 200);
            assert_eq!(page.headers["cache-control"], "public, max-age=31536000, immutable");
        }
        assert_eq!(browser.get("/static/../Cargo.toml").await.status, 404);
    }
}
