//! A hub inside an axum application, beside ordinary routes.
//!
//! `POST /orders` takes an order and tells everybody who listens to the room `orders`:
//!
//! What it counts is at `/metrics`, for Prometheus.
//!
//! ```text
//! curl -N 'http://127.0.0.1:3000/realtime/sse?room=orders'
//! curl -d '{"item":"tea"}' -H 'content-type: application/json' http://127.0.0.1:3000/orders
//! ```

use anyhow::Context;
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use clap::Parser;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::{net::SocketAddr, time::Duration};
use tidings::{
    Event, Hub, Service,
    axum::{Connection, Listener},
    gate,
};
use tokio::net::TcpListener;

/// An axum application that tells its clients about orders.
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3000", value_name = "ADDR")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let hub = Hub::builder().gate(gate::read_only()).build(); // what is published comes from the routes below
    let realtime = tidings::service(hub.clone()).ready("/ready");
    let metrics =
        Metrics { service: realtime.clone(), prometheus: PrometheusBuilder::new().install_recorder()? };
    let app = Router::new()
        .route("/", get("Listen at /realtime/sse?room=orders, and POST JSON to /orders.\n"))
        .route("/orders", post(order))
        .with_state(hub.clone())
        .route("/metrics", get(scrape).with_state(metrics))
        .route_service("/ready", realtime.clone())
        .nest_service("/realtime", realtime);
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    println!("axum-app on http://{}", listener.local_addr()?);
    let stop = tidings::shutdown_signal()?;
    let drained = async move {
        stop.await;
        // Open streams would keep the server waiting: each is told to come back later.
        hub.drain(Duration::from_secs(10)).await;
    };
    // The hub writes to these connections itself, and gates and limits know where clients are.
    let app = app.into_make_service_with_connect_info::<Connection>();
    axum::serve(Listener::from(listener), app).with_graceful_shutdown(drained).await?;
    Ok(())
}

#[derive(Clone)]
struct Metrics {
    service: Service,
    prometheus: PrometheusHandle,
}

/// What only those should see who run it: in earnest, at an address or a port that is not everybody's.
async fn scrape(State(Metrics { service, prometheus }): State<Metrics>) -> String {
    tidings::metrics::record(&service);
    prometheus.render()
}

async fn order(
    State(hub): State<Hub>,
    Json(order): Json<serde_json::Value>,
) -> Result<String, (StatusCode, String)> {
    let event = Event::json("order", &order).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let position = hub
        .publish("orders", event)
        .await
        .map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    Ok(format!("{position}\n"))
}
