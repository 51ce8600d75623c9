//! Issue from a CSR, find, look, download, revoke: the journey of an operator.

use chancery::authority::renewal::MoveRenewals;
use chancery::model::actor::{Actor, Role};
use chancery::model::renewal::RenewalFilter;
use openssl::x509::X509;

use super::browser::{Browser, Pages};
use crate::api::room::csr;
use crate::on_both_engines;

/// The path of the certificate's page.
async fn issue(browser: &mut Browser, names: &[&str]) -> String {
    let csr = csr(names);
    let fields = [("csr", csr.as_str()), ("profile", "tls-server"), ("ttl", ""), ("action", "issue")];
    let page = browser.submit("/certificates/new", "/certificates", &fields).await;
    let (status, path) = page.leads();
    assert_eq!(status, 303, "{}", page.html);
    path.strip_suffix("?new=1").unwrap().to_owned()
}

on_both_engines! {
    async fn an_operator_issues_finds_and_downloads(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.signed_in(Role::Operator).await;
        browser.get("/certificates?q=web").await.shows("No certificate fits.");
        let path = issue(&mut browser, &["web.lab.example", "www.lab.example"]).await;
        let page = browser.get(&path).await;
        page.shows("www.lab.example").shows("tls-1").shows("tls-server").shows("operator").shows("Revoke…");
        browser.get("/certificates").await.shows("web.lab.example").shows("+1").shows("in 89 days");
        browser.get("/certificates?q=web").await.shows("web.lab.example");
        browser.get("/certificates?q=*.lab.example").await.shows("web.lab.example");
        browser.get("/certificates?q=https%3A%2F%2Fwww.lab.example%2Fx").await.shows("web.lab.example");
        browser.get("/certificates?q=other").await.shows("No certificate fits.");
        browser.get("/certificates?status=revoked").await.shows("No certificate fits.");
        browser.get("/certificates?within=7").await.shows("No certificate fits.");

        let pem = browser.get(&format!("{path}.pem")).await;
        assert_eq!(pem.headers["content-disposition"], "attachment; filename=\"web.lab.example.pem\"");
        let leaf = X509::from_pem(pem.html.as_bytes()).unwrap();
        assert_eq!(X509::stack_from_pem(browser.get(&format!("{path}.chain.pem")).await.html.as_bytes()).unwrap().len(), 2);
        assert_eq!(browser.get(&format!("{path}.p12")).await.status, 404);
        let serial = leaf.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string();
        let colons = serial.as_bytes().chunks(2).map(|c| std::str::from_utf8(c).unwrap()).collect::<Vec<_>>().join("%3A");
        assert_eq!(browser.get(&format!("/certificates?q={colons}")).await.leads().1, path, "a serial leads there");
        let digest = leaf.digest(openssl::hash::MessageDigest::sha256()).unwrap();
        let print: String = digest.iter().map(|b| format!("{b:02X}")).collect();
        assert_eq!(browser.get(&format!("/certificates?q={print}")).await.leads().1, path, "and a fingerprint");
    }

    async fn a_wrong_clock_is_named_on_the_page_that_issues(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.signed_in(Role::Operator).await;
        let before = issue(&mut browser, &["web.lab.example"]).await;
        let csr = csr(&["www.lab.example"]);
        let fields = [("csr", csr.as_str()), ("profile", "tls-server"), ("ttl", ""), ("action", "issue")];
        at.clock.jump(-600);
        let page = browser.submit("/certificates/new", "/certificates", &fields).await;
        assert_eq!(page.status, 503);
        page.shows("clock is 10 minutes behind ");
        at.clock.jump(600);
        browser.get("/certificates?q=www").await.shows("No certificate fits.");
        browser.get(&before).await.shows("web.lab.example");
    }

    async fn the_pages_tell_when_clients_are_told_to_renew(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.signed_in(Role::Operator).await;
        let path = issue(&mut browser, &["web.lab.example"]).await;
        at.clock.advance(chancery::clock::minutes(1));
        browser.get(&path).await.shows("told to ACME clients").hides("moved:");
        browser.get("/authorities/tls-1").await.hides("Moved renewals");
        let filter = RenewalFilter { name: Some("*.lab.example".into()), ..RenewalFilter::default() };
        let rule = MoveRenewals {
            filter,
            reason: "<b>the lab moves</b>".into(),
            explanation_url: Some("https://wiki.lab.example/why".into()),
            ..MoveRenewals::default()
        };
        let rule = pages.authority.move_renewals(&Actor::system("test"), rule).await.unwrap();
        let page = browser.get(&path).await;
        page.shows("moved:").hides("<b>the lab").shows("https://wiki.lab.example/why");
        browser.get("/authorities/tls-1").await.shows("Moved renewals").shows(&rule.id.to_string()).hides("<b>the lab");
    }

    async fn a_refusal_stands_at_the_form_that_keeps_what_was_typed(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.signed_in(Role::Operator).await;
        let csr = csr(&["web.lab.example"]);
        let long = [("csr", csr.as_str()), ("profile", "tls-server"), ("ttl", "900d")];
        let page = browser.submit("/certificates/new", "/certificates", &long).await;
        assert_eq!(page.status, 403);
        page.shows("397").shows("value=\"900d\"").shows("BEGIN CERTIFICATE REQUEST").shows("role=\"alert\"");
        for (csr, status) in [("", 422), ("nonsense", 422), ("<script>alert(1)</script>", 422)] {
            let fields = [("csr", csr), ("profile", "tls-server")];
            let page = browser.submit("/certificates/new", "/certificates", &fields).await;
            assert_eq!(page.status.as_u16(), status, "{csr}: {}", page.html);
            page.hides("<script>alert");
        }
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM certificates WHERE requester LIKE 'user:%'").await, 0);
    }

    async fn checking_shows_what_would_be_issued_and_signs_nothing(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.signed_in(Role::Operator).await;
        let csr = csr(&["web.lab.example"]);
        let fields = [("csr", csr.as_str()), ("profile", "tls-server"), ("ttl", "30d"), ("action", "check")];
        let page = browser.submit("/certificates/new", "/certificates", &fields).await;
        assert_eq!(page.status, 200);
        page.shows("This would be issued").shows("30 days").shows("BEGIN CERTIFICATE REQUEST");
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM certificates WHERE requester LIKE 'user:%'").await, 0);
    }

    async fn a_hold_is_lifted_or_made_final_on_its_page(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.signed_in(Role::Operator).await;
        let path = issue(&mut browser, &["web.lab.example"]).await;
        let (form, lift) = (format!("{path}/revoke"), format!("{path}/lift"));
        let held = [("typed", "web.lab.example"), ("reason", "certificateHold")];
        browser.submit(&form, &form, &held).await;
        browser.get("/certificates").await.shows("certificateHold on ");
        browser.get(&path).await.shows("Lift the hold").shows("Revoke for good");
        let done = browser.submit(&path, &lift, &[]).await;
        assert_eq!(done.leads(), (303, format!("{path}?lifted=1").as_str()));
        browser.get(&format!("{path}?lifted=1")).await.shows("Good again").shows("Revoke…").hides("Lift the hold");
        assert_eq!(browser.submit(&path, &lift, &[]).await.status, 409);
        browser.submit(&form, &form, &held).await;
        let stolen = [("typed", "web.lab.example"), ("reason", "keyCompromise"), ("since", "2020-02-03T04:05")];
        let page = browser.get(&form).await;
        page.shows("certificateHold): that date stays").hides("certificateHold: for the time being");
        browser.submit(&form, &form, &[("typed", "web.lab.example"), ("reason", "keyCompromise"), ("since", "2999-01-01T00:00")]).await.shows("lies in the future");
        browser.submit(&form, &form, &stolen).await;
        let page = browser.get(&path).await;
        page.shows("keyCompromise").shows("key compromised since 2020-02-03 04:05 UTC").hides("Lift the hold").hides("Revoke for good");
        browser.get("/certificates").await.shows("key compromised since 2020-02-03");
    }

    async fn revoking_needs_the_name_and_says_what_was_revoked(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.signed_in(Role::Operator).await;
        let path = issue(&mut browser, &["web.lab.example"]).await;
        let other = issue(&mut browser, &["vpn.lab.example"]).await;
        let form = format!("{path}/revoke");
        browser.get(&form).await.shows("type <code>web.lab.example</code>");
        for typed in ["", "vpn.lab.example", "web"] {
            let page = browser.submit(&form, &form, &[("typed", typed), ("reason", "superseded")]).await;
            assert_eq!(page.status, 422, "{typed}");
            page.shows("nothing was revoked");
        }
        let done = browser.submit(&form, &form, &[("typed", " Web.Lab.Example "), ("reason", "superseded")]).await;
        assert_eq!(done.leads(), (303, format!("{path}?revoked=1").as_str()));
        let page = browser.get(&format!("{path}?revoked=1")).await;
        page.shows("<strong>Revoked.</strong>").shows("web.lab.example").shows("superseded").hides("Revoke…");
        browser.get(&other).await.shows("class=\"is valid\"");
        let again = browser.submit("/", &form, &[("typed", "web.lab.example")]).await;
        assert_eq!(again.status, 409);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM revocations").await, 1);
    }

    async fn revoking_an_issuer_shows_what_depends_on_it_and_what_is_left_to_do(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.signed_in(Role::Admin).await;
        let leaf = issue(&mut browser, &["web.lab.example"]).await;
        let own = |slug: &str| {
            let snapshot = pages.authority.snapshot();
            snapshot.issuer(slug).unwrap().certificate().unwrap().certificate_id.unwrap()
        };
        let root = format!("/certificates/{}", own("tls-root"));
        browser.get(&root).await.hides("Revoke…");
        assert_eq!(browser.get(&format!("{root}/revoke")).await.status, 409);
        let host = chancery::model::actor::Actor::host(0, "test");
        let file = pages.authority.export_root("tls-root", Some(b"a long password")).unwrap();
        pages.authority.take_root_offline(&host, "tls-root", &file, Some(b"a long password")).await.unwrap();
        let path = format!("/certificates/{}", own("tls-1"));
        let form = format!("{path}/revoke");
        let page = browser.get(&form).await;
        page.shows("Everything below it ends with it").shows("<dt>Valid certificates</dt><dd>1</dd>").shows("tls-server").shows("nobody");
        let word = page.html.split_once("type <code>").unwrap().1.split('<').next().unwrap().to_owned();
        browser.submit(&form, &form, &[("typed", &word), ("reason", "superseded")]).await;
        browser.get(&format!("{path}?revoked=1")).await.shows("<strong>Not yet in force.</strong>").shows("chancery ca crl sign tls-root");
        browser.get(&leaf).await.shows("<strong>Its issuer is revoked.</strong>").shows("tls-1");
        browser.get("/certificates").await.shows("issuer revoked");
        pages.authority.bring_root_online(&host, &file, Some(b"a long password")).await.unwrap();
        pages.authority.sign_crls(&host, "tls-root").await.unwrap();
        browser.get(&path).await.hides("Not yet in force");
    }

    async fn a_requester_without_a_grant_gets_the_sentence_of_rest(at) {
        let pages = Pages::over(at).await;
        let mut operator = pages.signed_in(Role::Operator).await;
        let theirs = issue(&mut operator, &["web.lab.example"]).await;
        let mut browser = pages.signed_in(Role::Requester).await;
        let csr = csr(&["mine.lab.example"]);
        let fields = [("csr", csr.as_str()), ("profile", "tls-server")];
        let page = browser.submit("/certificates/new", "/certificates", &fields).await;
        assert_eq!(page.status, 403);
        page.shows("without a grant");
        assert_eq!(browser.get(&theirs).await.status, 404, "what it may not see is not there");
        browser.get("/certificates").await.shows("No certificate yet.").hides(&theirs);
        assert_eq!(browser.get(&format!("{theirs}/revoke")).await.status, 404);
    }

    async fn names_of_others_are_text(at) {
        let pages = Pages::over(at).await;
        let mut browser = pages.signed_in(Role::Operator).await;
        let page = browser.get("/certificates?q=%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
        assert_eq!(page.status, 200);
        page.hides("<script>alert");
        assert_eq!(browser.get("/certificates?cursor=nonsense").await.status, 400);
        assert_eq!(browser.get("/certificates?q=a&q=b").await.status, 400);
    }
}
