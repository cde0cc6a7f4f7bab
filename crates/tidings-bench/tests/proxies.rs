//! The settings that the manual gives for proxies, word for word, and these proxies with them before two nodes: all
//! transports pass, events come when they are published, and a drain reaches every client.

mod clients;
mod proxy;

use clients::{LIMIT, Seen, command, free_address, hear_out, listen, own_origin, publish};
use proxy::{HAPROXY, Program as ProxyProgram, Proxy};
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};
use tidings_bench::NatsServer;
use tidings_testkit::{Client, Kind, Program, Random, within};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{interval, sleep},
};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const PAGE: &str = include_str!("../../tidings/src/manual/operations.md");
/// What the page calls the nodes.
const NODES: [&str; 2] = ["10.0.0.1:3000", "10.0.0.2:3000"];

const NGINX: ProxyProgram = ProxyProgram {
    variable: "TIDINGS_NGINX",
    usual: "/usr/sbin/nginx",
    args: &["-p", "FOLDER", "-e", "stderr", "-c", "FILE"],
};
const CADDY: ProxyProgram = ProxyProgram {
    variable: "TIDINGS_CADDY",
    usual: "/usr/bin/caddy",
    args: &["run", "--adapter", "caddyfile", "--config", "FILE"],
};

/// The settings that the page has for a proxy, with these nodes.
fn settings(proxy: &str, nodes: [SocketAddr; 2]) -> String {
    let part = |text: &'static str, mark: &str| text.split_once(mark).expect("it is on the page").1;
    let block = part(part(PAGE, &format!("**{proxy}**")), "```text\n");
    let (block, _) = block.split_once("```").expect("its end");
    NODES.iter().zip(nodes).fold(block.to_owned(), |text, (name, node)| {
        assert!(text.contains(name), "{proxy}: {text}");
        text.replace(name, &node.to_string())
    })
}

async fn haproxy(nodes: [SocketAddr; 2]) -> Proxy {
    let front = "frontend front\n    bind ADDRESS\n    default_backend nodes\n";
    Proxy::start(&HAPROXY, &format!("{}\n{front}", settings("haproxy", nodes)), "/ready").await
}

async fn nginx(nodes: [SocketAddr; 2]) -> Proxy {
    let settings = settings("nginx", nodes);
    let (http, server) = settings.split_at(settings.find("location ").expect("a location"));
    let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let places = places.map(|name| format!("{name}_temp_path FOLDER/{name};")).join(" ");
    // One process, which is all gone when it is killed: a master's workers would stay.
    let configuration = format!(
        "daemon off; master_process off; pid FOLDER/pid; error_log stderr crit; events {{ worker_connections 768; }}\n\
         http {{\naccess_log off; gzip on; {places}\n{http}\nserver {{\nlisten ADDRESS;\n\
         location = /ready {{ proxy_pass http://nodes; }}\n{server}\n}}\n}}\n"
    );
    Proxy::start(&NGINX, &configuration, "/ready").await
}

async fn caddy(nodes: [SocketAddr; 2]) -> Proxy {
    let settings = settings("Caddy", nodes);
    let options = "{\n    admin off\n    auto_https off\n    log {\n        output discard\n    }\n}\n";
    Proxy::start(&CADDY, &format!("{options}http://ADDRESS {{\n{settings}\n}}\n"), "/ready").await
}

/// Each event is there when it was published, and not when a buffer is full; one of them may meet a machine that is busy.
async fn events_come_at_once(proxy: SocketAddr) {
    let origin = own_origin(proxy);
    let mut clients = Vec::new();
    for kind in Kind::ALL {
        clients.push(Client::connect_with(kind, proxy, "flushed", "now", &[&origin]).await.expect("let in"));
    }
    let mut delays = Vec::new();
    for number in 1..=9 {
        let begun = Instant::now();
        let publish = json!({"type": "publish", "ref": 1, "room": "flushed", "event": "n", "data": number});
        command(proxy, &publish).await.expect("stored");
        for client in &mut clients {
            assert_eq!(client.number().await, number);
            delays.push(begun.elapsed());
        }
    }
    delays.sort_unstable();
    let (median, longest) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    println!("events after {median:?}, {longest:?} at the most");
    assert!(median < Duration::from_millis(100) && longest < Duration::from_secs(2), "{delays:?}");
}

/// `refusals` are statuses with which somebody who comes may be refused while a node drains, where the proxy does not go to another
/// node by itself; and so many connections may be cut by a proxy that does not wait for their ends.
async fn all_passes(start: impl AsyncFnOnce([SocketAddr; 2]) -> Proxy, refusals: &[u16], cut: usize) {
    let nats = NatsServer::start().expect("a broker");
    let broker = nats.url();
    let args = ["--broker", &broker, "--patience", "8", "--history", "10000"];
    let nodes = [(); 2].map(|()| free_address());
    let mut one = Program::start_at(SERVER, nodes[0], &args).await;
    let _two = Program::start_at(SERVER, nodes[1], &args).await;
    let proxy = start(nodes).await;
    events_come_at_once(proxy.address).await;

    let (stop, stopped) = watch::channel(false);
    let publisher = tokio::spawn(publish(proxy.address, stopped));
    let (tell_last, last) = watch::channel(None);
    let seen = Arc::new(Seen::default());
    let (mut listeners, mut random) = (JoinSet::new(), Random::new());
    for at in 0..CLIENTS {
        let random = Random::of(random.below(u64::MAX));
        listeners.spawn(listen(Kind::ALL[at % 3], proxy.address, random, Arc::clone(&seen), last.clone()));
    }
    // Both nodes have some.
    within(LIMIT, "all to be there", async {
        let mut pace = interval(Duration::from_millis(50));
        while seen.heard.load(SeqCst) < CLIENTS {
            pace.tick().await;
        }
    })
    .await;
    one.terminate();
    let ended = one.exit(Duration::from_secs(9)).await;
    assert_eq!(ended.code(), Some(0), "{ended}");
    // As long as those who were told may take to be back.
    sleep(Duration::from_secs(6)).await;
    stop.send_replace(true);
    let published = hear_out(publisher, tell_last, listeners).await;
    let told = seen.told.load(SeqCst);
    let refused = seen.refused.lock().expect("no panic").clone();
    println!("{CLIENTS} clients had {published} events; {told} were told to go, refused were {refused:?}");
    assert!(told >= CLIENTS / 4, "of two nodes each had some: {told}");
    assert!(refused.iter().all(|status| refusals.contains(status)), "{refused:?}");
    let broken = seen.broken.load(SeqCst);
    assert!(broken <= cut, "whoever was told had an end of its own: {broken}");
}

const CLIENTS: usize = 18;

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_passes_everything_with_the_settings_of_the_manual() {
    all_passes(haproxy, &[], 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_passes_everything_with_the_settings_of_the_manual() {
    all_passes(nginx, &[], 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_passes_everything_with_the_settings_of_the_manual() {
    // Until it has asked the node whether it is ready. On a busy machine it has cut four of those that the node told to go.
    all_passes(caddy, &[503], CLIENTS / 2).await;
}
