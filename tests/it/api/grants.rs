//! Grants, EAB keys and ACME directories by REST: one object bounds tokens and keys alike.

use std::time::Duration;

use axum::http::Request;
use chancery::model::actor::Role;
use serde_json::{Value, json};

use super::room::{Answer, CERTIFICATES, Room};
use crate::support::acme_rows;

const GRANTS: &str = "/api/v1/grants";
const KEYS: &str = "/api/v1/acme/eab-keys";
const DIRECTORIES: &str = "/api/v1/acme/directories";

fn wish(name: &str) -> Value {
    json!({"names": [name], "profile": "tls-server"})
}

/// A grant and a requester's token under it.
async fn under(room: &Room, grant: Value) -> (String, String) {
    let mut whole = json!({"name": "team"});
    whole.as_object_mut().unwrap().extend(grant.as_object().unwrap().clone());
    let made = room.post(&room.admin, GRANTS, &whole).await;
    assert_eq!(made.status.as_u16(), 201, "{}", made.json());
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let token = json!({"name": "ci", "grant": id});
    let token = room.post(&room.admin, "/api/v1/tokens", &token).await.json();
    assert_eq!(token["grant"], id.as_str());
    (id, token["secret"].as_str().unwrap().to_owned())
}

#[track_caller]
fn rule(answer: &Answer) -> String {
    assert_eq!(answer.refusal().0, 403, "{}", answer.json());
    let body = answer.json();
    for member in ["value", "allowed", "fix"] {
        assert!(!body[member].as_str().unwrap().is_empty(), "{body}");
    }
    body["rule"].as_str().unwrap().to_owned()
}

crate::on_both_engines! {
    async fn a_grant_with_a_rule_for_no_name_or_a_time_out_of_range_is_refused_in_a_sentence(at) {
        let room = Room::over(at).await;
        let rows = [
            (json!({"allow_names": ["*.*.x.example"]}), "an asterisk may only be the first label"),
            (json!({"allow_names": [".*.x.example"]}), "an asterisk may only be the first label"),
            (json!({"expires": "0d"}), "lasts 1s to 3650d"),
            (json!({"expires": "99999999d"}), "lasts 1s to 3650d"),
            (json!({"expires": "99999999999999999999999d"}), "lasts 1s to 3650d"),
            (json!({"expires": "soon"}), "is not a time"),
        ];
        for (more, sentence) in rows {
            let mut body = json!({"name": "team", "allow_names": ["lab.example"]});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let answer = room.post(&room.admin, GRANTS, &body).await;
            assert!([400, 422].contains(&answer.status.as_u16()), "{body}: {}", answer.json());
            assert!(answer.json()["detail"].as_str().unwrap().contains(sentence), "{body}: {}", answer.json());
        }
        for (path, days) in [("/api/v1/tokens", "365d"), (KEYS, "3650d")] {
            for expires in ["0d", "99999999d"] {
                let body = json!({"name": "x", "allow_names": ["lab.example"], "expires": expires});
                let answer = room.post(&room.admin, path, &body).await;
                assert_eq!(answer.status.as_u16(), 422, "{path}: {}", answer.json());
                let detail = answer.json()["detail"].as_str().unwrap().to_owned();
                assert!(detail.contains(&format!("lasts 1s to {days}")), "{path}: {detail}");
            }
        }
        assert_eq!(room.get(&room.admin, GRANTS).await.json()["items"].as_array().unwrap().len(), 0);
    }

    async fn a_grant_is_made_read_and_revoked_with_its_tokens(at) {
        let room = Room::over(at).await;
        let (id, token) = under(&room, json!({"allow_names": ["lab.example"], "max_count": 5})).await;
        room.issue(&token, "a.lab.example").await;
        let shown = room.get(&token, &format!("{GRANTS}/{id}")).await.json();
        assert_eq!((&shown["status"], &shown["used_count"], &shown["max_count"]), (&json!("active"), &json!(1), &json!(5)));
        assert_eq!(shown["scope"], json!({"names": ["lab.example"], "subjects": [], "profiles": ["*"], "issuers": ["*"]}));
        let list = room.get(&room.admin, GRANTS).await.json();
        assert_eq!(list["items"][0], shown);
        let path = format!("{GRANTS}/{id}/revocation");
        let ended = room.post(&room.admin, &path, &json!({})).await;
        assert_eq!((ended.status.as_u16(), &ended.json()["tokens"]), (201, &json!(1)));
        assert_eq!(ended.json()["grant"]["status"], "revoked");
        assert_eq!(room.post(&token, CERTIFICATES, &wish("b.lab.example")).await.refusal(), (401, "unauthenticated".into()));
        assert_eq!(room.post(&room.admin, &path, &json!({})).await.refusal(), (409, "conflict".into()));
        assert_eq!(room.get(&room.admin, &format!("{GRANTS}/grt_00000000000000000000000000")).await.refusal().0, 404);
        let late = json!({"name": "late", "grant": id});
        assert_eq!(rule(&room.post(&room.admin, "/api/v1/tokens", &late).await), "grant.revoked");
    }

    async fn two_tokens_at_once_with_one_left_get_one_certificate(at) {
        let room = Room::over(at).await;
        for _ in 0..4 {
            let (id, one) = under(&room, json!({"allow_names": ["lab.example"], "max_count": 1})).await;
            let two = room.post(&room.admin, "/api/v1/tokens", &json!({"name": "two", "grant": id})).await.json();
            let two = two["secret"].as_str().unwrap().to_owned();
            let before = room.count().await;
            let (first, second) = (wish("a.lab.example"), wish("b.lab.example"));
            let (a, b) = tokio::join!(room.post(&one, CERTIFICATES, &first), room.post(&two, CERTIFICATES, &second));
            let (won, lost) = if a.status.as_u16() == 201 { (a, b) } else { (b, a) };
            assert_eq!(won.status.as_u16(), 201);
            assert_eq!(rule(&lost), "grant.count");
            assert_eq!(lost.json()["value"], "certificate number 2");
            assert_eq!(room.count().await, before + 1);
            assert_eq!(room.get(&room.admin, &format!("{GRANTS}/{id}")).await.json()["status"], "used_up");
        }
    }

    async fn one_second_past_its_end_is_too_late(at) {
        let room = Room::over(at).await;
        let (_, token) = under(&room, json!({"allow_names": ["lab.example"], "expires": "1h"})).await;
        room.clock.advance(Duration::from_secs(3599));
        room.issue(&token, "a.lab.example").await;
        room.clock.advance(Duration::from_secs(1));
        let late = room.post(&token, CERTIFICATES, &wish("a.lab.example")).await;
        assert_eq!(rule(&late), "grant.expires");
        assert!(late.json()["value"].as_str().unwrap().starts_with("a request at 20"));
        assert!(late.json()["allowed"].as_str().unwrap().contains("expired at 20"));
    }

    async fn an_empty_list_means_nothing(at) {
        let room = Room::over(at).await;
        for (lists, expected) in [
            (json!({}), "grant.names"),
            (json!({"allow_names": []}), "grant.names"),
            (json!({"allow_names": ["*"], "profiles": []}), "grant.profiles"),
            (json!({"allow_names": ["*"], "issuers": []}), "grant.issuers"),
        ] {
            let (_, token) = under(&room, lists.clone()).await;
            let refused = room.post(&token, CERTIFICATES, &wish("a.lab.example")).await;
            assert_eq!(rule(&refused), expected, "{lists}");
            assert_eq!(refused.json()["allowed"], "nothing");
            let value = refused.json()["value"].as_str().unwrap().to_owned();
            assert!(["\"a.lab.example\"", "\"tls-server\"", "\"tls-1\""].contains(&value.as_str()), "{value}");
        }
    }

    async fn reserved_names_need_explicit_mention(at) {
        let room = Room::over(at).await;
        let (_, wide) = under(&room, json!({"allow_names": ["*"]})).await;
        let names = ["localhost", "db.default.svc", "127.0.0.1", "kubernetes.default"];
        for name in names {
            assert_eq!(rule(&room.post(&wide, CERTIFICATES, &wish(name)).await), "names.allow", "{name}");
        }
        let mention = json!({"allow_names": ["=localhost", "svc", "127.0.0.1", "=kubernetes.default"]});
        let (_, token) = under(&room, mention).await;
        for name in names {
            room.issue(&token, name).await;
        }
    }

    async fn wildcards_are_names_of_their_own(at) {
        let room = Room::over(at).await;
        let (_, exact) = under(&room, json!({"allow_names": ["=*.lab.example", "=a.test.example"]})).await;
        room.issue(&exact, "*.lab.example").await;
        room.issue(&exact, "a.test.example").await;
        for name in ["lab.example", "a.lab.example", "*.test.example", "*.a.test.example", "*.example"] {
            assert_eq!(rule(&room.post(&exact, CERTIFICATES, &wish(name)).await), "grant.names", "{name}");
        }
    }

    async fn what_a_grant_may_not_be_is_refused(at) {
        let room = Room::over(at).await;
        for (grant, rule) in [
            (json!({"name": ""}), "grant.name"),
            (json!({"name": "a", "max_count": 0}), "grant.max_count"),
            (json!({"name": "a", "expires": "4000d"}), "grant.expires"),
        ] {
            let answer = room.post(&room.admin, GRANTS, &grant).await;
            assert_eq!((answer.refusal().0, answer.json()["rule"].clone()), (422, json!(rule)), "{grant}");
        }
        for bad in [json!({"name": "a", "allow_names": ["a..b"]}), json!({"name": "a", "names": ["a"]}), json!({})] {
            assert_eq!(room.post(&room.admin, GRANTS, &bad).await.refusal().0, 400, "{bad}");
        }
        let (id, token) = under(&room, json!({"allow_names": ["*"]})).await;
        let both = json!({"name": "x", "grant": id, "allow_names": ["a.example"]});
        assert_eq!(room.post(&room.admin, "/api/v1/tokens", &both).await.json()["rule"], "token.grant");
        assert_eq!(room.post(&room.admin, KEYS, &both).await.json()["rule"], "eab.grant");
        // nobody makes a grant but an administrator without one
        for caller in [&token, &room.token(Role::Operator, None, None).await] {
            assert_eq!(room.post(caller, GRANTS, &json!({"name": "a"})).await.refusal(), (403, "forbidden".into()));
            assert_eq!(room.post(caller, KEYS, &json!({"name": "a"})).await.refusal(), (403, "forbidden".into()));
        }
        let bounded = room.token(Role::Admin, Some(&["lab.example"]), None).await;
        assert_eq!(room.post(&bounded, GRANTS, &json!({"name": "a"})).await.json()["rule"], "token.scope");
    }

    async fn an_eab_key_is_told_once_and_hangs_on_its_grant(at) {
        let room = Room::over(at).await;
        let body = json!({"name": "cluster-a", "allow_names": ["lab.example"], "max_accounts": 2}).to_string();
        let once = [("idempotency-key", "one")];
        let made = room.post_raw(&room.admin, KEYS, &once, body.clone()).await;
        assert_eq!((made.status.as_u16(), made.headers["cache-control"].to_str().unwrap()), (201, "no-store"));
        let made = made.json();
        let secret = made["hmac_key"].as_str().unwrap();
        assert_eq!(secret.len(), 43, "32 bytes in base64url without padding");
        let again = room.post_raw(&room.admin, KEYS, &once, body).await;
        assert_eq!((&again.json()["id"], again.json().get("hmac_key")), (&made["id"], None));
        let (id, grant) = (made["id"].as_str().unwrap(), made["grant"].as_str().unwrap());
        for path in [KEYS.to_owned(), format!("{KEYS}/{id}"), "/api/v1/audit-events".into(), GRANTS.into()] {
            let shown = room.get(&room.admin, &path).await;
            assert_eq!(shown.status.as_u16(), 200);
            assert!(!String::from_utf8(shown.bytes).unwrap().contains(secret), "{path}");
        }
        let shared = json!({"name": "cluster-b", "grant": grant, "expires": "10d"});
        let shared = room.post(&room.admin, KEYS, &shared).await.json();
        assert_eq!(shared["grant"], grant);
        let one = format!("{KEYS}/{id}/revocation");
        assert_eq!(room.post(&room.admin, &one, &json!({})).await.json()["status"], "revoked");
        assert_eq!(room.post(&room.admin, &one, &json!({})).await.refusal(), (409, "conflict".into()));
        let ended = room.post(&room.admin, &format!("{GRANTS}/{grant}/revocation"), &json!({})).await.json();
        assert_eq!(ended["eab_keys"], 1);
        let path = format!("{KEYS}/{}", shared["id"].as_str().unwrap());
        assert_eq!(room.get(&room.admin, &path).await.json()["status"], "revoked");
        let nowhere = json!({"name": "a", "directory": "none"});
        assert_eq!(room.post(&room.admin, KEYS, &nowhere).await.json()["rule"], "eab.directory");
    }

    async fn an_account_that_is_there_is_put_under_a_grant(at) {
        let room = Room::over(at).await;
        let account = acme_rows::stored_account(&at.store).await.id;
        let made = room.post(&room.admin, GRANTS, &json!({"name": "later", "allow_names": ["lab.example"]})).await.json();
        let (grant, path) = (&made["id"], format!("/api/v1/acme/accounts/{account}/grant"));
        let asked = json!({"grant": grant});
        let answer = put(&room, &path, &asked).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"account": account.to_string(),
            "directory": "default", "grant": grant, "eab_key": null})));
        assert_eq!(put(&room, &path, &asked).await.status.as_u16(), 200, "again is harmless");
        let told = at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'account.granted'").await;
        assert_eq!(told, 2);
        for (path, body, status) in [
            (path.as_str(), json!({"grant": "grt_00000000000000000000000000"}), 404),
            (&path, json!({"grant": "x"}), 404),
            (&path, json!({}), 400),
            ("/api/v1/acme/accounts/acc_00000000000000000000000000/grant", asked.clone(), 404),
            ("/api/v1/acme/accounts/x/grant", asked.clone(), 404),
        ] {
            assert_eq!(put(&room, path, &body).await.refusal().0, status, "{path} {body}");
        }
        // a token within bounds hands out no names
        let bounded = room.token(Role::Operator, Some(&["lab.example"]), None).await;
        let head = Request::put(&path).header("authorization", format!("Bearer {bounded}"));
        let head = head.header("content-type", "application/json");
        assert_eq!(room.send(head.body(asked.to_string().into()).unwrap()).await.refusal().0, 403);
        room.post(&room.admin, &format!("{GRANTS}/{}/revocation", grant.as_str().unwrap()), &json!({})).await;
        let other = room.post(&room.admin, GRANTS, &json!({"name": "other"})).await.json();
        assert_eq!(put(&room, &path, &json!({"grant": other["id"]})).await.refusal(), (409, "conflict".into()));
    }

    async fn a_directory_says_what_it_offers(at) {
        let room = Room::over(at).await;
        let list = room.get(&room.admin, DIRECTORIES).await.json();
        let told = json!({"slug": "default", "profiles": ["tls-server"], "challenges": ["http-01", "dns-01", "tls-alpn-01"], "caa": "off", "caa_identities": [],
            "external_account_required": false, "resolvers": [], "terms_of_service": null, "website": null});
        for (member, value) in told.as_object().unwrap() {
            assert_eq!(&list["items"][0][member], value, "{member}");
        }
        let asked = json!({"slug": "cluster-a", "external_account_required": true, "challenges": []});
        let made = room.post(&room.admin, DIRECTORIES, &asked).await;
        assert_eq!((made.status.as_u16(), &made.json()["challenges"]), (201, &json!([])));
        assert_eq!(room.post(&room.admin, DIRECTORIES, &asked).await.refusal(), (409, "conflict".into()));
        let path = format!("{DIRECTORIES}/cluster-a");
        let mut rules = made.json();
        // what GET gives may be sent back
        assert_eq!(put(&room, &path, &rules).await.json(), made.json());
        rules["slug"] = json!("cluster-b");
        let renamed = put(&room, &path, &rules).await;
        assert_eq!((renamed.refusal().0, &renamed.json()["rule"]), (422, &json!("directory.slug")));
        rules.as_object_mut().unwrap().remove("slug");
        for (member, value, rule) in [
            ("profiles", json!(["none"]), "directory.profiles"),
            ("challenges", json!(["tls-sni-01"]), "directory.challenges"),
            ("resolvers", json!(["10.0.0.53"]), "directory.resolvers"),
            ("resolvers", json!(["0.0.0.0:53"]), "directory.resolvers"),
            ("website", json!("javascript:alert(1)"), "directory.url"),
            ("caa", json!("maybe"), "directory.caa"),
            ("caa", json!("enforce"), "directory.caa_identities"),
            ("challenges", json!(["dns-persist-01"]), "directory.caa_identities"),
            ("caa_identities", json!(["ca_x"]), "directory.caa_identities"),
            ("caa_identities", json!(["*.ca.example"]), "directory.caa_identities"),
        ] {
            let mut bad = rules.clone();
            bad[member] = value;
            let answer = put(&room, &path, &bad).await;
            assert_eq!((answer.refusal().0, &answer.json()["rule"]), (422, &json!(rule)), "{bad}");
        }
        rules["resolvers"] = json!(["10.0.0.53:53"]);
        assert_eq!(put(&room, &path, &rules).await.json()["resolvers"], json!(["10.0.0.53:53"]));
        (rules["caa"], rules["caa_identities"]) = (json!("enforce"), json!(["CA.Example"]));
        rules["challenges"] = json!(["tls-alpn-01", "dns-account-01", "dns-persist-01"]);
        let changed = put(&room, &path, &rules).await.json();
        assert_eq!((&changed["caa"], &changed["caa_identities"]), (&json!("enforce"), &json!(["ca.example"])));
        assert_eq!(room.get(&room.admin, &path).await.json(), changed);
        assert_eq!(put(&room, &format!("{DIRECTORIES}/none"), &rules).await.refusal().0, 404);
        for slug in ["", "A", "a/b", "-a", "a b"] {
            let answer = room.post(&room.admin, DIRECTORIES, &json!({"slug": slug})).await;
            assert_eq!((answer.refusal().0, &answer.json()["rule"]), (422, &json!("directory.slug")), "{slug}");
        }
    }
}

async fn put(room: &Room, path: &str, body: &Value) -> Answer {
    let head = Request::put(path).header("authorization", format!("Bearer {}", room.admin));
    room.send(head.header("content-type", "application/json").body(body.to_string().into()).unwrap()).await
}
