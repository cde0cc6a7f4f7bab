//! Hands [`tidings_fuzz::command`] to the fuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::command::run(bytes));
