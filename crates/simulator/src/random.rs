//! Pseudo-random numbers that are a function of their arguments.
//!
//! The simulator uses no generator with a state: the properties of a machine follow from the seed and its
//! index, in whatever order clients request them.

/// 64 evenly distributed bits for `(a, b)` (the finaliser of `SplitMix64`).
pub(super) fn mix(seed: u64, a: u64, b: u64) -> u64 {
    let mut z = seed
        .wrapping_add(a.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_add(b.wrapping_mul(0xd1b5_4a32_d192_ed03))
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A GUID for `(a, b)`.
pub(super) fn guid(a: u64, b: u64) -> String {
    let high = mix(1, a, b);
    let low = mix(2, a, b);
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}

/// A machine id (40 lower-case hex characters) for an index.
pub(super) fn machine_id(seed: u64, index: u64) -> String {
    let parts = [mix(seed, index, 11), mix(seed, index, 12), mix(seed, index, 13)];
    format!("{:016x}{:016x}{:08x}", parts[0], parts[1], parts[2] & 0xffff_ffff)
}
