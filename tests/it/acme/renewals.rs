//! Which orders count as renewals: those that say what they replace, and the same names for the same account,
//! whatever their order.

use chancery::clock::days;
use serde_json::json;

use super::client::{Client, b64, csr, url};
use super::replaces::renewal_id;
use super::world::worlds;
use crate::support::wait;

/// One thread, so that the recorder of this test sees all of its world and nothing of another test's.
#[tokio::test]
async fn the_second_certificate_for_the_same_names_is_a_renewal() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _here = metrics::set_default_local_recorder(&recorder);
    let handle = recorder.handle();
    let counted = |ari: &str| {
        let text = handle.render();
        let line = text.lines().find(|l| l.starts_with(&format!("chancery_acme_renewals_total{{ari=\"{ari}\"}}")));
        line.map_or(0, |l| l.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
    };
    let count = || counted("none");
    let mut expected = 0;
    for world in worlds().await {
        let client = Client::register(&world).await;
        client.certificate(&["a.example.org", "b.example.org"]).await;
        world.clock.advance(days(1));
        // more names, fewer names, another account: each is new
        client.certificate(&["a.example.org"]).await;
        client.certificate(&["a.example.org", "b.example.org", "c.example.org"]).await;
        Client::register(&world).await.certificate(&["b.example.org", "a.example.org"]).await;
        world.clock.advance(days(60));
        let (_, pem, _) = client.certificate(&["a.example.org", "c.example.org", "b.example.org"]).await;
        expected += 1;
        wait::until("the renewal is counted", async || (count() >= expected).then_some(())).await;

        // one that says what it replaces, for other names
        let names = json!([{"type": "dns", "value": "a.example.org"}, {"type": "dns", "value": "d.example.org"}]);
        let ask = json!({"identifiers": names, "replaces": renewal_id(&pem)}).to_string();
        let order = client.post(&url("new-order"), &ask).await.expect(201).json();
        for authorization in order["authorizations"].as_array().unwrap() {
            client.prove(authorization.as_str().unwrap()).await;
        }
        let finalize = json!({"csr": b64(csr(&["a.example.org", "d.example.org"]).0)}).to_string();
        client.post(order["finalize"].as_str().unwrap(), &finalize).await.expect(200);
        assert_eq!((count(), counted("replaced")), (expected, expected));
    }
}
