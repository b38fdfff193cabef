//! Whether checksums count.

/// Whether a checksum that was compared is taken for right. Under the fuzzer every one is: random bytes have none that is,
/// and would never reach what stands behind it.
pub fn is_right(same: bool) -> bool {
    same || cfg!(fuzzing)
}
