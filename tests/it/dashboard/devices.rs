//! Browsers that signed in before, and others, while somebody guesses passwords.

use std::sync::Arc;

use chancery::access::Access;
use chancery::access::device::MAX_DEVICE_FAILURES;
use chancery::access::password::Password;
use chancery::clock::{days, minutes};
use chancery::model::actor::{Actor, Role};
use chancery::model::user::{MAX_FAILED_SIGN_INS, User};

use super::browser::{Browser, PASSWORD, Pages};
use crate::on_both_engines;
use crate::support::stores::{At, founded};

const WRONG: &str = "a wrong password";

/// A browser in which the user signed in and out.
async fn known(pages: &Pages, name: &str) -> Browser {
    let mut browser = pages.browser();
    assert_eq!(browser.sign_in(name, PASSWORD).await.leads(), (303, "/"));
    browser.submit("/me", "/sign-out", &[]).await;
    assert!(browser.cookie.is_none() && browser.devices.len() == 1);
    browser
}

/// A browser at an address of its own.
fn stranger(pages: &Pages, number: usize) -> Browser {
    let mut browser = pages.browser();
    browser.peer = format!("[2001:db8:0:{number:x}::1]:50000").parse().unwrap();
    browser
}

/// As after a hundred wrong passwords: each costs a hash.
async fn close(at: &At, pages: &Pages, name: &str) {
    at.sql("UPDATE users SET failed_sign_ins = 99 WHERE failed_sign_ins < 99").await;
    assert_eq!(stranger(pages, 1).sign_in(name, WRONG).await.status, 401);
}

async fn link(pages: &Pages, user: &User) -> String {
    pages.access.make_sign_in_link(&Actor::host(0, "root"), user).await.unwrap().secret.expose()
}

async fn count(at: &At, action: &str) -> usize {
    let rows = at.rows("SELECT action FROM audit_events").await;
    rows.iter().filter(|row| row.get::<String>("action").unwrap() == action).count()
}

on_both_engines! {
    async fn a_known_browser_gets_in_where_a_hundred_wrong_passwords_keep_others_out(at) {
        let pages = Pages::over(at).await;
        let alice = pages.user("alice", Role::Admin).await;
        let mut owner = known(&pages, "alice").await;
        for number in 0..20 {
            let mut guesser = stranger(&pages, number);
            for _ in 0..5 {
                assert_eq!(guesser.sign_in("alice", WRONG).await.status, 401);
            }
        }
        assert_eq!(at.count("SELECT failed_sign_ins AS n FROM users").await, MAX_FAILED_SIGN_INS);
        let mut new = stranger(&pages, 90);
        let page = new.sign_in("alice", PASSWORD).await;
        assert_eq!(page.status, 401, "the right password, too late for a browser that is not known");
        page.shows("chancery user sign-in-link");
        for _ in 0..3 {
            assert_eq!(owner.sign_in("alice", PASSWORD).await.leads(), (303, "/"));
        }
        assert_eq!(stranger(&pages, 91).sign_in("alice", PASSWORD).await.status, 401, "the owner opens it for nobody else");
        // what 102 refusals leave behind
        assert_eq!(count(at, "user.closed_to_new_browsers").await, 1);
        assert_eq!(count(at, "session.refused").await, 2, "one for each reason in a minute");
        // a new password opens the account to new browsers
        pages.access.reset_password(&Actor::system("test"), alice.id, &Password::new("orange meadow seven")).await.unwrap();
        assert_eq!(stranger(&pages, 92).sign_in("alice", "orange meadow seven").await.status, 303);
    }

    async fn a_right_password_in_between_begins_the_hundred_anew(at) {
        let pages = Pages::over(at).await;
        pages.user("alice", Role::Viewer).await;
        for number in 0..4 {
            assert_eq!(stranger(&pages, number).sign_in("alice", WRONG).await.status, 401);
        }
        assert_eq!(at.count("SELECT failed_sign_ins AS n FROM users").await, 4);
        assert_eq!(stranger(&pages, 9).sign_in("alice", PASSWORD).await.status, 303);
        assert_eq!(at.count("SELECT failed_sign_ins AS n FROM users").await, 0);
    }

    async fn nothing_tells_a_closed_account_from_one_that_does_not_exist(at) {
        let pages = Pages::over(at).await;
        pages.user("alice", Role::Viewer).await;
        close(at, &pages, "alice").await;
        let mut browser = stranger(&pages, 99);
        let closed = browser.sign_in("alice", PASSWORD).await;
        let nobody = browser.sign_in("nobody", PASSWORD).await;
        let text = |page: &super::browser::Page, name: &str| {
            let words: Vec<&str> = page.html.split_whitespace().filter(|word| !word.contains("req_")).collect();
            (page.status, words.join(" ").replace(name, "NAME"))
        };
        assert_eq!(text(&closed, "alice"), text(&nobody, "nobody"));
        assert!(browser.devices.is_empty());
    }

    async fn a_link_from_the_host_lets_a_new_browser_in_once(at) {
        let pages = Pages::over(at).await;
        let alice = pages.user("alice", Role::Admin).await;
        pages.user("bob", Role::Viewer).await;
        close(at, &pages, "alice").await;
        let replaced = link(&pages, &alice).await;
        let good = link(&pages, &alice).await;
        let mut browser = stranger(&pages, 80);
        browser.get("/sign-in-link").await.shows("name=\"link\"").shows("data-fragment");
        for wrong in [replaced.as_str(), "s_0000-0000-0000-0000-0000", "nonsense", ""] {
            let page = browser.post("/sign-in-link", &[("link", wrong)]).await;
            assert_eq!(page.status, 403, "{wrong}");
            page.shows("chancery user sign-in-link NAME");
        }
        assert_eq!(browser.post_from("cross-site", "/sign-in-link", &[("link", &good)]).await.status, 403);
        let whole = format!(" https://ca.test:8443/sign-in-link#{good}\n");
        let page = browser.post("/sign-in-link", &[("link", &whole)]).await;
        assert_eq!(page.leads(), (303, "/sign-in?known=alice"));
        browser.get("/sign-in?known=alice").await.shows("This browser is known now").shows("value=\"alice\"");
        let mut other = stranger(&pages, 81);
        assert_eq!(other.post("/sign-in-link", &[("link", &good)]).await.status, 403, "once");
        assert_eq!(browser.sign_in("alice", WRONG).await.status, 401, "the link is no password");
        assert_eq!(browser.sign_in("alice", PASSWORD).await.status, 303);
        assert_eq!(other.sign_in("alice", PASSWORD).await.status, 401);
        let late = link(&pages, &alice).await;
        pages.clock.advance(minutes(15));
        assert_eq!(other.post("/sign-in-link", &[("link", &late)]).await.status, 403, "15 minutes");
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM sign_in_links").await, 1);
        pages.access.housekeep().await.unwrap();
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM sign_in_links").await, 0);
        assert_eq!((count(at, "user.sign_in_link_created").await, count(at, "user.sign_in_link_used").await), (3, 1));
    }

    async fn links_of_one_kind_are_unknown_to_the_other(at) {
        let pages = Pages::over(at).await;
        let set_up = pages.access.make_setup_secret(&Actor::host(0, "root")).await.unwrap().secret;
        let mut browser = pages.browser();
        assert_eq!(browser.post("/sign-in-link", &[("link", &set_up.expose())]).await.status, 403);
        let alice = pages.user("alice", Role::Viewer).await;
        let link = link(&pages, &alice).await;
        let form = [("link", link.as_str()), ("name", "mallory"), ("password", PASSWORD), ("repeated", PASSWORD)];
        assert_eq!(browser.post("/setup", &form).await.status, 403);
        pages.access.disable_user(&Actor::system("test"), alice.id).await.unwrap();
        assert_eq!(browser.post("/sign-in-link", &[("link", &link)]).await.status, 403);
        assert!(pages.access.make_sign_in_link(&Actor::host(0, "root"), &pages.access.user(alice.id).await.unwrap()).await.is_err());
    }

    async fn a_device_cookie_is_for_its_user_and_cannot_be_made_up(at) {
        let pages = Pages::over(at).await;
        pages.user("alice", Role::Viewer).await;
        pages.user("bob", Role::Viewer).await;
        let bobs = known(&pages, "bob").await;
        let alices = known(&pages, "alice").await;
        close(at, &pages, "alice").await;
        let genuine = alices.devices[0].clone();
        let (name, value) = genuine.split_once('=').unwrap();
        let (id, mac) = value.split_once('.').unwrap();
        let foreign = bobs.devices[0].split_once('=').unwrap().1;
        let flipped = mac.replacen(|c: char| c.is_ascii_digit(), "a", 1);
        let another = foreign.split_once('.').unwrap().0;
        for forged in [foreign.to_owned(), format!("{id}.{flipped}"), format!("{another}.{mac}"), format!("{id}."), id.to_owned()] {
            let mut thief = stranger(&pages, 70);
            thief.devices = vec![format!("{name}={forged}")];
            assert_eq!(thief.sign_in("alice", PASSWORD).await.status, 401, "{forged}");
        }
        let mut both = stranger(&pages, 71);
        both.devices = vec![bobs.devices[0].clone(), genuine];
        assert_eq!(both.sign_in("alice", PASSWORD).await.status, 303);
        assert_eq!(both.sign_in("bob", PASSWORD).await.status, 303, "one browser, two users");
        assert_eq!(both.devices.len(), 2);
    }

    async fn the_device_cookie_is_for_this_host_over_tls_and_is_replaced(at) {
        let pages = Pages::over(at).await;
        pages.user("alice", Role::Viewer).await;
        let mut browser = pages.browser();
        let page = browser.sign_in("alice", PASSWORD).await;
        let set: Vec<&str> = page.headers.get_all("set-cookie").iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(set.len(), 2);
        let (pair, attributes) = set[1].split_once(';').unwrap();
        assert!(pair.starts_with("__Host-chancery-device-") && pair.contains("=dev_"), "{pair}");
        assert_eq!(attributes, " Path=/; Max-Age=15552000; Secure; HttpOnly; SameSite=Strict");
        let first = browser.devices.clone();
        browser.sign_in("alice", PASSWORD).await;
        assert_ne!(first, browser.devices);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM known_devices").await, 1, "the one before has ended");
        let sealed: Vec<u8> = at.rows("SELECT sealed FROM shared_secrets").await[0].get("sealed").unwrap();
        assert!(sealed.len() > 32);
        close(at, &pages, "alice").await;
        pages.clock.advance(days(180));
        assert_eq!(browser.sign_in("alice", PASSWORD).await.status, 401, "half a year");
        pages.access.housekeep().await.unwrap();
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM known_devices").await, 0);
    }

    async fn a_stolen_device_cookie_buys_a_few_guesses(at) {
        let pages = Pages::over(at).await;
        pages.user("alice", Role::Viewer).await;
        let mut thief = known(&pages, "alice").await;
        for _ in 0..MAX_DEVICE_FAILURES {
            assert_eq!(thief.sign_in("alice", WRONG).await.status, 401);
        }
        assert_eq!(at.count("SELECT failed_sign_ins AS n FROM users").await, 0, "its own count");
        assert_eq!(thief.sign_in("alice", WRONG).await.status, 401);
        assert_eq!(at.count("SELECT failed_sign_ins AS n FROM users").await, 1, "from here on one like any other");
        let mut owner = known(&pages, "alice").await;
        for _ in 0..MAX_DEVICE_FAILURES - 1 {
            assert_eq!(owner.sign_in("alice", WRONG).await.status, 401);
        }
        assert_eq!(owner.sign_in("alice", PASSWORD).await.status, 303);
        assert_eq!(owner.sign_in("alice", WRONG).await.status, 401, "counted anew");
        assert_eq!(owner.sign_in("alice", PASSWORD).await.status, 303);
    }

    async fn a_new_password_and_signing_out_everywhere_forget_every_browser(at) {
        let pages = Pages::over(at).await;
        let boss = Actor::system("test");
        let alice = pages.user("alice", Role::Operator).await;
        let mut old = known(&pages, "alice").await;
        let mut here = pages.browser();
        here.sign_in("alice", PASSWORD).await;
        let new = "orange meadow seven";
        let fields = [("old", PASSWORD), ("password", new), ("repeated", new)];
        assert_eq!(here.submit("/me", "/me", &fields).await.leads(), (303, "/me?changed=1"));
        close(at, &pages, "alice").await;
        assert_eq!(old.sign_in("alice", new).await.status, 401);
        assert_eq!(here.sign_in("alice", new).await.status, 303, "the browser of the change stays known");
        assert_eq!(here.submit("/me", "/me/sessions/end", &[]).await.leads(), (303, "/sign-in?signed_out=1"));
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM sessions").await, 0);
        assert_eq!(here.sign_in("alice", new).await.status, 401);
        pages.access.reset_password(&boss, alice.id, &Password::new(PASSWORD)).await.unwrap();
        let mut again = known(&pages, "alice").await;
        pages.access.disable_user(&boss, alice.id).await.unwrap();
        pages.access.enable_user(&boss, alice.id).await.unwrap();
        close(at, &pages, "alice").await;
        assert_eq!(again.sign_in("alice", PASSWORD).await.status, 401, "disabling forgets them too");
    }

    async fn replicas_know_the_same_browsers_and_count_together(at) {
        let (authority, keys) = founded(&at.store).await;
        let one = Pages::of(at, authority, Access::with_keys(at.store.clone(), keys.clone())).await;
        let two = Pages::replica(at, keys).await;
        one.user("alice", Role::Admin).await;
        let mut owner = known(&one, "alice").await;
        at.sql("UPDATE users SET failed_sign_ins = 96").await;
        for pages in [&one, &two, &one, &two] {
            assert_eq!(stranger(pages, 3).sign_in("alice", WRONG).await.status, 401);
        }
        assert_eq!(stranger(&two, 50).sign_in("alice", PASSWORD).await.status, 401);
        owner.router = two.router.clone();
        assert_eq!(owner.sign_in("alice", PASSWORD).await.status, 303);
    }

    async fn a_locked_server_lets_people_in_and_remembers_no_browser(at) {
        let (authority, _) = founded(&at.store).await;
        let locked = chancery::keys::store::Keys::locked(at.store.entropy.clone());
        let pages = Pages::of(at, authority, Access::with_keys(at.store.clone(), Arc::new(locked))).await;
        let alice = pages.user("alice", Role::Viewer).await;
        let mut browser = pages.browser();
        assert_eq!(browser.sign_in("alice", PASSWORD).await.status, 303);
        assert!(browser.devices.is_empty());
        let link = link(&pages, &alice).await;
        assert_eq!(browser.post("/sign-in-link", &[("link", &link)]).await.status, 503);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM sign_in_links").await, 1, "it is not used up");
    }

    async fn known_browsers_do_not_wait_for_strangers(at) {
        let pages = Pages::over(at).await;
        pages.user("alice", Role::Admin).await;
        pages.user("carol", Role::Viewer).await;
        let mut owner = known(&pages, "alice").await;
        let done = std::sync::atomic::AtomicUsize::new(0);
        let guesses = futures_util::future::join_all((0..60).map(|n| {
            let (mut browser, done) = (stranger(&pages, n % 12), &done);
            async move {
                let status = browser.sign_in(&format!("user{n}"), WRONG).await.status;
                done.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                status
            }
        }));
        let right = async {
            // behind all of them
            tokio::task::yield_now().await;
            let before = owner.sign_in("alice", PASSWORD).await.status;
            (before, done.load(std::sync::atomic::Ordering::SeqCst))
        };
        let mut quiet = stranger(&pages, 77);
        let new = async {
            tokio::task::yield_now().await;
            let status = quiet.sign_in("carol", PASSWORD).await.status;
            (status, done.load(std::sync::atomic::Ordering::SeqCst))
        };
        let (statuses, right, new) = tokio::join!(guesses, right, new);
        assert!(statuses.iter().all(|s| *s == 401), "{statuses:?}");
        assert!(right.0 == 303 && right.1 < 30, "a known browser came in after {} of 60", right.1);
        assert!(new.0 == 303 && new.1 < 45, "a new one from a quiet address after {} of 60", new.1);
    }
}
