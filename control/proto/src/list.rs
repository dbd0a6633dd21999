//! A short list in place: what a message on a ring may carry instead of a heap vector.

use bincode::de::{BorrowDecode, BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

/// Up to `N` items. Encoded as one length byte and the items.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct List<T, const N: usize> {
    len: u8,
    items: [T; N],
}

impl<T: Copy + Default, const N: usize> List<T, N> {
    /// The first `N` items of `items` would fit; more is `None`.
    pub fn from_slice(items: &[T]) -> Option<Self> {
        let mut list = Self::default();
        items.iter().all(|item| list.push(*item)).then_some(list)
    }

    /// Appends; `false` when full.
    pub fn push(&mut self, item: T) -> bool {
        let Some(place) = self.items.get_mut(self.len as usize) else { return false };
        *place = item;
        self.len += 1;
        true
    }
}

impl<T: Copy + Default, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        const { assert!(N <= 255) };
        List { len: 0, items: [T::default(); N] }
    }
}

impl<T, const N: usize> std::ops::Deref for List<T, N> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.items[..self.len as usize]
    }
}

impl<T, const N: usize> std::ops::DerefMut for List<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items[..self.len as usize]
    }
}

impl<T: std::fmt::Debug, const N: usize> std::fmt::Debug for List<T, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: Encode, const N: usize> Encode for List<T, N> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.len.encode(encoder)?;
        self.iter().try_for_each(|item| item.encode(encoder))
    }
}

impl<Context, T: Decode<Context> + Copy + Default, const N: usize> Decode<Context> for List<T, N> {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let len = u8::decode(decoder)? as usize;
        if len > N {
            return Err(DecodeError::ArrayLengthMismatch { required: N, found: len });
        }
        let mut list = Self::default();
        for _ in 0..len {
            list.push(T::decode(decoder)?);
        }
        Ok(list)
    }
}

impl<'de, Context, T, const N: usize> BorrowDecode<'de, Context> for List<T, N>
where
    T: Decode<Context> + Copy + Default,
{
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}
