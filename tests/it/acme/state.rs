//! What a refusal may not change: every row that ACME writes but the audit and the nonces.

use chancery::store::engine::q;

use super::world::World;
use crate::support::stores::plain;

pub async fn everything(world: &World) -> Vec<String> {
    let mut all = Vec::new();
    for sql in [
        "SELECT id, status, contact AS text FROM acme_accounts ORDER BY id",
        "SELECT id, COALESCE(terms_url, '') AS status, jwk AS text FROM acme_accounts ORDER BY id",
        "SELECT id, status, identifiers AS text FROM acme_orders ORDER BY id",
        "SELECT id, status, value AS text FROM acme_authorizations ORDER BY id",
        "SELECT id, status, token AS text FROM acme_challenges ORDER BY id",
        "SELECT id, status, names AS text FROM certificates ORDER BY id",
        "SELECT id, kind AS status, payload AS text FROM jobs ORDER BY id",
        "SELECT certificate_id AS id, reason AS status, reason AS text FROM revocations ORDER BY serial",
        "SELECT spki_sha256 AS id, 'blocked' AS status, reason AS text FROM blocked_keys ORDER BY spki_sha256",
        "SELECT serial AS id, 'serial' AS status, 'x' AS text FROM serials ORDER BY serial",
    ] {
        for row in q(plain(sql)).fetch_all(&world.store.db).await.unwrap() {
            let (id, status): (Vec<u8>, String) = (row.get("id").unwrap(), row.get("status").unwrap());
            all.push(format!("{id:02x?} {status} {}", row.get::<String>("text").unwrap()));
        }
    }
    all
}

/// One number of one statement, which calls it `held`.
pub async fn number(world: &World, sql: &'static str) -> i64 {
    q(plain(sql)).fetch_one(&world.store.db).await.unwrap().get("held").unwrap()
}
