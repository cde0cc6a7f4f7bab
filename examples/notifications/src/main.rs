//! Notifications: each user has a room, which nobody else can enter, and reads it on whatever devices and over
//! whatever transport. The application is axum's; it knows who is signed in by a cookie.
//!
//! It is a demonstration in one thing alone: there are no passwords, so anybody can sign in as anybody.

mod inbox;
mod sign_in;

use anyhow::Context;
use axum::{
    Router,
    http::header::CONTENT_TYPE,
    response::Html,
    routing::{get, post},
};
use clap::Parser;
use inbox::{INBOXES, OwnInbox};
use sign_in::Cookies;
use std::{net::SocketAddr, time::Duration};
use tidings::{
    Hub, Rooms,
    axum::{Connection, Listener},
};
use tokio::net::TcpListener;

/// Notifications for signed-in users, on all of their devices.
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3000", value_name = "ADDR")]
    listen: SocketAddr,
    /// Signs the cookies, in 32 bytes or more; at random unless given, so that a restart signs everybody out.
    #[arg(long, env = "NOTIFICATIONS_SECRET", hide_env_values = true, value_name = "TEXT")]
    secret: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let cookies = Cookies::new(options.secret.as_deref())?;
    let hub = Hub::builder()
        .gate(OwnInbox(cookies.clone()))
        .rooms(&format!("{INBOXES}*"), Rooms::log(200, Duration::from_secs(7 * 86_400)).bytes(256 << 10))
        .build();
    inbox::answer_calls(&hub);
    let realtime = tidings::service(hub.clone()).ready("/ready");
    let app = Router::new()
        .route("/", get(Html(include_str!("../page/index.html"))))
        .route("/page.js", get(([(CONTENT_TYPE, "text/javascript")], include_str!("../page/page.js"))))
        .route("/page.css", get(([(CONTENT_TYPE, "text/css")], include_str!("../page/page.css"))))
        .route("/me", get(sign_in::me))
        .route("/sign-in", post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .with_state(cookies)
        .route_service("/ready", realtime.clone())
        .nest_service("/realtime", realtime);
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    println!("notifications on http://{}", listener.local_addr()?);
    let stop = tidings::shutdown_signal()?;
    let drained = async move {
        stop.await;
        // Open streams would keep the server waiting: each is told to come back later.
        hub.drain(Duration::from_secs(10)).await;
    };
    // The hub writes to these connections itself, and limits know where clients are.
    let app = app.into_make_service_with_connect_info::<Connection>();
    axum::serve(Listener::from(listener), app).with_graceful_shutdown(drained).await?;
    Ok(())
}
