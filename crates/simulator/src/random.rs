//! Numbers that look random and are a function of their place.
//!
//! Nothing in the simulator draws from a generator with a state: what a machine is and does follows from the
//! seed and from where it stands, whatever is asked in which order.

/// An even spread of 64 bits for a place `(a, b)` (the finaliser of `SplitMix64`).
pub(super) fn mix(seed: u64, a: u64, b: u64) -> u64 {
    let mut z = seed
        .wrapping_add(a.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_add(b.wrapping_mul(0xd1b5_4a32_d192_ed03))
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A GUID for a place.
pub(super) fn guid(a: u64, b: u64) -> String {
    let (high, low) = (mix(1, a, b), mix(2, a, b));
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}

/// A machine id (40 lower-case hex characters) for a place.
pub(super) fn machine_id(seed: u64, index: u64) -> String {
    let parts = [mix(seed, index, 11), mix(seed, index, 12), mix(seed, index, 13)];
    format!("{:016x}{:016x}{:08x}", parts[0], parts[1], parts[2] & 0xffff_ffff)
}
