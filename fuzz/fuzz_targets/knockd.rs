#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| spa_fuzz::knockd::run(data));
