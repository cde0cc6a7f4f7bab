//! What a recorder is told: as many series whoever comes, and no word of theirs.
#![cfg(feature = "metrics")]

use metrics_exporter_prometheus::PrometheusBuilder;
use std::time::{Duration, Instant};
use tidings::{Event, From, Gate, Hub, Identity, Rooms, Service, gate};
use tidings_testkit::{Client, Heard, Kind, Server, request, within};

const SOON: Duration = Duration::from_secs(10);

/// Users are who they say.
struct Named;

impl Gate for Named {
    fn connect<'a>(&'a self, head: &'a gate::RequestHead) -> gate::Decision<'a, Identity> {
        let name = head.uri.query().unwrap_or_default().rsplit('=').next().unwrap_or_default();
        Box::pin(async move { Ok(Identity::user(name)) })
    }
}

fn service() -> Service {
    let hub = Hub::builder()
        .gate(Named)
        .rooms("news", Rooms::log(2, Duration::from_secs(60)))
        .rooms("price:*", Rooms::latest())
        .build();
    tidings::service(hub).ready("/ready")
}

/// Lines of a scrape that are no comments.
fn scrape(service: &Service) -> Vec<String> {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || tidings::metrics::record(service));
    let text = recorder.handle().render();
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

fn value(lines: &[String], series: &str) -> f64 {
    let line = lines.iter().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {lines:#?}")).parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted() {
    let service = service();
    let server = Server::with_service(service.clone()).await;
    let hub = server.hub();
    let mut clients = Vec::new();
    for kind in Kind::ALL {
        clients.push(Client::connect(kind, server.address(), "news", "now").await.expect("let in"));
    }
    let event = || Event::json("n", &7).expect("a number is JSON");
    for _ in 0..3 {
        hub.publish("news", event()).await.expect("stored");
        for client in &mut clients {
            assert_eq!(client.number().await, 7);
        }
    }
    let answer = request(server.address(), "GET", "/realtime/sse?room=", &[], "").await.expect("an answer");
    assert_eq!(answer.status, 400);
    // Of this history nothing is left.
    let behind = hub.publish("news", event()).await.expect("stored").to_string();
    for _ in 0..3 {
        hub.publish("news", event()).await.expect("stored");
    }
    let mut late = Client::connect(Kind::Ws, server.address(), "news", &behind).await.expect("let in");
    assert!(matches!(within(SOON, "a gap", late.next()).await, Some(Heard::Gap { .. })));
    let bad = serde_json::json!({"type": "call", "ref": 1, "method": "no"});
    late.command(&bad).await;
    hub.publish("price:gold", event()).await.expect("stored");

    let lines = scrape(&service);
    let check = |series: &str, expected: f64| assert_eq!(value(&lines, series), expected, "{series}");
    check("tidings_ready", 1.0);
    check("tidings_sessions{transport=\"ws\"}", 2.0);
    check("tidings_sessions{transport=\"sse\"}", 1.0);
    check("tidings_published_total{class=\"news\"}", 7.0);
    check("tidings_published_total{class=\"price:*\"}", 1.0);
    check("tidings_rooms{class=\"news\"}", 1.0);
    check("tidings_joins_total{from=\"missed\"}", 1.0);
    check("tidings_joins_total{from=\"start\"}", 0.0);
    check("tidings_gaps_total{reason=\"trimmed\"}", 1.0);
    check("tidings_refusals_total{code=\"unknown_method\"}", 1.0);
    check("tidings_answers_total{status=\"400\"}", 1.0);
    check("tidings_answers_total{status=\"101\"}", 2.0);
    assert!(value(&lines, "tidings_joins_total{from=\"now\"}") >= 3.0);
    let path = |path| value(&lines, &format!("tidings_messages_total{{path=\"{path}\"}}"));
    // At least what was waited for: three at each of the three, and not more than all that were published.
    let delivered = path("direct") + path("pulled");
    assert!((9.0..=30.0).contains(&delivered), "{delivered}");
    assert!(value(&lines, "tidings_lag_seconds_count") >= 3.0);
    let infinite = value(&lines, "tidings_lag_seconds_bucket{le=\"+Inf\"}");
    assert_eq!(infinite, value(&lines, "tidings_lag_seconds_count"));
    assert!(value(&lines, "tidings_connections") >= 3.0);
    drop((clients, late));
    hub.drain(SOON).await;
    let lines = scrape(&service);
    assert_eq!(value(&lines, "tidings_ready"), 0.0);
    assert_eq!(value(&lines, "tidings_sessions{transport=\"ws\"}"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_as_many_series_whatever_clients_call_themselves_and_their_rooms() {
    let service = service();
    let server = Server::with_service(service.clone()).await;
    let come = async |users: usize, rooms: usize| {
        for user in 0..users {
            let target = format!("/realtime/poll?room=QxZ7{user}&u=QxZ7user{user}");
            let agent = format!("user-agent: QxZ7agent{user}");
            let answer = request(server.address(), "GET", &target, &[&agent], "").await.expect("an answer");
            assert_eq!(answer.status, 200);
            let call = format!(r#"{{"type":"call","method":"QxZ7method{user}"}}"#);
            request(server.address(), "POST", "/realtime/send", &[], call).await.expect("an answer");
        }
        let mut inside = Vec::new();
        for room in 0..rooms {
            inside.push(
                server.hub().subscribe(&*format!("price:QxZ7room{room}"), From::Now).await.expect("let in"),
            );
        }
        inside
    };
    let few = come(1, 10).await;
    let before = scrape(&service);
    let many = come(300, 20_000).await;
    let begin = Instant::now();
    let after = scrape(&service);
    println!("{} series, in {:?}", after.len(), begin.elapsed());
    let names = |lines: &[String]| -> Vec<String> {
        let name = |line: &String| line.rsplit_once(' ').expect("a value").0.to_owned();
        let mut names: Vec<_> = lines.iter().map(name).collect();
        names.sort();
        names
    };
    assert_eq!(names(&before), names(&after));
    assert!(after.len() < 150, "{} series", after.len());
    assert!(after.iter().all(|line| !line.contains("QxZ7")));
    assert_eq!(value(&after, "tidings_rooms{class=\"price:*\"}"), 20_000.0);
    drop((few, many));
}
