//! The other pages: overview, authorities, ACME, tokens, users, one's own account, audit, connect.

use chancery::access::grants::NewGrant;
use chancery::clock::days;
use chancery::model::acme::{
    Account, AccountKey, AccountStatus, Authorization, AuthorizationStatus, Order, OrderStatus,
};
use chancery::model::actor::{Actor, Role};
use chancery::model::id::{AccountId, AuthorizationId, OrderId};
use chancery::model::identifier::Identifier;
use chancery::registration::{DirectoryConfig, Origin};
use chancery::store::{Store, accounts, authorizations, orders};
use serde_json::json;

use super::browser::{PASSWORD, Pages};
use crate::on_both_engines;

/// An account with one order that failed.
async fn failed_order(store: &Store) -> (AccountId, OrderId) {
    let (now, entropy) = (store.now(), store.entropy.as_ref());
    let account = Account {
        id: AccountId::new(now, entropy).unwrap(),
        directory: "default".into(),
        status: AccountStatus::Valid,
        key: AccountKey {
            jwk: r#"{"crv":"P-256","kty":"EC","x":"a","y":"b"}"#.into(),
            thumbprint: [7; 32],
            public_key: vec![0x30, 0],
        },
        contact: vec!["mailto:ops@lab.example".into()],
        url: "https://ca.test:8443/acme/default/account/1".into(),
        terms_agreed: true,
        terms_url: None,
        grant: None,
        binding: None,
        created_at: now,
        created_from: "10.0.0.9".into(),
    };
    assert!(accounts::insert(store, &account).await.unwrap());
    let order = Order {
        id: OrderId::new(now, entropy).unwrap(),
        account_id: account.id,
        directory: "default".into(),
        status: OrderStatus::Pending,
        identifiers: vec![Identifier::dns("app.lab.example").unwrap()],
        profile: "tls-server".into(),
        not_before: None,
        not_after: None,
        error: None,
        certificate_id: None,
        replaces: None,
        expires_at: now + days(7),
        created_at: now,
    };
    let authorization = AuthorizationId::new(now, entropy).unwrap();
    let row = Authorization {
        id: authorization,
        account_id: account.id,
        order_id: Some(order.id),
        position: 0,
        status: AuthorizationStatus::Invalid,
        identifier: order.identifiers[0].clone(),
        wildcard: false,
        subdomains: false,
        expires_at: order.expires_at,
        created_at: now,
    };
    let mut tx = store.begin(&Actor::system("test")).await.unwrap();
    orders::insert(&mut tx, &[&order]).await.unwrap();
    authorizations::insert(&mut tx, &[(&row, false)]).await.unwrap();
    orders::cover(&mut tx, std::iter::once((order.id, [authorization].as_slice()))).await.unwrap();
    tx.commit().await.unwrap();
    let problem = json!({"type": "urn:ietf:params:acme:error:connection", "detail": "10.20.4.7:80 <refused>"});
    assert_eq!(orders::fail(store, authorization, &problem).await.unwrap(), 1);
    (account.id, order.id)
}

on_both_engines! {
    async fn the_overview_tells_health_and_what_ends(at) {
        let pages = Pages::over(at).await;
        let mut admin = pages.signed_in(Role::Admin).await;
        let page = admin.get("/").await;
        page.shows("valid certificates").shows("CRL and OCSP").shows("/authorities/tls-1").shows("Last events");
        page.shows("session.created");
        let mut requester = pages.signed_in(Role::Requester).await;
        let page = requester.get("/").await;
        page.shows("You have asked for no certificate yet.").hides("valid certificates").hides("Last events");
    }

    async fn authorities_show_what_they_publish(at) {
        let pages = Pages::over(at).await;
        pages.authority.publish_due().await.unwrap();
        let mut browser = pages.signed_in(Role::Viewer).await;
        browser.get("/authorities").await.shows("tls-1").shows("root").shows("/bundles/tls.pem");
        let server_never_has_it = "in the database, under root.key, which the server does not load";
        browser.get("/authorities").await.shows(server_never_has_it).shows("in the database, under unlock.key<");
        browser.get("/authorities/tls-root").await.shows(server_never_has_it).shows("http://ca.test:8080/ocsp/tls-root");
        let file = pages.authority.export_root("tls-root", None).unwrap();
        pages.authority.take_root_offline(&Actor::host(0, "root"), "tls-root", &file, None).await.unwrap();
        browser.get("/authorities").await.shows("in the file of <code>chancery ca root offline</code>").hides(server_never_has_it);
        browser.get("/authorities/tls-root").await.shows("in the file of <code>chancery ca root offline</code>");
        let page = browser.get("/authorities/tls-1").await;
        page.shows("<code>chancery ca retire tls-1</code> stops it from signing").hides("tag\">current</span>").hides("`");
        page.shows("http://ca.test:8080/crl/tls-1.crl").shows("basicConstraints").shows("critical").shows("current");
        assert_eq!(browser.get("/authorities/none").await.status, 404);
    }

    async fn of_several_certificates_of_an_issuer_one_is_the_current(at) {
        let pages = Pages::over(at).await;
        pages.authority.renew_issuer(&Actor::host(0, "root"), "tls-1", Some(2)).await.unwrap();
        let newest = pages.authority.snapshot().issuer("tls-1").unwrap().certificate().unwrap().certificate_id.unwrap();
        let page = pages.signed_in(Role::Viewer).await.get("/authorities/tls-1").await;
        let (_, rest) = page.html.split_once("<h2>Certificate <span class=\"tag\">current</span></h2>").unwrap();
        assert!(rest.trim_start().starts_with(&format!("<a class=\"small\" href=\"/certificates/{newest}\">")), "{rest}");
        assert!(rest.contains("<h2>Certificate</h2>") && !rest.contains("tag\">current"), "{rest}");
    }

    async fn commands_in_texts_are_shown_as_code(at) {
        let pages = Pages::over(at).await;
        let mut admin = pages.signed_in(Role::Admin).await;
        let (account, _) = failed_order(&at.store).await;
        let (page, action) = (format!("/accounts/{account}"), format!("/accounts/{account}/grant"));
        let refused = admin.submit(&page, &action, &[("grant", "nothing")]).await;
        refused.shows("<strong>Not accepted:</strong>").hides("`");
        admin.get("/nope").await.shows("Not found").hides("List the collection").hides("`");
    }

    async fn an_order_says_why_it_failed(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.signed_in(Role::Operator).await;
        browser.get("/orders").await.shows("No order yet.");
        let (account, order) = failed_order(&at.store).await;
        browser.get("/orders").await.shows("app.lab.example").shows("10.20.4.7:80 &#60;refused&#62;");
        let page = browser.get(&format!("/orders/{order}")).await;
        page.shows("In one sentence:").shows("10.20.4.7:80 &#60;refused&#62;").hides("<refused>");
        page.shows("What the CA saw").shows(">ordered<").shows("/timeline");
        browser.get("/orders?name=app.lab.example").await.shows("app.lab.example").shows(&format!("/orders/{order}"));
        browser.get("/orders?name=app*").await.shows(&format!("/orders/{order}"));
        browser.get("/orders?name=other.lab.example").await.shows("No order for").hides(&format!("/orders/{order}"));
        browser.get("/orders?name=%3Cscript%3E").await.hides("<script>");
        browser.get("/accounts").await.shows("ops@lab.example").shows("10.0.0.9");
        browser.get(&format!("/accounts/{account}")).await.shows("EC P-256").shows("app.lab.example");
        assert_eq!(browser.get("/orders/ord_x").await.status, 404);
        let mut requester = pages.signed_in(Role::Requester).await;
        for path in ["/orders", "/accounts", &format!("/orders/{order}"), &format!("/accounts/{account}")] {
            assert_eq!(requester.get(path).await.status, 403, "{path}");
        }
    }

    async fn an_account_is_put_under_a_grant(at) {
        let pages = Pages::over(at).await;
        let mut admin = pages.signed_in(Role::Admin).await;
        let (account, _) = failed_order(&at.store).await;
        let (page, action) = (format!("/accounts/{account}"), format!("/accounts/{account}/grant"));
        admin.get(&page).await.shows("none: every name is proved").shows("Put it under a grant");
        let refused = admin.submit(&page, &action, &[("grant", "grt_nothing<")]).await;
        assert_eq!(refused.status, 422);
        refused.shows("account.grant").shows("value=\"grt_nothing&#60;\"");
        let new = NewGrant { name: "later".into(), allow_names: Some(vec!["lab.example".into()]), ..NewGrant::default() };
        let grant = pages.access.create_grant(&Actor::system("test"), &new, None, |_| Ok(String::new())).await.unwrap();
        let grant = grant.id.to_string();
        assert_eq!(admin.submit(&page, &action, &[("grant", &format!(" {grant} "))]).await.leads(), (303, page.as_str()));
        admin.get(&page).await.shows(&grant).hides("none: every name is proved");
        let mut viewer = pages.signed_in(Role::Viewer).await;
        viewer.get(&page).await.shows(&grant).hides("Put it under a grant");
        assert_eq!(viewer.submit("/", &action, &[("grant", &grant)]).await.status, 403);
    }

    async fn changed_terms_are_agreed_to_on_a_page_of_their_own(at) {
        let pages = Pages::over(at).await;
        let (account, _) = failed_order(&at.store).await;
        let terms = "https://ca.example/terms?a=1&b=<2>";
        let config = DirectoryConfig {
            terms_of_service: Some(terms.replace(['<', '>'], "")),
            require_current_terms: true,
            ..DirectoryConfig::default()
        };
        let registration = &pages.registration;
        registration.change_directory(&Actor::system("test"), "default", config).await.unwrap();
        let directory = registration.directory("default").unwrap();
        let stored = registration.any_account(account).await.unwrap().unwrap();
        let error = registration.check_terms(&Origin::default(), &directory, &stored).await.unwrap_err();
        let path = error.visit.unwrap();
        let mut browser = pages.browser();
        let page = browser.get(&path).await;
        assert_eq!(page.status, 200);
        page.shows("https://ca.example/terms?a=1&#38;b=2").shows("ops@lab.example").shows("I have read them and agree");
        // looking agrees to nothing, and no page of another site can
        assert!(registration.check_terms(&Origin::default(), &directory, &stored).await.is_err());
        assert_eq!(browser.post_from("https://evil.test", &path, &[]).await.status, 403);
        assert_eq!(browser.get(&format!("{path}x")).await.status, 404);
        let agreed = browser.post(&path, &[]).await;
        assert_eq!(agreed.status, 200);
        agreed.shows("has agreed to").hides("I have read them and agree");
        let stored = registration.any_account(account).await.unwrap().unwrap();
        registration.check_terms(&Origin::default(), &directory, &stored).await.unwrap();
        browser.get(&path).await.shows("has agreed to");
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'account.terms_agreed'").await, 1);
    }

    async fn a_token_is_shown_once_and_revoked(at) {
        let pages = Pages::over(at).await;
        let mut admin = pages.signed_in(Role::Admin).await;
        let fields = [
            ("name", "ci"),
            ("role", "requester"),
            ("expires", "30d"),
            ("allow_names", "lab.example\n10.0.0.0/8"),
            ("profiles", "tls-server"),
        ];
        let page = admin.submit("/tokens", "/tokens", &fields).await;
        assert_eq!(page.status, 200);
        let (_, rest) = page.html.split_once("data-copy=\"secret\">").unwrap();
        let secret = rest.split('<').next().unwrap().to_owned();
        let caller = pages.access.caller(&secret, "req_1").await.unwrap();
        assert_eq!(caller.role(), Role::Requester);
        let list = admin.get("/tokens").await;
        list.hides(&secret).shows("names: lab.example, 10.0.0.0/8").shows("profiles: tls-server").shows("in 30 days");
        let path = list.html.split("action=\"").find(|p| p.starts_with("/tokens/tok_")).unwrap();
        let path = path.split('"').next().unwrap().to_owned();
        assert_eq!(admin.submit("/tokens", &path, &[]).await.leads(), (303, "/tokens"));
        assert!(pages.access.caller(&secret, "req_2").await.is_err());
        assert_eq!(admin.submit("/tokens", &path, &[]).await.status, 409);
        let long = [("name", "ci"), ("role", "requester"), ("expires", "900d")];
        let page = admin.submit("/tokens", "/tokens", &long).await;
        assert_eq!(page.status, 422);
        page.shows("lasts 1s to 365d").shows("value=\"900d\"");

        let mut auditor = pages.signed_in(Role::Auditor).await;
        auditor.get("/tokens").await.shows("ci").hides("New token");
        let page = auditor.submit("/", "/tokens", &[("name", "x"), ("role", "admin")]).await;
        assert_eq!(page.status, 403);
        let mut operator = pages.signed_in(Role::Operator).await;
        assert_eq!(operator.get("/tokens").await.status, 403);
    }

    async fn an_eab_key_is_shown_once_and_revoked(at) {
        let pages = Pages::over(at).await;
        let mut admin = pages.signed_in(Role::Admin).await;
        let none = [("name", "cluster"), ("directory", "default"), ("allow_names", " ")];
        let page = admin.submit("/eab-keys", "/eab-keys", &none).await;
        assert_eq!(page.status, 422);
        page.shows("eab.names").shows("value=\"cluster\"");
        let fields = [
            ("name", "cluster"),
            ("directory", "default"),
            ("allow_names", "lab.example"),
            ("expires", "30d"),
            ("max_accounts", "3"),
        ];
        let page = admin.submit("/eab-keys", "/eab-keys", &fields).await;
        assert_eq!(page.status, 200, "{}", page.html);
        page.shows("--eab-kid eab_").shows("https://ca.test:8443/acme/default/directory");
        let (_, rest) = page.html.split_once("data-copy=\"secret\">").unwrap();
        let hmac = rest.split('<').next().unwrap().to_owned();
        assert!(hmac.len() >= 43, "256 bits or more");
        let list = admin.get("/eab-keys").await;
        list.hides(&hmac).shows("lab.example").shows("0 of 3").shows("class=\"is active\"");
        let path = list.html.split("action=\"").find(|p| p.starts_with("/eab-keys/eab_")).unwrap();
        let path = path.split('"').next().unwrap().to_owned();
        assert_eq!(admin.submit("/eab-keys", &path, &[("accounts", "1")]).await.leads(), (303, "/eab-keys"));
        admin.get("/eab-keys").await.shows("class=\"is revoked\"").hides("class=\"is active\"");
        let mut viewer = pages.signed_in(Role::Viewer).await;
        assert_eq!(viewer.submit("/", "/eab-keys", &fields).await.status, 403);
    }

    async fn an_administrator_manages_users(at) {
        let pages = Pages::over(at).await;
        let mut admin = pages.signed_in(Role::Admin).await;
        let page = admin.submit("/users", "/users", &[("name", "Bob"), ("role", "operator"), ("password", "short")]).await;
        assert_eq!(page.status, 422);
        page.shows("user.password").shows("value=\"Bob\"");
        let made = admin.submit("/users", "/users", &[("name", "Bob"), ("role", "operator"), ("password", PASSWORD)]).await;
        let (status, path) = made.leads();
        let path = path.to_owned();
        assert_eq!(status, 303, "{}", made.html);
        let again = admin.submit("/users", "/users", &[("name", "bob"), ("role", "viewer"), ("password", PASSWORD)]).await;
        assert_eq!(again.status, 409);
        let mut bob = pages.browser();
        bob.sign_in("bob", PASSWORD).await;
        assert_eq!(bob.get("/users").await.status, 403);
        assert_eq!(bob.submit("/", &path, &[("action", "role"), ("role", "admin")]).await.status, 403);
        for fields in [&[("action", "role"), ("role", "viewer")][..], &[("action", "disable")], &[("action", "enable")]] {
            assert_eq!(admin.submit(&path, &path, fields).await.leads(), (303, path.as_str()), "{fields:?}");
        }
        admin.get(&path).await.shows("user.role_changed").shows("user.disabled").shows("user.enabled");
        assert_eq!(bob.get("/").await.status, 303, "signed out by the change of role");
        let list = admin.get("/users").await;
        let own = list.html.split("href=\"").find(|p| p.starts_with("/users/") && p.contains(">admin</a>")).unwrap().split('"').next().unwrap().to_owned();
        let page = admin.submit(&own, &own, &[("action", "disable")]).await;
        assert_eq!(page.status, 409);
        page.shows("user.last_admin");
    }

    async fn people_change_their_password_and_end_sessions(at) {
        let pages = Pages::over(at).await;
        let mut here = pages.signed_in(Role::Viewer).await;
        let mut there = pages.browser();
        there.sign_in("viewer", PASSWORD).await;
        let page = here.get("/me").await;
        page.shows("this one").shows("10.0.0.7");
        let end = page.html.split("action=\"").find(|p| p.starts_with("/me/sessions/")).unwrap();
        let end = end.split('"').next().unwrap().to_owned();
        assert_eq!(here.submit("/me", &end, &[]).await.leads(), (303, "/me"));
        assert_eq!(there.get("/").await.status, 303);
        there.sign_in("viewer", PASSWORD).await;
        let new = "orange meadow seven";
        let wrong = [("old", "not it"), ("password", new), ("repeated", new)];
        assert_eq!(here.submit("/me", "/me", &wrong).await.status, 422);
        let good = [("old", PASSWORD), ("password", new), ("repeated", new)];
        assert_eq!(here.submit("/me", "/me", &good).await.leads(), (303, "/me?changed=1"));
        assert_eq!(here.get("/").await.status, 200, "this session goes on");
        assert_eq!(there.get("/").await.status, 303, "the other one has ended");
        assert_eq!(there.sign_in("viewer", PASSWORD).await.status, 401);
    }

    async fn audit_shows_all_or_one_object(at) {
        let pages = Pages::over(at).await;
        let mut auditor = pages.signed_in(Role::Auditor).await;
        let user = pages.access.users(None, 10).await.unwrap().remove(0);
        auditor.get("/audit").await.shows("user.created").shows("certificate.issued");
        let page = auditor.get(&format!("/audit?object={}", user.object())).await;
        page.shows("user.created").shows("session.created").hides("certificate.issued");
        for role in [Role::Viewer, Role::Requester] {
            let mut other = pages.signed_in(role).await;
            assert_eq!(other.get("/audit").await.status, 403);
        }
    }

    async fn connect_needs_no_account_and_has_both_spellings(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.browser();
        let page = browser.get("/connect").await;
        assert_eq!(page.status, 200);
        let root = pages.authority.snapshot().roots("tls")[0].to_vec();
        let hex: Vec<String> = openssl::sha::sha256(&root).iter().map(|b| format!("{b:02x}")).collect();
        let grouped = hex.chunks(4).map(|c| c.concat()).collect::<Vec<_>>().join(" ");
        page.shows(&hex.join(":").to_uppercase()).shows(&grouped).shows(&hex.concat());
        page.shows("--server https://ca.test:8443/acme/default/directory").shows("/root.pem").hides("Sign out");
        page.shows("git config --global http.https://ca.test:8443/.sslCAInfo").hides("--eab-kid");
        let config = DirectoryConfig { external_account_required: true, ..DirectoryConfig::default() };
        pages.registration.change_directory(&Actor::system("test"), "default", config).await.unwrap();
        let page = browser.get("/connect").await;
        page.shows("takes accounts by key only").shows("chancery acme eab create").shows("--eab-kid KID --eab-hmac-key");
    }
}
