//! Which orders count as renewals: the same names for the same account, whatever their order.

use chancery::clock::days;

use super::client::Client;
use super::world::worlds;
use crate::support::wait;

/// One thread, so that the recorder of this test sees all of its world and nothing of another test's.
#[tokio::test]
async fn the_second_certificate_for_the_same_names_is_a_renewal() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _here = metrics::set_default_local_recorder(&recorder);
    let handle = recorder.handle();
    let count = || {
        let text = handle.render();
        let line = text.lines().find(|l| l.starts_with("chancery_acme_renewals_total{ari=\"none\"}"));
        line.map_or(0, |l| l.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
    };
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
        client.certificate(&["a.example.org", "c.example.org", "b.example.org"]).await;
        expected += 1;
        wait::until("the renewal is counted", async || (count() >= expected).then_some(())).await;
        assert_eq!(count(), expected);
    }
}
