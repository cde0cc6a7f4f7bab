//! A server that is reached with TLS alone.

use crate::server::*;
use tidings_core::broker::*;
use tidings_redis::RedisBroker;

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_a_server_is_believed_by_its_certificate_alone() {
    let folder = tempfile::TempDir::new().expect("a directory");
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let certificate = file("certificate.pem", made.cert.pem());
    let key = file("key.pem", made.signing_key.serialize_pem());
    let port = free_port();
    let _server = RedisServer::on(
        port,
        &[
            "--port",
            "0",
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &certificate,
            "--tls-auth-clients",
            "no",
        ],
    );
    let url = format!("rediss://127.0.0.1:{port}");
    let broker =
        RedisBroker::builder(&url).certificates(&certificate).build().expect("settings that can work");
    ready(&broker).await;
    broker.watch(&room("r"), log(10)).await.expect("watched");
    publish_all(&broker, &room("r"), log(10), 0..3).await;
    let slice = broker.read(&room("r"), log(10), ReadFrom::Start, 10).await.expect("read");
    assert_eq!(numbers(&slice), [0, 1, 2]);
    let stranger = RedisBroker::builder(&url).build().expect("settings that can work");
    until(10, "it is told", || stranger.fault().is_some_and(|fault| fault.contains("certificate"))).await;
    let plain =
        RedisBroker::builder(&url.replace("rediss", "redis")).build().expect("settings that can work");
    let error = plain.publish(publish(&room("r"), log(10), 3)).await.expect_err("it is not understood");
    assert!(matches!(error, BrokerError::Unavailable(_)), "{error}");
}
