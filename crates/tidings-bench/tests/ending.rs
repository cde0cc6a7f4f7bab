//! The end of the program: every client is told, by our own server and by axum's.

use tidings_testkit::{Program, ends_well};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

#[tokio::test]
async fn every_client_is_told_and_the_program_ends() {
    ends_well(Program::start(SERVER, &[]).await, "r").await;
}

#[tokio::test]
async fn every_client_is_told_and_an_application_of_axum_ends() {
    for how in ["--axum", "--through-axum"] {
        ends_well(Program::start(SERVER, &[how]).await, "r").await;
    }
}
