//! `acme explain` and `acme test`: what they print and how they end.

use std::path::Path;
use std::sync::Arc;

use chancery::clock::SystemClock;
use chancery::entropy::SystemEntropy;
use chancery::model::actor::Actor;
use chancery::store::engine::{Db, q};
use chancery::store::{Store, attempts, orders};
use serde_json::json;

use crate::support::acme_rows::{refused, stored_account, stored_order};
use crate::support::process::{code, run, told};
use crate::support::stores::plain;

async fn open(home: &Path) -> Store {
    let db = Db::open_sqlite(&home.join(".local/share/chancery/chancery.db")).await.unwrap();
    Store::new(db, Arc::new(SystemClock), Arc::new(SystemEntropy::new())).unwrap()
}

/// Orders in every state, and a request that never became one.
async fn fill(home: &Path) -> [String; 3] {
    let store = open(home).await;
    let account = stored_account(&store).await;
    let (waits, ..) = stored_order(&store, &account, &["waits.lab.example"]).await;
    let (failed, proofs, _) = stored_order(&store, &account, &["failed.lab.example"]).await;
    let told = "192.0.2.7 port 80 (failed.lab.example) refused the connection from the CA server; open the port";
    orders::fail(&store, proofs[0].id, &json!({"detail": told})).await.unwrap();
    let (done, ..) = stored_order(&store, &account, &["done.lab.example"]).await;
    q(plain("UPDATE acme_orders SET status = 'valid' WHERE id = $1"))
        .bind(done.id.to_vec())
        .execute(&store.db)
        .await
        .unwrap();
    let refused = refused(&store, &account);
    let mut tx = store.begin(&Actor::system("test")).await.unwrap();
    attempts::insert(&mut tx, &refused).await.unwrap();
    tx.commit().await.unwrap();
    [waits.id, failed.id, done.id].map(|id| id.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_ends_with_what_became_of_it() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    let [waits, failed, done] = fill(at).await;
    let url = format!("https://ca.lab.example:8443/acme/default/order/{failed}");
    for (thing, ends, says) in [
        (waits.as_str(), 10, "waits for proofs"),
        ("waits.lab.example", 10, "has not yet asked to have waits.lab.example checked"),
        (&failed, 11, "192.0.2.7 port 80"),
        (&url, 11, "the order failed"),
        ("failed.lab.example", 11, "do      open the port"),
        (&done, 0, "has its certificate"),
        ("done.lab.example", 0, "the order has its certificate"),
        ("localhost", 3, "was refused, nothing was made"),
        ("nobody.lab.example", 4, "no order and no refused request names it"),
        ("ord_00000000000000000000000000", 4, "no such ACME order"),
    ] {
        let output = run(at, &["acme", "explain", thing]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &told(&output);
        assert_eq!(code(&output), ends, "{thing}: {said}");
        assert!(said.contains(says), "{thing}: {said}");
        let json = run(at, &["acme", "explain", thing, "-o", "json"]);
        assert_eq!(code(&json), ends, "{thing} as JSON");
        if ends != 4 {
            assert!(serde_json::from_slice::<serde_json::Value>(&json.stdout).unwrap().is_object());
        }
    }
    assert_eq!(code(&run(at, &["acme", "explain"])), 2);

    let listed = run(at, &["acme", "attempts"]);
    let table = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(code(&listed) == 0 && table.contains("order.refused") && table.contains("localhost"), "{table}");
    let one = run(at, &["acme", "attempts", "local*", "-o", "json"]);
    let one: serde_json::Value = serde_json::from_slice(&one.stdout).unwrap();
    assert_eq!(one["items"].as_array().unwrap().len(), 1, "{one}");
    let none = run(at, &["acme", "attempts", "nobody.lab.example", "-o", "json"]);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&none.stdout).unwrap()["items"], json!([]));
    assert_eq!(code(&run(at, &["acme", "attempts", "--since", "soon"])), 2);
}

#[test]
fn a_name_is_tested_on_the_host() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    // nothing is sent to an address of cloud metadata, and the guard says why
    let output = run(at, &["acme", "test", "169.254.169.254"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(code(&output), 11, "{said} {}", told(&output));
    assert!(said.starts_with("http-01 fails for 169.254.169.254: 169.254.169.254 port 80"), "{said}");
    assert!(said.contains("! ") && said.contains("deny"), "{said}");
    assert!(
        said.contains("  do      give the name an address that the CA server may use; then test again"),
        "{said}"
    );
    let json = run(at, &["acme", "test", "169.254.169.254", "--type", "tls-alpn-01", "-o", "json"]);
    let told_as: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((code(&json), &told_as["verdict"], &told_as["type"]), (11, &json!("failed"), &json!("tls-alpn-01")));
    for (arguments, ends) in [
        (vec!["acme", "test"], 2),
        (vec!["acme", "test", "web.lab.example", "--type", "smtp-01"], 3),
        (vec!["acme", "test", "169.254.169.254", "--type", "dns-01"], 3),
        (vec!["acme", "test", "web.lab.example", "--directory", "nowhere"], 4),
        (vec!["acme", "test", "--order", "ord_00000000000000000000000000"], 4),
    ] {
        let output = run(at, &arguments);
        assert_eq!(code(&output), ends, "{arguments:?}: {}", told(&output));
    }
}
