//! Bytes that look random and are the same in every run.

/// Random bytes from a seed; xorshift is plenty for choosing operations.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes()[2..6]);
    }
    bytes.truncate(len);
    bytes
}
