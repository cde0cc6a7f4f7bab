//! The end of a server: every client is told, also one that comes in the last moment, and the end does not wait for
//! what is not a client.

use std::time::{Duration, Instant};
use tidings::{From, Gate, Hub, Identity, RoomName, gate};
use tidings_testkit::{Client, Heard, Kind, within};
use tokio::{net::TcpListener, sync::Notify, time::sleep};

const SOON: Duration = Duration::from_secs(5);

/// Lets nobody in before it is told to.
struct Late(std::sync::Arc<Notify>);

impl Gate for Late {
    fn connect<'a>(&'a self, _: &'a gate::RequestHead) -> gate::Decision<'a, Identity> {
        Box::pin(async { Ok(Identity::anonymous()) })
    }

    fn join<'a>(&'a self, _: &'a Identity, room: &'a RoomName) -> gate::Decision<'a> {
        Box::pin(async move {
            if room.as_str() == "late" {
                self.0.notified().await;
            }
            Ok(())
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_is_told_and_the_server_ends_soon() {
    let open = std::sync::Arc::new(Notify::new());
    let hub = Hub::builder().gate(Late(open.clone())).build();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tidings::serve(listener, tidings::service(hub.clone())).until(async {
        // Dropping the sender would stop it as well.
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());
    // The application's own subscription is no client to wait for.
    let mut inside = hub.subscribe("r", From::Now).await.expect("let in");
    let mut clients = Vec::new();
    for kind in Kind::ALL {
        clients.push(Client::connect(kind, address, "r", "now").await.expect("let in"));
    }
    let late = tokio::spawn(async move { Client::connect(Kind::Sse, address, "late", "now").await });
    within(SOON, "the late one at the gate", async {
        while hub.stats().sessions.get("sse") != Some(&2) {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let begin = Instant::now();
    stop.send(()).expect("the server runs");
    within(SOON, "the inside to end", inside.next()).await;
    open.notify_waiters();
    for mut client in clients {
        let heard = within(SOON, "the close", client.next()).await;
        if let Some(Heard::Other(value)) = &heard {
            assert_eq!((&value["type"], &value["code"]), (&"close".into(), &"drain".into()));
            assert!(value["retry"][0].as_u64() < value["retry"][1].as_u64(), "{value}");
        } else {
            // A poll that was between two requests finds nobody.
            assert!(heard.is_none(), "{heard:?}");
        }
    }
    let mut late = within(SOON, "the late one", late).await.expect("no panic").expect("let in");
    assert!(matches!(within(SOON, "the close", late.next()).await, Some(Heard::Other(_))));
    within(SOON, "the end", server).await.expect("no panic").expect("no error");
    println!("ended after {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(3));
}
