//! Hands [`tidings_fuzz::query`] to the fuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::query::run(bytes));
