//! Feeds arbitrary bytes to the decoders of API replies and to the readers of catalogues. `.ci/fuzz [SECONDS]` builds
//! and runs it.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| match data.first() {
    Some(0x80..) => mde_exporter::facts::read_anything(data),
    _ => mde_exporter::defender::decode_anything(data),
});

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("the fuzzer needs the compiler flags of .ci/fuzz");
}
