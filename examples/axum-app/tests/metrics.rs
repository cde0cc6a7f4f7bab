//! What Prometheus gets.

use tidings_testkit::{Client, Kind, Program, request};

#[tokio::test]
async fn a_scrape_tells_of_clients_and_orders() {
    let program = Program::start(env!("CARGO_BIN_EXE_axum-app"), &[]).await;
    let address = program.address();
    let mut clients = Vec::new();
    for kind in [Kind::Ws, Kind::Sse] {
        clients.push(Client::connect(kind, address, "orders", "now").await.expect("let in"));
    }
    let json = ["content-type: application/json"];
    request(address, "POST", "/orders", &json, r#"{"item":"tea"}"#).await.expect("an answer");
    for client in &mut clients {
        client.next().await.expect("the order");
    }
    let answer = request(address, "GET", "/metrics", &[], "").await.expect("an answer");
    let text = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
    for line in [
        "# TYPE tidings_sessions gauge",
        "tidings_sessions{transport=\"ws\"} 1",
        "tidings_sessions{transport=\"sse\"} 1",
        "tidings_published_total{class=\"other\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}
