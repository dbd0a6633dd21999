//! Total access to fields: reading past the end gives zero, writing past the end does nothing.
//!
//! Views check lengths once, so neither happens; being total is what lets the crate refuse every
//! indexing expression by lint and still have accessors without `Option`.

/// The byte at `at`.
#[inline]
pub(crate) fn u8_at(b: &[u8], at: usize) -> u8 {
    b.get(at).copied().unwrap_or(0)
}

/// `N` bytes starting at `at`.
#[inline]
pub(crate) fn array_at<const N: usize>(b: &[u8], at: usize) -> [u8; N] {
    b.get(at..).and_then(|tail| tail.first_chunk::<N>()).copied().unwrap_or([0; N])
}

/// The big-endian u16 at `at`.
#[inline]
pub(crate) fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array_at(b, at))
}

/// The big-endian u32 at `at`.
#[inline]
pub(crate) fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array_at(b, at))
}

/// The big-endian u64 at `at`.
#[inline]
pub(crate) fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array_at(b, at))
}

/// The bytes from `from` to `to`, empty when they are not there.
#[inline]
pub(crate) fn range(b: &[u8], from: usize, to: usize) -> &[u8] {
    b.get(from..to).unwrap_or(&[])
}

/// The bytes from `from` to the end, empty when there are none.
#[inline]
pub(crate) fn tail(b: &[u8], from: usize) -> &[u8] {
    b.get(from..).unwrap_or(&[])
}

/// Writes `value` at `at`.
#[inline]
pub(crate) fn put<const N: usize>(b: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(field) = b.get_mut(at..).and_then(|tail| tail.first_chunk_mut::<N>()) {
        *field = value;
    }
}

/// Writes `value` at `at`, all of it or nothing.
#[inline]
pub(crate) fn put_slice(b: &mut [u8], at: usize, value: &[u8]) {
    if let Some(field) = b.get_mut(at..at.saturating_add(value.len())) {
        field.copy_from_slice(value);
    }
}
