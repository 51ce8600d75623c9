//! Names that no issuer of a directory may sign are refused with the order and ahead of it, before anything is proved
//! (RFC 8555 §6.7, §7.4).

use chancery::authority::hierarchy::plan::Wanted;
use chancery::model::issuer::IssuerMove;
use serde_json::json;

use super::ahead::{ahead, offer, with_new_authz};
use super::client::Client;
use super::eab::admin;
use super::world::worlds;

#[tokio::test]
async fn names_that_no_issuer_may_sign_are_refused_with_the_order() {
    for world in worlds().await {
        for name in ["partner.example", "lab.example"] {
            world.clock.advance(chancery::clock::minutes(1));
            let wanted = Wanted { domain: "tls".into(), permit: vec![name.into()], ..Wanted::default() };
            world.authority.create_issuer(&admin(), &wanted, None).await.unwrap();
        }
        world.authority.move_issuer(&admin(), "tls-1", IssuerMove::Retire).await.unwrap();
        offer(&world, with_new_authz()).await;
        let client = Client::register(&world).await;
        client.order(&["www.partner.example"]).await.expect(201);
        client.order(&["www.lab.example", "*.lab.example"]).await.expect(201);
        // each bad name has its subproblem, the good one has none
        let refused = client.order(&["www.lab.example", "a.bank.example", "b.bank.example"]).await;
        let problem = refused.refused(400, "rejectedIdentifier").json();
        let parts = problem["subproblems"].as_array().unwrap();
        let named: Vec<_> = parts.iter().map(|part| part["identifier"]["value"].as_str().unwrap()).collect();
        assert_eq!(named, ["a.bank.example", "b.bank.example"]);
        assert!(problem["detail"].as_str().unwrap().contains("permits partner.example only"), "{problem}");
        // each has an issuer, and none may sign both
        let refused = client.order(&["www.lab.example", "www.partner.example"]).await;
        let problem = refused.refused(400, "rejectedIdentifier").json();
        assert_eq!(problem["subproblems"].as_array().unwrap().len(), 2);
        assert!(problem["detail"].as_str().unwrap().contains("order them apart"), "{problem}");
        ahead(&client, json!({"type": "dns", "value": "www.lab.example"})).await.expect(201);
        ahead(&client, json!({"type": "dns", "value": "a.bank.example"})).await.refused(400, "rejectedIdentifier");
    }
}
