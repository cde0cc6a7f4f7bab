//! Hands [`tidings_fuzz::extension`] to the fuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::extension::run(bytes));
