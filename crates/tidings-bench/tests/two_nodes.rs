//! The plain server as two nodes that share a broker.

use serde_json::json;
use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};
use tidings_bench::NatsServer;
use tidings_testkit::{Client, Heard, Kind, request};

/// A process of the server. It ends when it is dropped.
struct Node {
    child: Child,
    address: SocketAddr,
}

impl Node {
    fn start(broker: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_server"))
            .args(["--listen", "127.0.0.1:0", "--broker", broker])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was built");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let address = line.split_once("http://").and_then(|(_, rest)| rest.split_once('/'));
        let address = address.and_then(|(address, _)| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("it says where it listens, not {line:?}"));
        Self { child, address }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has ended");
    }
}

#[tokio::test]
async fn a_client_goes_on_at_another_node_after_the_first_has_ended() {
    let nats = NatsServer::start().expect("a server");
    let (one, two) = (Node::start(&nats.url()), Node::start(&nats.url()));
    let publish = async |node: &Node, number: u64| {
        let command = json!({ "type": "publish", "ref": number, "room": "r", "event": "n", "data": number });
        let body = command.to_string().into_bytes();
        let target = "/realtime/send";
        let answer = request(node.address, "POST", target, &[], body).await.expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let mut client = Client::connect(Kind::Ws, one.address, "r", "now").await.expect("let in");
    publish(&two, 1).await;
    assert_eq!(client.number().await, 1);
    drop(one);
    publish(&two, 2).await;
    for kind in Kind::ALL {
        let mut client = Client::connect(kind, two.address, "r", client.cursor()).await.expect("let in");
        match client.next().await {
            Some(Heard::Event { data, .. }) => assert_eq!(data, 2, "{kind:?}"),
            other => panic!("{other:?} on {kind:?}"),
        }
    }
}

#[test]
fn a_broker_that_is_none_is_refused_with_its_address() {
    let output = Command::new(env!("CARGO_BIN_EXE_server"))
        .args(["--listen", "127.0.0.1:0", "--broker", "smtp://h"])
        .output()
        .expect("it was built");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("smtp://h"), "{said}");
}
