//! The whole of it: clients behind the proxy lose nothing, also when a node is killed.

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};
use tidings_testkit::{Client, Kind, Ledger, request, within};

/// The example, on a free port. It ends when this is dropped.
struct Cluster {
    child: Child,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
    nodes: Vec<String>,
}

impl Cluster {
    fn start() -> Self {
        let address =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let mut child = Command::new(env!("CARGO_BIN_EXE_cluster"))
            .args(["--listen", &address.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was built");
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let nodes = line.trim_end().rsplit(' ').filter(|word| word.parse::<u32>().is_ok());
        let nodes: Vec<_> = nodes.map(str::to_owned).collect();
        assert_eq!(nodes.len(), 2, "{line:?}");
        Self { child, output, address, nodes }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line
    }

    /// Publishes by a request of its own, at the node whose turn it is; again, with the same key, where that has failed.
    async fn publish(&self, number: u64) {
        let command =
            json!({"type": "publish", "room": "r", "event": "n", "data": number, "key": number.to_string()});
        within(Duration::from_secs(20), "it is published", async {
            loop {
                let answer =
                    request(self.address, "POST", "/realtime/send", &[], command.to_string().into_bytes())
                        .await;
                match answer {
                    Ok(answer) if answer.status == 200 => return,
                    Ok(answer) => assert!(answer.status >= 500, "{answer:?}"),
                    // The node has ended under it, or the proxy is not there yet.
                    Err(_) => {}
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    async fn connect(&self, kind: Kind, from: &str) -> Client {
        within(Duration::from_secs(20), "it is let in", async {
            loop {
                match Client::connect(kind, self.address, "r", from).await {
                    Ok(client) => return client,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        })
        .await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // So that it ends the others.
        let told = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(told.expect("kill is there").success());
        assert!(self.child.wait().expect("it ends").success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_between_two_nodes_without_affinity_also_when_one_is_killed() {
    let mut cluster = Cluster::start();
    cluster.publish(1).await;
    let mut clients = Vec::new();
    for kind in Kind::ALL {
        clients.push((kind, cluster.connect(kind, "start").await, Ledger::default()));
    }
    for number in 2..=20 {
        cluster.publish(number).await;
    }
    let killed = Command::new("kill").args(["-9", &cluster.nodes[0]]).status().expect("kill is there");
    assert!(killed.success());
    assert!(cluster.line().contains("a node has ended"));
    for number in 21..=40 {
        cluster.publish(number).await;
    }
    for (kind, client, ledger) in &mut clients {
        while ledger.last() < 40 {
            match within(Duration::from_secs(20), "an event", client.next()).await {
                Some(heard) => ledger.note(&heard),
                None => {
                    let from = client.cursor().to_owned();
                    *client = cluster.connect(*kind, &from).await;
                }
            }
        }
        ledger.assert_equal(40);
    }
}

#[test]
fn a_program_that_is_missing_is_named_with_what_brings_it() {
    for (variable, package) in [("TIDINGS_NATS_SERVER", "nats-server"), ("TIDINGS_HAPROXY", "haproxy")] {
        let output = Command::new(env!("CARGO_BIN_EXE_cluster"))
            .args(["--listen", "127.0.0.1:0"])
            .env(variable, "/nowhere")
            .output()
            .expect("it was built");
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("/nowhere") && said.contains(&format!("apt-get install {package}")), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_that_of_the_chat_at_both_nodes() {
    let cluster = Cluster::start();
    cluster.publish(1).await;
    for _ in 0..4 {
        let page = request(cluster.address, "GET", "/", &[], "").await.expect("an answer");
        assert!(String::from_utf8_lossy(&page.body).contains("Tidings chat"));
        let poll = request(cluster.address, "GET", "/realtime/poll?room=r&from=start", &[], "").await;
        let answer: Value = poll.expect("an answer").json();
        assert_eq!(answer["events"][0]["data"], 1);
    }
}
