//! Bad input: a 4xx problem with its reason, and nothing changed. Each row is one request.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::room::{CERTIFICATES, Room, csr};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("n{i}.lab.example")).collect()
}

fn mangled(csr: &str) -> String {
    // one character of the key or signature, so that it still decodes
    let middle = csr.len() / 2;
    let (head, tail) = csr.split_at(middle);
    let swapped = if tail.starts_with('A') { "B" } else { "A" };
    format!("{head}{swapped}{}", &tail[1..])
}

crate::on_both_engines! {
    async fn each_bad_body_is_refused_with_its_code(at) {
        let room = Room::over(at).await;
        let before = room.count().await;
        let good = csr(&["a.lab.example"]);
        let issue = |names: Value| json!({"names": names, "profile": "tls-server"}).to_string();
        let sign = |csr: &str| json!({"csr": csr, "profile": "tls-server"}).to_string();
        let truncated = good.lines().take(3).chain(["-----END CERTIFICATE REQUEST-----"]).collect::<Vec<_>>().join("\n");
        let rows: Vec<(&str, String, u16, &str)> = vec![
            ("nothing", String::new(), 400, "malformed"),
            ("no object", "[]".into(), 400, "malformed"),
            ("null", "null".into(), 400, "malformed"),
            ("half", r#"{"names":["#.into(), 400, "malformed"),
            ("two", r#"{"profile":"a","profile":"tls-server","names":["a.lab.example"]}"#.into(), 400, "malformed"),
            (
                "unknown member",
                r#"{"names":["a.lab.example"],"profile":"tls-server","tll":"1d"}"#.into(),
                400,
                "malformed",
            ),
            ("wrong type", issue(json!("a.lab.example")), 400, "malformed"),
            ("wrong element", issue(json!(["a.lab.example", 7])), 400, "malformed"),
            ("U+0000", issue(json!(["a\u{0}.lab.example"])), 400, "malformed"),
            ("deep", "[".repeat(10_000), 400, "malformed"),
            (
                "deep inside",
                format!(r#"{{"names":{}{},"profile":"x"}}"#, "[".repeat(10_000), "]".repeat(10_000)),
                400,
                "malformed",
            ),
            ("not UTF-8", String::from("{\"profile\":\"") + "\u{fffd}" + "\"}x", 400, "malformed"),
            ("neither", json!({"profile": "tls-server"}).to_string(), 422, "unprocessable"),
            (
                "both",
                json!({"csr": good, "names": ["a.lab.example"], "profile": "tls-server"}).to_string(),
                422,
                "unprocessable",
            ),
            ("101 names", issue(json!(names(101))), 413, "too_large"),
            ("no DNS name", issue(json!(["a..lab.example"])), 422, "unprocessable"),
            ("mixed scripts", issue(json!(["xn--a"])), 422, "unprocessable"),
            (
                "unknown profile",
                json!({"names": ["a.lab.example"], "profile": "nothing"}).to_string(),
                422,
                "invalid_profile",
            ),
            (
                "unknown issuer",
                json!({"names": ["a.lab.example"], "profile": "tls-server", "issuer": "x"}).to_string(),
                404,
                "not_found",
            ),
            (
                "bad ttl",
                json!({"names": ["a.lab.example"], "profile": "tls-server", "ttl": "soon"}).to_string(),
                400,
                "malformed",
            ),
            (
                "bad key",
                json!({"names": ["a.lab.example"], "profile": "tls-server", "key": "RSA-512"}).to_string(),
                400,
                "malformed",
            ),
            ("empty CSR", sign(""), 422, "bad_csr"),
            (
                "garbage CSR",
                sign("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"),
                422,
                "bad_csr",
            ),
            ("truncated CSR", sign(&truncated), 422, "bad_csr"),
            (
                "CSR over 32 KB",
                sign(&format!(
                    "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----",
                    "AAAA".repeat(11_000)
                )),
                413,
                "too_large",
            ),
            ("body over 64 KB", sign(&"A".repeat(70_000)), 413, "too_large"),
        ];
        for (what, body, status, code) in rows {
            let answer = room.post_raw(&room.admin, CERTIFICATES, &[], body).await;
            assert_eq!(answer.refusal(), (status, code.to_owned()), "{what}: {}", answer.json());
        }
        let answer = room.post_raw(&room.admin, CERTIFICATES, &[], sign(&mangled(&good))).await;
        assert_eq!(answer.refusal().0, 422, "{}", answer.json());
        assert_eq!(room.count().await, before);
    }

    async fn a_pointer_leads_to_the_wrong_name(at) {
        let room = Room::over(at).await;
        let body = json!({"names": ["good.lab.example", "bad..name", "-x.lab.example"], "profile": "tls-server"});
        let answer = room.post(&room.admin, CERTIFICATES, &body).await.json();
        let pointers: Vec<_> = answer["errors"].as_array().unwrap().iter().map(|e| e["pointer"].clone()).collect();
        assert_eq!(pointers, ["/names/1", "/names/2"]);
    }

    async fn other_media_types_methods_and_queries_are_refused(at) {
        let room = Room::over(at).await;
        let bearer = format!("Bearer {}", room.admin);
        let head = || Request::post(CERTIFICATES).header("authorization", &bearer);
        let form = head().header("content-type", "application/x-www-form-urlencoded").body(Body::from("a=b")).unwrap();
        assert_eq!(room.send(form).await.refusal(), (415, "unsupported_media_type".into()));
        assert_eq!(room.send(head().body(Body::from("{}")).unwrap()).await.refusal().0, 415);
        let put = Request::put(CERTIFICATES).header("authorization", &bearer).body(Body::empty()).unwrap();
        assert_eq!(room.send(put).await.refusal(), (405, "method_not_allowed".into()));
        let path = |query: &str| format!("{CERTIFICATES}?{query}");
        for (query, status) in [
            ("limit=0", 422),
            ("limit=x", 400),
            ("limit=1&limit=2", 400),
            ("cursor=x", 400),
            ("sort=x", 400),
            ("status=lost", 422),
            ("serial=zz", 400),
            ("fingerprint=ab", 400),
            ("expires_before=soon", 400),
            ("q=%00", 400),
        ] {
            assert_eq!(room.get(&room.admin, &path(query)).await.refusal().0, status, "{query}");
        }
        for id in ["crt_x", "x", "crt_01KAQ5V2X8J4M6N7P9R1S3T5V7", "%00", "..%2f", "%ff"] {
            let status = room.get(&room.admin, &format!("{CERTIFICATES}/{id}")).await.refusal().0;
            assert!(status == 404 || status == 400, "{id}: {status}");
        }
    }
}
