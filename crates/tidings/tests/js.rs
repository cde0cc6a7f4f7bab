//! The browser client, served beside the endpoints it talks to.
#![cfg(feature = "js")]

use tidings::{Hub, Origins, gate};
use tidings_testkit::{Server, request};

#[tokio::test(flavor = "multi_thread")]
async fn the_script_is_served_and_asked_about_again() {
    let server = Server::with_hub(Hub::builder().gate(gate::open()).build()).await;
    let get = async |headers: &[&str]| {
        request(server.address(), "GET", "/realtime/tidings.js", headers, "").await.unwrap()
    };
    let answer = get(&[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), tidings::script::MEDIA_TYPE);
    assert_eq!(answer.header("cache-control"), "no-cache");
    assert_eq!(answer.body, tidings::script::SCRIPT);
    let known = format!("if-none-match: {}", answer.header("etag"));
    let again = get(&[&known]).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_imports_it_where_it_may_use_the_service() {
    let hub = Hub::builder().gate(gate::open()).build();
    let origins = Origins::same().allow("https://app.example").unwrap();
    let server = Server::with_service(tidings::service(hub).origins(origins)).await;
    for (origin, status) in [("https://app.example", 200), ("https://other.example", 403)] {
        let header = format!("origin: {origin}");
        let answer = request(server.address(), "GET", "/realtime/tidings.js", &[&header], "").await.unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), if status == 200 { origin } else { "" });
    }
}
