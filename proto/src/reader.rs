//! The one bounds-checked cursor. Takes bytes, gives fields in order; never
//! reads past the end.

use crate::RequestError;

/// What is left of a request.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], RequestError> {
        let (field, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(RequestError::Truncated)?;
        self.rest = rest;
        Ok(field)
    }

    /// The next `length` bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], RequestError> {
        let (field, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(RequestError::Truncated)?;
        self.rest = rest;
        Ok(field)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, RequestError> {
        self.array().map(|[byte]| *byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, RequestError> {
        self.array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, RequestError> {
        self.array().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// Ends the reading: whatever is left is padding, and padding is zero.
    pub(crate) fn padding(self) -> Result<(), RequestError> {
        if self.rest.iter().all(|byte| *byte == 0) {
            Ok(())
        } else {
            Err(RequestError::NonzeroPadding)
        }
    }
}
