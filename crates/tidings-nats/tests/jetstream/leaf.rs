//! Nodes that reach the servers with the streams by leaf nodes, which keep none.

use crate::server::*;
use std::{path::PathBuf, time::Duration};
use tempfile::TempDir;
use tidings_core::{Event, From, Hub};
use tidings_nats::{NatsBroker, Storage};

/// The settings of a server, which it reads when it starts.
fn settings(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

async fn node(leaf: &NatsServer) -> Hub {
    let broker = NatsBroker::builder(&leaf.url()).domain("hub").storage(Storage::Memory).build();
    let broker = broker.expect("settings that can work");
    within(20, "the streams behind the leaf node", broker.ready()).await;
    hub(broker, log(100))
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_at_different_leaf_nodes_share_rooms_and_their_history() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let text = format!("jetstream {{ domain: hub }}\nleafnodes {{ listen: \"127.0.0.1:{port}\" }}\n");
    let streams = settings(&folder, "hub.conf", &text);
    let _streams = NatsServer::with(&["-c", streams.to_str().expect("a path")]);
    let text = format!("leafnodes {{ remotes: [{{ url: \"nats-leaf://127.0.0.1:{port}\" }}] }}\n");
    let leaf = settings(&folder, "leaf.conf", &text);
    let leaves = [(); 2].map(|()| NatsServer::with(&["-c", leaf.to_str().expect("a path")]));
    let nodes = [node(&leaves[0]).await, node(&leaves[1]).await];

    let mut live = nodes[1].subscribe("r", From::Now).await.expect("joined");
    for number in 0..20 {
        nodes[0].publish("r", Event::json("e", &number).expect("JSON")).await.expect("published");
    }
    let mut late = nodes[1].subscribe("r", From::Start).await.expect("joined");
    for subscription in [&mut live, &mut late] {
        for number in 0..20 {
            let next = within(10, "an event", subscription.next()).await;
            let message = next.and_then(|given| given.into_message()).expect("no gap");
            assert_eq!(message.event().parse::<i32>().expect("a number"), number);
        }
    }
    let more = tokio::time::timeout(Duration::from_millis(100), live.next()).await;
    assert!(more.is_err(), "nothing comes twice: {more:?}");
}
