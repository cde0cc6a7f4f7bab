//! Hands [`tidings_fuzz::answers`] to the fuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::answers::run(bytes));
