//! Everything that reads what the API sends, with whatever bytes. `.ci/fuzz [SECONDS]` runs it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mde_exporter::defender::decode_anything(data));
