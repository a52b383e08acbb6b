//! Hashes that are the same in every replica and every build.

/// The hash of an endpoint's name, or of what makes a client the same one.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    // FNV-1a, whose upper bits are poor for short input.
    let fnv = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    mix(fnv)
}

/// Spreads a number over all 64 bits (`splitmix64`): also the next of several random numbers where one was given.
pub(super) const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
