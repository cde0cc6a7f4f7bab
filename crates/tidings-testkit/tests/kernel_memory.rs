//! What the kernel keeps for clients that take nothing.
#![cfg(target_os = "linux")]

use std::{fs, net::SocketAddr, time::Duration};
use tidings::{Event, Rooms};
use tidings_testkit::{Client, Heard, Kind, Server, raw, within};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
};

const SOON: Duration = Duration::from_secs(60);
const MESSAGES: u64 = 400;
const PAYLOAD: usize = 20 << 10;

/// An open stream, of which the client takes no more than the head.
async fn stuck(kind: Kind, server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8 << 10).expect("a small buffer");
    let mut stream = socket.connect(server).await.expect("connected");
    let head = match kind {
        Kind::Ws => raw::handshake("/realtime/ws?room=r", &[]),
        _ => format!("GET /realtime/sse?room=r HTTP/1.1\r\nHost: {server}\r\n\r\n"),
    };
    stream.write_all(head.as_bytes()).await.expect("asked");
    raw::answer(&mut stream).await.expect("an answer");
    stream
}

/// Bytes that the kernel keeps to be sent on a server's connections to these clients.
fn kept(server: SocketAddr, clients: &[TcpStream]) -> Vec<usize> {
    let ports: Vec<_> =
        clients.iter().map(|client| client.local_addr().expect("an address").port()).collect();
    let port =
        |address: &str| u16::from_str_radix(address.rsplit(':').next().expect("a port"), 16).expect("hex");
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux");
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|fields| port(fields[1]) == server.port() && ports.contains(&port(fields[2])))
        .map(|fields| {
            let (waits, _) = fields[4].split_once(':').expect("two queues");
            usize::from_str_radix(waits, 16).expect("hex")
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_keeps_little_for_clients_that_take_nothing() {
    let server = Server::with_rooms(Rooms::log(1_000, SOON)).await;
    let mut clients = Vec::new();
    for kind in [Kind::Ws, Kind::Sse] {
        for _ in 0..5 {
            clients.push(stuck(kind, server.address()).await);
        }
    }
    let mut reader = Client::connect(Kind::Ws, server.address(), "r", "now").await.expect("let in");
    for number in 1..=MESSAGES {
        let event = Event::json("n", &(number, "x".repeat(PAYLOAD))).expect("JSON");
        server.hub().publish("r", event).await.expect("published");
        // Who reads has everything, and so the others were offered as much.
        match within(SOON, "a message", reader.next()).await {
            Some(Heard::Event { data, .. }) => assert_eq!(data[0], number),
            other => panic!("{other:?}"),
        }
    }
    let kept = kept(server.address(), &clients);
    assert_eq!(kept.len(), clients.len());
    for bytes in kept {
        assert!(bytes > 0, "who takes nothing has something waiting");
        assert!(
            bytes <= 256 << 10,
            "the kernel keeps {bytes} bytes of {} for one client",
            MESSAGES as usize * PAYLOAD
        );
    }
}
