//! Expositions, decoded.

use std::io::Read;

use flate2::bufread::GzDecoder;

use super::*;
use crate::metrics::chunk::Chunk;

/// Unpacks `member`, which must be exactly one gzip member.
fn gunzip(member: &[u8]) -> Vec<u8> {
    let mut rest = member;
    let mut text = Vec::new();
    GzDecoder::new(&mut rest).read_to_end(&mut text).unwrap();
    assert!(rest.is_empty(), "{} bytes after the member", rest.len());
    text
}

/// A body whose levels have these chunks.
fn body(levels: [&[&[u8]]; 3]) -> Body {
    let mut encoder = ChunkEncoder::default();
    let mut sequence = |texts: &[&[u8]]| -> ChunkSequence {
        let chunks: Vec<Chunk> = texts.iter().map(|text| encoder.chunk(text, None)).collect();
        chunks.iter().collect()
    };
    let [fleet, machine, update] = levels;
    Body {
        fleet: [sequence(fleet), sequence(fleet)],
        deeper: [sequence(machine), sequence(update)],
        budget: SeriesBudget::choose(0, DetailLevel::Update, (0, 0), [0, 0]),
    }
}

/// Collects the bytes of an exposition and checks the remaining length after each buffer.
fn bytes(mut exposition: ExpositionBody) -> Vec<u8> {
    let (mut bytes, length) = (Vec::new(), exposition.remaining());
    while let Some(buffer) = exposition.next() {
        assert!(!buffer.is_empty());
        bytes.extend_from_slice(&buffer);
        assert_eq!(bytes.len() as u64 + exposition.remaining(), length);
    }
    assert_eq!(bytes.len() as u64, length);
    bytes
}

fn gzip(body: &Body, self_metrics: &[u8]) -> Vec<u8> {
    bytes(body.answer(
        DetailLevel::Update,
        ExpositionFormat::Text,
        ContentEncoding::Gzip,
        self_metrics.to_vec(),
    ))
}

/// Bytes of a linear congruential generator, which do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn empty_body_is_a_complete_gzip_member() {
    let empty = body([&[], &[], &[]]);
    assert_eq!(gunzip(&gzip(&empty, b"")), b"");
    assert_eq!(gunzip(&gzip(&empty, b"a 1\n")), b"a 1\n");
}

#[test]
fn lengths_are_those_without_self_metrics() {
    for body in [body([&[], &[], &[]]), body([&[b"a 1\n"], &[], &[b"b 2\n", b"b 3\n"]])] {
        assert_eq!(
            body.length(ExpositionFormat::Text, ContentEncoding::Identity),
            body.plain(b"").len() as u64
        );
        assert_eq!(body.length(ExpositionFormat::Text, ContentEncoding::Gzip), gzip(&body, b"").len() as u64);
    }
}

#[test]
fn incompressible_chunks_are_complete() {
    let noise = noise(300_000);
    let body = body([&[&noise[..70_000], &noise[..20_000], &noise[..1]], &[], &[&noise[..300_000]]]);
    assert_eq!(gunzip(&gzip(&body, &noise[..5000])), body.plain(&noise[..5000]));
}

#[test]
fn every_level_is_a_complete_body() {
    let body = body([&[b"f 1\n"], &[b"m 1\n"], &[b"u 1\n"]]);
    for (level, expected) in
        DetailLevel::ALL.into_iter().zip(["f 1\ns 1\n", "f 1\nm 1\ns 1\n", "f 1\nm 1\nu 1\ns 1\n"])
    {
        let text = |encoding| bytes(body.answer(level, ExpositionFormat::Text, encoding, b"s 1\n".to_vec()));
        assert_eq!(text(ContentEncoding::Identity), expected.as_bytes());
        assert_eq!(gunzip(&text(ContentEncoding::Gzip)), expected.as_bytes());
    }
}

#[test]
fn openmetrics_ends_with_its_end_marker() {
    let body = body([&[b"f 1\n"], &[], &[]]);
    let text = |encoding| {
        bytes(body.answer(DetailLevel::Update, ExpositionFormat::OpenMetrics, encoding, b"s 1\n".to_vec()))
    };
    assert_eq!(text(ContentEncoding::Identity), b"f 1\ns 1\n# EOF\n");
    assert_eq!(gunzip(&text(ContentEncoding::Gzip)), text(ContentEncoding::Identity));
}

#[test]
fn long_chunks_are_shared_and_short_ones_are_joined() {
    let (long, short) = (noise(50_000), noise(10));
    let (long, short) = (long.as_slice(), short.as_slice());
    let thousand: &[u8] = &[b'x'; 1000];
    let body = body([&[short; 100], &[long, short, long], &[thousand; 1000]]);
    let answer = || {
        body.answer(DetailLevel::Update, ExpositionFormat::Text, ContentEncoding::Identity, b"s 1\n".to_vec())
    };
    let lengths: Vec<usize> = answer().map(|buffer| buffer.len()).collect();
    assert_eq!(lengths[..4], [1000, 50_000, 10, 50_000]);
    assert_eq!(lengths.len(), 4 + 5 + 1, "a million bytes in short chunks: {lengths:?}");
    let addresses =
        |exposition: ExpositionBody| exposition.map(|buffer| buffer.as_ptr()).take(9).collect::<Vec<_>>();
    assert_eq!(addresses(answer()), addresses(answer()));
}

proptest::proptest! {
    #[test]
    fn gzip_holds_the_plain_text(
        levels: [Vec<Vec<u8>>; 3],
        self_metrics: Vec<u8>,
        times in 1_usize..2000,
    ) {
        let repeated = levels.map(|chunks| chunks.iter().map(|chunk| chunk.repeat(times)).collect::<Vec<_>>());
        let slices = repeated.each_ref().map(|chunks| chunks.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let body = body(slices.each_ref().map(Vec::as_slice));
        proptest::prop_assert_eq!(body.plain(b""), repeated.concat().concat());
        proptest::prop_assert_eq!(gunzip(&gzip(&body, &self_metrics)), body.plain(&self_metrics));
    }
}
