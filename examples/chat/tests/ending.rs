//! The end of the program: every client is told.

use tidings_testkit::{Program, ends_well};

#[tokio::test]
async fn every_client_is_told_and_the_program_ends() {
    ends_well(Program::start(env!("CARGO_BIN_EXE_chat"), &[]).await, "orders").await;
}
