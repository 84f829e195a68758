//! The ready bytes of `/metrics`.
//!
//! Fleet data changes with a poll, self metrics with every scrape. So each part of the fleet data is
//! compressed once, when it is rendered, and a scrape only compresses the few kilobytes of self
//! metrics. The reply is still one gzip member (RFC 1952): each part is raw deflate data, compressed on
//! its own, so that it refers to nothing before it, and ended by a full flush, so that it ends with a
//! whole byte. Such parts can be put one after the other; the checksum of the whole is combined from
//! theirs.

use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress, Status};

use super::Exposition;

/// Content type of the text format 0.0.4.
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Deflate, no name, no time, unknown system: the same data gives the same bytes.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Rendered fleet data, plain and compressed, to which each scrape adds the self metrics.
#[derive(Debug)]
pub struct Body {
    parts: Vec<Part>,
    series: [u64; 3],
}

#[derive(Debug)]
struct Part {
    plain: Vec<u8>,
    /// Raw deflate data of `plain`, ended by a full flush.
    deflated: Vec<u8>,
    /// Checksum and length of `plain`.
    checksum: Hasher,
}

impl Body {
    /// Compresses what was rendered.
    #[must_use]
    pub fn new(exposition: Exposition) -> Self {
        let parts = exposition.parts.into_iter().filter(|text| !text.is_empty());
        Self { parts: parts.map(Part::new).collect(), series: exposition.series }
    }

    /// No fleet data yet.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(Exposition::default())
    }

    /// Series of fleet data by level: fleet, machine, update.
    #[must_use]
    pub fn series(&self) -> [u64; 3] {
        self.series
    }

    /// The text, with `self_metrics` at its end.
    #[must_use]
    pub fn plain(&self, self_metrics: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.plain_len() + self_metrics.len());
        for part in &self.parts {
            text.extend_from_slice(&part.plain);
        }
        text.extend_from_slice(self_metrics);
        text
    }

    /// The text, with `self_metrics` at its end, as one gzip member.
    #[must_use]
    pub fn gzip(&self, self_metrics: &[u8]) -> Vec<u8> {
        let last = deflate(self_metrics, FlushCompress::Finish);
        let mut member = Vec::with_capacity(self.gzip_len() + last.len());
        member.extend_from_slice(&GZIP_HEADER);
        let mut checksum = Hasher::new();
        for part in &self.parts {
            member.extend_from_slice(&part.deflated);
            checksum.combine(&part.checksum);
        }
        member.extend_from_slice(&last);
        checksum.update(self_metrics);
        let length = self.plain_len() + self_metrics.len();
        member.extend_from_slice(&checksum.finalize().to_le_bytes());
        // ISIZE is the length modulo 2^32.
        member.extend_from_slice(&(length as u64).to_le_bytes()[..4]);
        member
    }

    /// Length of the text without self metrics.
    #[must_use]
    pub fn plain_len(&self) -> usize {
        self.parts.iter().map(|part| part.plain.len()).sum()
    }

    /// Length of the gzip member without self metrics.
    #[must_use]
    pub fn gzip_len(&self) -> usize {
        const EMPTY_BLOCK_AND_TRAILER: usize = 2 + 8;
        let parts: usize = self.parts.iter().map(|part| part.deflated.len()).sum();
        GZIP_HEADER.len() + parts + EMPTY_BLOCK_AND_TRAILER
    }
}

impl Part {
    fn new(plain: Vec<u8>) -> Self {
        let deflated = deflate(&plain, FlushCompress::Full);
        let mut checksum = Hasher::new();
        checksum.update(&plain);
        Self { plain, deflated, checksum }
    }
}

/// Raw deflate data of `text`, ended as `end` says.
fn deflate(text: &[u8], end: FlushCompress) -> Vec<u8> {
    let mut compress = Compress::new(Compression::default(), false);
    let mut data = Vec::with_capacity(text.len() / 8 + 64);
    loop {
        let taken = usize::try_from(compress.total_in()).expect("Safe: at most the length of a slice");
        let status = compress.compress_vec(&text[taken..], &mut data, end);
        let status = status.expect("Safe: only a wrong state of the stream fails, and this one is fresh");
        // Room left over means that nothing is held back (zlib's manual, `deflate`).
        if status == Status::StreamEnd || (end != FlushCompress::Finish && data.len() < data.capacity()) {
            return data;
        }
        data.reserve(data.capacity());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::bufread::GzDecoder;

    use super::*;

    /// The text of `member`, which must be one gzip member and nothing after it.
    fn gunzip(member: &[u8]) -> Vec<u8> {
        let mut rest = member;
        let mut text = Vec::new();
        GzDecoder::new(&mut rest).read_to_end(&mut text).unwrap();
        assert!(rest.is_empty(), "{} bytes after the member", rest.len());
        text
    }

    fn body(parts: [&[u8]; 3]) -> Body {
        Body::new(Exposition { parts: parts.map(<[u8]>::to_vec), series: [0; 3] })
    }

    #[test]
    fn empty_body_is_a_whole_gzip_member() {
        assert_eq!(gunzip(&Body::empty().gzip(b"")), b"");
        assert_eq!(gunzip(&Body::empty().gzip(b"a 1\n")), b"a 1\n");
    }

    #[test]
    fn lengths_are_those_without_self_metrics() {
        for body in [Body::empty(), body([b"a 1\n", b"", b"b 2\n"])] {
            assert_eq!(body.plain_len(), body.plain(b"").len());
            assert_eq!(body.gzip_len(), body.gzip(b"").len());
        }
    }

    #[test]
    fn parts_that_compress_badly_are_whole() {
        // A linear congruence: nothing to compress, so the first guess of the size is too small.
        let mut state = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(300_000)
        .collect();
        let body = body([&noise[..70_000], &noise[..1], &noise[..300_000]]);
        assert_eq!(gunzip(&body.gzip(&noise[..5000])), body.plain(&noise[..5000]));
    }

    proptest::proptest! {
        #[test]
        fn gzip_holds_the_plain_text(
            parts: [Vec<u8>; 3],
            self_metrics: Vec<u8>,
            times in 1_usize..2000,
        ) {
            let repeated = parts.each_ref().map(|part| part.repeat(times));
            let body = body(repeated.each_ref().map(Vec::as_slice));
            proptest::prop_assert_eq!(gunzip(&body.gzip(&self_metrics)), body.plain(&self_metrics));
        }
    }
}
