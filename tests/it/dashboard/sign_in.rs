//! Signing in, staying signed in, and being kept out.

use chancery::access::password::Password;
use chancery::clock::minutes;
use chancery::model::actor::{Actor, Role};

use super::browser::{PASSWORD, Pages};
use crate::on_both_engines;

on_both_engines! {
    async fn a_page_leads_to_sign_in_and_back(at) {
        let pages = Pages::over(at).await;
        pages.user("alice", Role::Operator).await;
        let mut browser = pages.browser();
        assert_eq!(browser.get("/certificates?q=web").await.leads(), (303, "/sign-in?next=%2Fcertificates%3Fq%3Dweb"));
        let page = browser.get("/sign-in?next=%2Fcertificates%3Fq%3Dweb").await;
        let next = page.field("next").unwrap();
        let fields = [("name", " ALICE "), ("password", PASSWORD), ("next", next.as_str())];
        assert_eq!(browser.post("/sign-in", &fields).await.leads(), (303, "/certificates?q=web"));
        assert_eq!(browser.get("/sign-in").await.leads(), (303, "/"));
        let evil = [("name", "alice"), ("password", PASSWORD), ("next", "//evil.test")];
        assert_eq!(browser.post("/sign-in", &evil).await.leads(), (303, "/"));
    }

    async fn the_cookie_is_for_this_host_over_tls_and_for_no_script(at) {
        let pages = Pages::over(at).await;
        pages.user("alice", Role::Viewer).await;
        let mut browser = pages.browser();
        let page = browser.sign_in("alice", PASSWORD).await;
        let set = page.headers["set-cookie"].to_str().unwrap();
        let (pair, attributes) = set.split_once(';').unwrap();
        assert_eq!(attributes, " Path=/; Max-Age=43200; Secure; HttpOnly; SameSite=Lax");
        let secret = pair.strip_prefix("__Host-chancery=").unwrap();
        assert_eq!(secret.len(), 64);
        let stored: Vec<u8> = at.rows("SELECT secret_sha256 FROM sessions").await[0].get("secret_sha256").unwrap();
        assert_eq!(stored, openssl::sha::sha256(secret.as_bytes()), "only the hash is kept");
    }

    async fn every_sign_in_has_a_new_session_and_sign_out_ends_it(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.signed_in(Role::Viewer).await;
        let first = browser.cookie.clone();
        browser.sign_in("viewer", PASSWORD).await;
        let second = browser.cookie.clone();
        assert_ne!(first, second);
        browser.cookie = first;
        assert_eq!(browser.get("/").await.leads(), (303, "/sign-in"), "the session before it has ended");
        browser.cookie = second.clone();
        assert_eq!(browser.submit("/", "/sign-out", &[]).await.leads(), (303, "/sign-in?signed_out=1"));
        assert_eq!(browser.cookie, None);
        browser.cookie = second;
        assert_eq!(browser.get("/").await.leads(), (303, "/sign-in"), "ended on the server, not in the browser alone");
    }

    async fn a_session_ends_idle_and_at_last(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.signed_in(Role::Viewer).await;
        pages.clock.advance(minutes(29));
        assert_eq!(browser.get("/").await.status, 200);
        pages.clock.advance(minutes(30));
        assert_eq!(browser.get("/").await.status, 303, "30 minutes idle");
        browser.sign_in("viewer", PASSWORD).await;
        for _ in 0..35 {
            pages.clock.advance(minutes(20));
            assert_eq!(browser.get("/").await.status, 200);
        }
        pages.clock.advance(minutes(20));
        assert_eq!(browser.get("/").await.status, 303, "12 hours at most");
        pages.access.housekeep().await.unwrap();
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM sessions").await, 0);
    }

    async fn a_session_of_a_disabled_user_is_none_however_it_is_left(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.signed_in(Role::Viewer).await;
        assert_eq!(browser.get("/").await.status, 200);
        // a sign-in that was under way while the user was disabled
        at.sql("UPDATE users SET disabled_at = 1").await;
        assert_eq!(browser.get("/").await.status, 303);
    }

    async fn a_new_password_a_role_and_disabling_end_sessions(at) {
        let pages = Pages::over(at).await;
        pages.user("boss", Role::Admin).await;
        let alice = pages.user("alice", Role::Operator).await;
        let boss = Actor::system("test");
        let mut browser = pages.browser();
        browser.sign_in("alice", PASSWORD).await;
        pages.access.set_role(&boss, alice.id, Role::Viewer).await.unwrap();
        assert_eq!(browser.get("/").await.status, 303);
        browser.sign_in("alice", PASSWORD).await;
        pages.access.reset_password(&boss, alice.id, &Password::new("orange meadow seven")).await.unwrap();
        assert_eq!(browser.get("/").await.status, 303);
        assert_eq!(browser.sign_in("alice", PASSWORD).await.status, 401);
        browser.sign_in("alice", "orange meadow seven").await;
        assert_eq!(browser.get("/").await.status, 200);
        pages.access.disable_user(&boss, alice.id).await.unwrap();
        assert_eq!(browser.get("/").await.status, 303);
        assert_eq!(browser.sign_in("alice", "orange meadow seven").await.status, 401);
    }

    async fn whatever_is_wrong_the_words_are_the_same(at) {
        let pages = Pages::over(at).await;
        let alice = pages.user("alice", Role::Viewer).await;
        pages.user("gone", Role::Viewer).await;
        let gone = pages.access.users(None, 10).await.unwrap().into_iter().find(|u| u.name.as_str() == "gone").unwrap();
        pages.access.disable_user(&Actor::system("test"), gone.id).await.unwrap();
        let mut browser = pages.browser();
        let note = |page: &super::browser::Page| {
            let (_, rest) = page.html.split_once("class=\"note bad\"").unwrap();
            (page.status.as_u16(), rest.split("</div>").next().unwrap().to_owned())
        };
        let wrong = note(&browser.sign_in("alice", "not the password").await);
        assert_eq!(wrong.0, 401);
        for (name, password) in [("nobody", PASSWORD), ("gone", PASSWORD), ("a b", PASSWORD), ("", "")] {
            assert_eq!(note(&browser.sign_in(name, password).await), wrong, "{name}");
        }
        assert!(browser.cookie.is_none());
        let events = at.rows("SELECT object, detail FROM audit_events WHERE action = 'session.refused'").await;
        assert_eq!(events.len(), 3, "the others of a minute are counted");
let of_alice = |e: &&chancery::store::engine::Row| e.get::<String>("object").unwrap() == alice.object();
        assert_eq!(events.iter().filter(of_alice).count(), 1);
        // what was typed as a name may be a password
        assert!(events.iter().all(|e| !e.get::<String>("detail").unwrap().contains("nobody")));
        pages.access.refusals.flush(true).await;
        let counted = at.rows("SELECT detail FROM audit_events WHERE action = 'sign_ins.refused'").await;
        assert_eq!(counted.len(), 1);
        assert!(counted[0].get::<String>("detail").unwrap().contains("\"count\":2"), "unknown names");
    }

    async fn guessing_a_password_is_slowed_down_and_nobody_is_locked_out(at) {
        let pages = Pages::over(at).await;
        pages.user("alice", Role::Viewer).await;
        let mut browser = pages.browser();
        for _ in 0..6 {
            assert_eq!(browser.sign_in("alice", "a wrong password").await.status, 401);
        }
        let page = browser.sign_in("Alice", PASSWORD).await;
        assert_eq!((page.status.as_u16(), page.headers["retry-after"].to_str().unwrap()), (429, "3"), "case is no way round");
        page.shows("too many attempts failed");
        let mut elsewhere = pages.browser();
        elsewhere.peer = "10.9.9.9:1".parse().unwrap();
        assert_eq!(elsewhere.sign_in("alice", PASSWORD).await.status, 303, "the owner gets in from elsewhere");
        pages.clock.advance(minutes(1));
        assert_eq!(browser.sign_in("alice", PASSWORD).await.status, 303);
        // forgotten after success
        assert_eq!(browser.sign_in("alice", "a wrong password").await.status, 401);
    }

    async fn an_address_stays_open_for_others_whatever_one_behind_it_tries(at) {
        let pages = Pages::over(at).await;
        pages.user("alice", Role::Viewer).await;
        let mut browser = pages.browser();
        for n in 0..40 {
            assert_eq!(browser.sign_in(&format!("user{n}"), "a wrong password").await.status, 401);
        }
        assert_eq!(browser.sign_in("alice", PASSWORD).await.status, 303);
    }

    async fn a_form_of_somebody_who_is_not_signed_in_is_small(at) {
        let pages = Pages::over(at).await;
        pages.user("alice", Role::Viewer).await;
        let long = "a".repeat(9_000);
        for path in ["/sign-in", "/setup", "/sign-in-link"] {
            assert_eq!(pages.browser().post(path, &[("name", "alice"), ("link", &long)]).await.status, 413, "{path}");
        }
        let mut browser = pages.browser();
        browser.sign_in("alice", PASSWORD).await;
        assert_ne!(browser.post("/me", &[("old", long.as_str())]).await.status, 413, "others may be longer");
    }

    async fn attempts_at_once_do_not_pass_together(at) {
        let pages = Pages::over(at).await;
        pages.user("alice", Role::Viewer).await;
        let tries = (0..12).map(|_| {
            let mut browser = pages.browser();
            async move { browser.sign_in("alice", "a wrong password").await.status.as_u16() }
        });
        let statuses = futures_util::future::join_all(tries).await;
        let looked_at = statuses.iter().filter(|s| **s == 401).count();
        assert_eq!(looked_at, 6, "{statuses:?}");
    }

    async fn the_last_administrator_stays(at) {
        let pages = Pages::over(at).await;
        let boss = pages.user("boss", Role::Admin).await;
        let actor = Actor::system("test");
        assert!(pages.access.disable_user(&actor, boss.id).await.is_err());
        assert!(pages.access.set_role(&actor, boss.id, Role::Viewer).await.is_err());
        let second = pages.user("second", Role::Admin).await;
        let (a, b) = tokio::join!(
            pages.access.disable_user(&actor, boss.id),
            pages.access.disable_user(&actor, second.id)
        );
        assert!(a.is_ok() != b.is_ok(), "of two at once one goes");
    }
}
