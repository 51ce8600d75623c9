//! How much runs at once, and what a configuration may say.

use std::sync::Arc;
use std::time::Duration;

use chancery::error::{Error, ErrorKind};
use chancery::validation::{ValidationConfig, ValidationError, Validator};
use tokio::io::AsyncReadExt;

use super::support::*;

async fn silent() -> Target {
    Target::scripted("127.0.0.1:0", |mut stream, _| async move {
        let _ = stream.read_u8().await;
    })
    .await
}

/// Starts one attempt that hangs at `target` and waits until it is connected.
async fn occupied(validator: &Arc<Validator>, target: &Target) -> tokio::task::JoinHandle<()> {
    let busy = validator.clone();
    let task = tokio::spawn(async move {
        let _ = attempt(&busy, "127.0.0.1").await;
    });
    target.requested().await;
    task
}

#[tokio::test]
async fn an_attempt_without_a_place_is_busy_and_blames_no_name() {
    for global in [true, false] {
        let target = silent().await;
        let mut settings = hasty(config(target.port()));
        if global {
            settings.concurrency.global = 1;
        } else {
            settings.concurrency.per_target = 1;
        }
        let validator = Arc::new(validator(settings));
        let task = occupied(&validator, &target).await;
        let error = attempt(&validator, "127.0.0.1").await.result.unwrap_err();
        assert_eq!(error, ValidationError::Busy);
        assert!(error.is_ours());
        let error = Error::from(error);
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.retry_after.is_some());
        assert_eq!(target.connections(), 1);
        task.await.unwrap();
    }
}

#[tokio::test]
async fn one_slow_target_does_not_hold_up_another() {
    let slow = silent().await;
    let quick = Target::answering_on(&format!("127.0.0.2:{}", slow.port()), |_| ok(&key_authorization())).await;
    let mut settings = hasty(config(slow.port()));
    settings.concurrency.per_target = 1;
    let validator = Arc::new(validator(settings));
    let task = occupied(&validator, &slow).await;
    assert_eq!(attempt(&validator, "127.0.0.2").await.result, Ok(()));
    assert_eq!(quick.connections(), 1);
    task.await.unwrap();
}

#[tokio::test]
async fn a_dropped_attempt_closes_its_connection_and_gives_its_place_back() {
    let (told, closed) = tokio::sync::oneshot::channel();
    let told = std::sync::Mutex::new(Some(told));
    let target = Target::scripted("127.0.0.1:0", move |mut stream, _| {
        let told = told.lock().unwrap().take();
        async move {
            let _ = stream.read_u8().await;
            if let Some(told) = told {
                let _ = told.send(());
            }
        }
    })
    .await;
    let mut settings = config(target.port());
    settings.concurrency.global = 1;
    settings.timeouts.total = Duration::from_secs(30);
    let validator = Arc::new(validator(settings));
    let task = occupied(&validator, &target).await;
    task.abort();
    tokio::time::timeout(Duration::from_secs(60), closed).await.expect("closed by us").unwrap();
    let next = occupied(&validator, &target).await;
    assert_eq!(target.connections(), 2);
    next.abort();
}

#[test]
fn the_configuration_is_read_strictly() {
    let text = r#"{"http01_port": 5002, "resolvers": ["10.0.0.53:53"], "allow_networks": ["10.0.0.0/8", "fd00::/8"],
        "timeouts": {"total_ms": 3000}, "concurrency": {"global": 4}}"#;
    let config: ValidationConfig = serde_json::from_str(text).unwrap();
    assert_eq!(config.timeouts.total, Duration::from_secs(3));
    assert_eq!(config.timeouts.dial, Duration::from_secs(5));
    assert_eq!(config.concurrency.global, 4);
    config.check().unwrap();
    let round: ValidationConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
    assert_eq!(round, config);
    let default = ValidationConfig::default();
    assert_eq!((default.http01_port, default.tls_alpn01_port, default.allow_loopback), (80, 443, false));
    for wrong in [
        r#"{"http01_prot": 80}"#,
        r#"{"http01_port": 65536}"#,
        r#"{"resolvers": ["dns.example"]}"#,
        r#"{"allow_networks": ["10.0.0.1/8"]}"#,
        r#"{"deny_networks": ["10.0.0.0/33"]}"#,
        r#"{"timeouts": {"total": 1}}"#,
    ] {
        assert!(serde_json::from_str::<ValidationConfig>(wrong).is_err(), "{wrong}");
    }
    for wrong in [
        r#"{"http01_port": 0}"#,
        r#"{"resolvers": ["0.0.0.0:53"]}"#,
        r#"{"timeouts": {"dial_ms": 0}}"#,
        r#"{"concurrency": {"per_target": 0}}"#,
    ] {
        let config: ValidationConfig = serde_json::from_str(wrong).unwrap();
        assert_eq!(config.check().unwrap_err().kind, ErrorKind::Config, "{wrong}");
    }
}
