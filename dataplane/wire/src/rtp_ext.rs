//! RTP header extension elements (RFC 8285): iterate and write the one-byte and the two-byte form.

use core::ops::Range;

use crate::rtp::ExtensionBlock;
use crate::{Error, Result, bytes};

/// The profile value of one-byte elements.
pub const PROFILE_ONE_BYTE: u16 = 0xbede;
/// The profile value of two-byte elements, with the four "appbits" zero.
pub const PROFILE_TWO_BYTE: u16 = 0x1000;
/// The longest element of the one-byte form in bytes.
pub const ONE_BYTE_LEN_MAX: usize = 16;
/// The longest element of the two-byte form in bytes.
pub const TWO_BYTE_LEN_MAX: usize = 255;

/// Which of the two encodings a block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Ids 1 to 14, data of 1 to 16 bytes (section 4.2).
    OneByte,
    /// Ids 1 to 255, data of 0 to 255 bytes (section 4.3).
    TwoByte,
}

impl Form {
    /// The form a profile value stands for, if any.
    pub fn of_profile(profile: u16) -> Option<Form> {
        match profile {
            PROFILE_ONE_BYTE => Some(Form::OneByte),
            p if p & 0xfff0 == PROFILE_TWO_BYTE => Some(Form::TwoByte),
            _ => None,
        }
    }

    /// The profile value to write.
    pub fn profile(self) -> u16 {
        match self {
            Form::OneByte => PROFILE_ONE_BYTE,
            Form::TwoByte => PROFILE_TWO_BYTE,
        }
    }

    /// The narrowest form that can carry an element, or `None` when neither can.
    pub fn for_element(id: u8, len: usize) -> Option<Form> {
        match (id, len) {
            (0, _) => None,
            (1..=14, 1..=ONE_BYTE_LEN_MAX) => Some(Form::OneByte),
            (_, 0..=TWO_BYTE_LEN_MAX) => Some(Form::TwoByte),
            _ => None,
        }
    }

    /// The narrowest form that can carry all of these, given as id and length, or `None` when no
    /// form can.
    pub fn for_elements(elements: impl IntoIterator<Item = (u8, usize)>) -> Option<Form> {
        elements.into_iter().try_fold(Form::OneByte, |form, (id, len)| {
            let needed = Form::for_element(id, len)?;
            Some(if form == Form::OneByte { needed } else { form })
        })
    }

    fn head_len(self) -> usize {
        match self {
            Form::OneByte => 1,
            Form::TwoByte => 2,
        }
    }
}

/// One element: its negotiated id and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// The local identifier.
    pub id: u8,
    /// The element's bytes.
    pub data: &'a [u8],
    /// Where `data` starts inside the block, for changing it in place.
    pub offset: usize,
}

impl Element<'_> {
    /// Where the element's bytes lie inside the block.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.data.len()
    }
}

/// The elements of a block in order. Padding is skipped; a block of another profile has none. After
/// an element that runs over the end of the block the iterator yields one error and ends.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    data: &'a [u8],
    form: Option<Form>,
    at: usize,
}

impl<'a> Elements<'a> {
    /// Starts reading `block`.
    pub fn new(block: ExtensionBlock<'a>) -> Self {
        Elements { data: block.data, form: Form::of_profile(block.profile), at: 0 }
    }

    /// Id and length of the element whose head is at `at`, or `None` where RFC 8285 says to stop.
    fn head(&self, form: Form) -> Option<Result<(u8, usize)>> {
        let first = *self.data.get(self.at)?;
        match form {
            // Section 4.2: id 15 ends the block whatever its length; so does id 0 with a length.
            Form::OneByte if first >> 4 == 15 || first >> 4 == 0 => None,
            Form::OneByte => Some(Ok((first >> 4, usize::from(first & 0x0f) + 1))),
            Form::TwoByte => match self.data.get(self.at + 1) {
                Some(&len) => Some(Ok((first, usize::from(len)))),
                None => Some(Err(Error::Truncated)),
            },
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let form = self.form?;
        while self.data.get(self.at) == Some(&0) {
            self.at += 1;
        }
        let (id, len) = match self.head(form) {
            Some(Ok(head)) => head,
            Some(Err(e)) => {
                self.form = None;
                return Some(Err(e));
            }
            None => {
                self.form = None;
                return None;
            }
        };
        let offset = self.at + form.head_len();
        let Some(data) = self.data.get(offset..offset + len) else {
            self.form = None;
            return Some(Err(Error::Truncated));
        };
        self.at = offset + len;
        Some(Ok(Element { id, data, offset }))
    }
}

/// Writes elements into a caller's buffer; the result is a block for [`crate::rtp::RtpRepr`].
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    form: Form,
    len: usize,
}

impl<'a> Writer<'a> {
    /// Starts an empty block in `out`.
    pub fn new(out: &'a mut [u8], form: Form) -> Self {
        Writer { out, form, len: 0 }
    }

    /// Appends an element of `len` bytes and gives them (their old contents) for filling in.
    ///
    /// # Errors
    /// `BadType` for an id the form cannot carry, `BadLength` for a length it cannot carry,
    /// `NoSpace`.
    pub fn reserve(&mut self, id: u8, len: usize) -> Result<&mut [u8]> {
        let head = match self.form {
            Form::OneByte if !(1..=14).contains(&id) => return Err(Error::BadType),
            Form::OneByte if !(1..=ONE_BYTE_LEN_MAX).contains(&len) => {
                return Err(Error::BadLength);
            }
            Form::OneByte => [id << 4 | (len - 1) as u8, 0],
            Form::TwoByte if id == 0 => return Err(Error::BadType),
            Form::TwoByte => [id, u8::try_from(len).map_err(|_| Error::BadLength)?],
        };
        let head_len = self.form.head_len();
        let at = self.len;
        let space = self.out.get_mut(at..at + head_len + len).ok_or(Error::NoSpace)?;
        self.len += head_len + len;
        let (head_out, data) = space.split_at_mut(head_len);
        head_out.copy_from_slice(bytes::range(&head, 0, head_len));
        Ok(data)
    }

    /// Appends an element.
    ///
    /// # Errors
    /// As [`Writer::reserve`].
    pub fn push(&mut self, id: u8, data: &[u8]) -> Result<()> {
        self.reserve(id, data.len())?.copy_from_slice(data);
        Ok(())
    }

    /// Pads to whole words and gives the block, or `None` when no element was written.
    ///
    /// # Errors
    /// `NoSpace` when the padding does not fit.
    pub fn finish(self) -> Result<Option<ExtensionBlock<'a>>> {
        if self.len == 0 {
            return Ok(None);
        }
        let padded = self.len.next_multiple_of(4);
        let block = self.out.get_mut(..padded).ok_or(Error::NoSpace)?;
        if let Some(padding) = block.get_mut(self.len..) {
            padding.fill(0);
        }
        Ok(Some(ExtensionBlock { profile: self.form.profile(), data: block }))
    }
}

/// Writes a whole block in the narrowest form that carries all elements, given as id and bytes, or
/// `None` for no elements.
///
/// # Errors
/// `BadType` for an element that no form can carry, `NoSpace`.
pub fn write<'a, 'e>(
    out: &'a mut [u8],
    elements: impl IntoIterator<Item = (u8, &'e [u8]), IntoIter: Clone>,
) -> Result<Option<ExtensionBlock<'a>>> {
    let elements = elements.into_iter();
    let lengths = elements.clone().map(|(id, data)| (id, data.len()));
    let mut writer = Writer::new(out, Form::for_elements(lengths).ok_or(Error::BadType)?);
    for (id, data) in elements {
        writer.push(id, data)?;
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(profile: u16, data: &[u8]) -> Vec<Result<(u8, &[u8])>> {
        Elements::new(ExtensionBlock { profile, data }).map(|e| e.map(|e| (e.id, e.data))).collect()
    }

    #[test]
    fn the_one_byte_example_of_rfc_8285_section_4_2_is_read() {
        // The figure: an element of length 0+1, one of 1+1 behind it, two padding bytes, one of
        // 3+1.
        let data = [0x10, 0xaa, 0x21, 0xbb, 0xcc, 0, 0, 0x33, 1, 2, 3, 4];
        let want: [Result<(u8, &[u8])>; 3] =
            [Ok((1, &[0xaa])), Ok((2, &[0xbb, 0xcc])), Ok((3, &[1, 2, 3, 4]))];
        assert_eq!(read(PROFILE_ONE_BYTE, &data), want);
    }

    #[test]
    fn the_two_byte_example_of_rfc_8285_section_4_3_is_read() {
        let data = [0x01, 0x00, 0x02, 0x01, 0xaa, 0x00, 0x03, 0x04, 1, 2, 3, 4];
        let want: [Result<(u8, &[u8])>; 3] =
            [Ok((1, &[])), Ok((2, &[0xaa])), Ok((3, &[1, 2, 3, 4]))];
        for appbits in 0..16 {
            assert_eq!(read(PROFILE_TWO_BYTE | appbits, &data), want);
        }
    }

    #[test]
    fn id_fifteen_and_id_zero_with_a_length_end_a_one_byte_block() {
        for stop in [0xf0, 0x02] {
            assert_eq!(read(PROFILE_ONE_BYTE, &[0x10, 7, stop, 0x20, 9]), [Ok((1, &[7][..]))]);
        }
    }

    #[test]
    fn an_element_over_the_end_is_one_error_and_the_end() {
        assert_eq!(read(PROFILE_ONE_BYTE, &[0x13, 1, 2]), [Err(Error::Truncated)]);
        assert_eq!(read(PROFILE_TWO_BYTE, &[1, 3, 1, 2]), [Err(Error::Truncated)]);
        assert_eq!(read(PROFILE_TWO_BYTE, &[1]), [Err(Error::Truncated)]);
    }

    #[test]
    fn another_profile_has_no_elements() {
        assert!(read(0x1234, &[0x10, 7, 0, 0]).is_empty());
    }

    #[test]
    fn written_elements_are_padded_to_words_and_read_back() {
        let mut out = [0xff; 32];
        let mut w = Writer::new(&mut out, Form::OneByte);
        w.push(1, &[9]).unwrap();
        w.reserve(14, 16).unwrap().fill(5);
        let block = w.finish().unwrap().unwrap();
        assert_eq!((block.profile, block.data.len()), (PROFILE_ONE_BYTE, 20));
        assert_eq!(read(block.profile, block.data), [Ok((1, &[9][..])), Ok((14, &[5; 16][..]))]);
        let ranges: Vec<_> = Elements::new(block).map(|e| e.unwrap().range()).collect();
        assert_eq!(ranges, [1..2, 3..19]);
    }

    #[test]
    fn what_a_form_cannot_carry_is_refused_and_nothing_is_written() {
        let mut out = [0; 64];
        let mut w = Writer::new(&mut out, Form::OneByte);
        assert_eq!(w.push(0, &[1]), Err(Error::BadType));
        assert_eq!(w.push(15, &[1]), Err(Error::BadType));
        assert_eq!(w.push(1, &[]), Err(Error::BadLength));
        assert_eq!(w.push(1, &[0; 17]), Err(Error::BadLength));
        assert_eq!(w.finish(), Ok(None));
        let mut small = [0; 3];
        let mut w = Writer::new(&mut small, Form::TwoByte);
        assert_eq!(w.push(1, &[1, 2]), Err(Error::NoSpace));
        w.push(1, &[1]).unwrap();
        assert_eq!(w.finish(), Err(Error::NoSpace));
    }

    #[test]
    fn the_narrowest_form_is_chosen() {
        assert_eq!(Form::for_element(14, 16), Some(Form::OneByte));
        assert_eq!(Form::for_element(15, 1), Some(Form::TwoByte));
        assert_eq!(Form::for_element(1, 0), Some(Form::TwoByte));
        assert_eq!(Form::for_element(1, 256), None);
        assert_eq!(Form::for_element(0, 1), None);
    }

    #[test]
    fn a_block_is_as_narrow_as_its_widest_element_allows() {
        type Pair = (u8, &'static [u8]);
        let narrow: [Pair; 2] = [(1, &[9]), (14, &[5; 16])];
        let cases: [(&[Pair], u16, usize); 5] = [
            (&narrow, PROFILE_ONE_BYTE, 20),
            (&[narrow[0], (15, &[1]), narrow[1]], PROFILE_TWO_BYTE, 24),
            (&[narrow[0], (2, &[])], PROFILE_TWO_BYTE, 8),
            (&[(2, &[3; 17]), narrow[0]], PROFILE_TWO_BYTE, 24),
            (&[(255, &[3; 255])], PROFILE_TWO_BYTE, 260),
        ];
        for (elements, profile, len) in cases {
            let mut out = [0xee; 300];
            let block = write(&mut out, elements.iter().copied()).unwrap().unwrap();
            assert_eq!((block.profile, block.data.len()), (profile, len));
            let want: Vec<_> = elements.iter().copied().map(Ok).collect();
            assert_eq!(read(block.profile, block.data), want);
        }
        assert_eq!(write(&mut [0; 64], []), Ok(None));
        assert_eq!(write(&mut [0; 64], [(0, &[1][..])]), Err(Error::BadType));
        assert_eq!(write(&mut [0; 300], [(1, &[1; 256][..])]), Err(Error::BadType));
        assert_eq!(write(&mut [0; 3], [(1, &[1, 2, 3][..])]), Err(Error::NoSpace));
    }
}
