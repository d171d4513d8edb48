//! The layout of messages: values to bytes and back.
//!
//! Pure. Integers are big-endian; times are microseconds in 8 bytes. The decoder refuses whatever
//! is too short, too long, out of range or not in its one canonical form. No input makes it panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::str::FromStr;
use std::time::Duration;

use spa_proto::{Protocol, Service};

#[cfg(test)]
mod tests;

/// Room for a change of one grant, so that a packet's message never grows.
const INITIAL_CAPACITY: usize = 64;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub &'static str);

/// What a helper and the engine send each other, in one direction.
pub trait Message: Sized {
    /// The helper that exchanges these messages with the engine, as errors call it.
    const HELPER: &'static str;

    /// The longest message, in bytes.
    const MAX: usize;

    /// Writes the message.
    fn encode(&self, out: &mut Encoder);

    /// Reads a message and nothing behind it.
    ///
    /// # Errors
    /// The bytes do not have the layout.
    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError>;

    /// Encodes the message, in at most [`Self::MAX`] bytes.
    #[must_use]
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Encoder(Vec::with_capacity(INITIAL_CAPACITY));
        self.encode(&mut out);
        out.0
    }

    /// Decodes one whole message.
    ///
    /// # Errors
    /// The bytes do not have the layout, or more follows.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder(bytes);
        let message = Self::decode(&mut input)?;
        match input.0 {
            [] => Ok(message),
            _ => Err(DecodeError("trailing bytes")),
        }
    }
}

/// Writes a message.
#[derive(Debug)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    /// Writes these bytes, without their length.
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Writes one byte.
    pub fn put_u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Writes a number in two bytes.
    pub fn put_u16(&mut self, value: u16) {
        self.put_bytes(&value.to_be_bytes());
    }

    /// Writes a number in four bytes.
    pub fn put_u32(&mut self, value: u32) {
        self.put_bytes(&value.to_be_bytes());
    }

    /// Writes a signed number in four bytes.
    pub fn put_i32(&mut self, value: i32) {
        self.put_bytes(&value.to_be_bytes());
    }

    /// Writes a number in eight bytes.
    pub fn put_u64(&mut self, value: u64) {
        self.put_bytes(&value.to_be_bytes());
    }

    /// Writes a flag in one byte.
    pub fn put_flag(&mut self, value: bool) {
        self.put_u8(u8::from(value));
    }

    /// Writes the number that the table gives a word; 0, which no decoder accepts, if it gives
    /// none.
    pub fn put_code<T: PartialEq>(&mut self, table: &[(T, u8)], word: &T) {
        let row = table.iter().find(|(known, _)| known == word);
        self.put_u8(row.map_or(0, |(_, code)| *code));
    }

    /// Writes a time.
    pub fn put_duration(&mut self, time: Duration) {
        self.put_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Writes an address behind its family.
    pub fn put_address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                self.put_u8(4);
                self.put_bytes(&address.octets());
            }
            IpAddr::V6(address) => {
                self.put_u8(6);
                self.put_bytes(&address.octets());
            }
        }
    }

    /// Writes a port; 0 for none.
    pub fn put_port(&mut self, port: Option<NonZeroU16>) {
        self.put_u16(port.map_or(0, NonZeroU16::get));
    }

    /// Writes a protocol and a port.
    pub fn put_service(&mut self, service: Service) {
        self.put_u8(service.protocol.number());
        self.put_port(Some(service.port));
    }

    /// Writes a list behind its length.
    pub fn put_list<T>(&mut self, items: &[T], mut put_item: impl FnMut(&mut Self, &T)) {
        self.put_len(items.len());
        for item in items {
            put_item(self, item);
        }
    }

    /// Writes a name behind its length in one byte; none as the empty name.
    pub fn put_name(&mut self, name: Option<&str>) {
        let name = name.unwrap_or_default();
        // At most 64 bytes: the types of names guarantee it.
        self.put_u8(u8::try_from(name.len()).unwrap_or(0));
        self.put_bytes(name.as_bytes());
    }

    /// Writes a text behind its length, cut to this many bytes.
    pub fn put_text(&mut self, text: &str, max: usize) {
        let text = truncate(text, max);
        self.put_len(text.len());
        self.put_bytes(text.as_bytes());
    }

    /// Writes a text that ends the message, cut to this many bytes.
    pub fn put_last_text(&mut self, text: &str, max: usize) {
        self.put_bytes(truncate(text, max).as_bytes());
    }

    fn put_len(&mut self, len: usize) {
        // The decoder's limits refuse a list that is longer than this.
        self.put_u16(u16::try_from(len).unwrap_or(u16::MAX));
    }
}

/// Cuts a text between two characters.
fn truncate(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

/// Reads a message.
#[derive(Debug)]
pub struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    /// Reads this many bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(DecodeError("truncated"))?;
        self.0 = rest;
        Ok(*array)
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// Nothing is left.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    /// Reads a number of two bytes.
    ///
    /// # Errors
    /// Too little is left.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Reads a number of four bytes.
    ///
    /// # Errors
    /// Too little is left.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads a signed number of four bytes.
    ///
    /// # Errors
    /// Too little is left.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    /// Reads a number of eight bytes.
    ///
    /// # Errors
    /// Too little is left.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads a flag.
    ///
    /// # Errors
    /// It is neither 0 nor 1.
    pub fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError("neither yes nor no")),
        }
    }

    /// Reads a word by its number in the table.
    ///
    /// # Errors
    /// The table has no such number.
    pub fn code<T: Copy>(&mut self, table: &[(T, u8)]) -> Result<T, DecodeError> {
        let code = self.u8()?;
        let row = table.iter().find(|(_, known)| *known == code);
        row.map(|(word, _)| *word)
            .ok_or(DecodeError("unknown word"))
    }

    /// Reads a time.
    ///
    /// # Errors
    /// Too little is left.
    pub fn duration(&mut self) -> Result<Duration, DecodeError> {
        self.u64().map(Duration::from_micros)
    }

    /// Reads an address behind its family.
    ///
    /// # Errors
    /// The family is unknown.
    pub fn address(&mut self) -> Result<IpAddr, DecodeError> {
        match self.u8()? {
            4 => Ok(Ipv4Addr::from(self.array::<4>()?).into()),
            6 => Ok(Ipv6Addr::from(self.array::<16>()?).into()),
            _ => Err(DecodeError("unknown family")),
        }
    }

    /// Reads a port; none for 0.
    ///
    /// # Errors
    /// Too little is left.
    pub fn port(&mut self) -> Result<Option<NonZeroU16>, DecodeError> {
        self.u16().map(NonZeroU16::new)
    }

    /// Reads a protocol and a port.
    ///
    /// # Errors
    /// The protocol is unknown, or the port is 0.
    pub fn service(&mut self) -> Result<Service, DecodeError> {
        let protocol = Protocol::from_number(self.u8()?);
        Ok(Service {
            protocol: protocol.ok_or(DecodeError("unknown protocol"))?,
            port: self.port()?.ok_or(DecodeError("port 0"))?,
        })
    }

    /// Reads a list of at most this many items.
    ///
    /// # Errors
    /// It has more, or an item does not have its layout.
    pub fn list<T>(
        &mut self,
        max: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let len = self.len(max)?;
        let mut items = Vec::with_capacity(len);
        for _ in 0..len {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Reads a name; none if it is empty.
    ///
    /// # Errors
    /// It is not a name of this type.
    pub fn name<T: FromStr>(&mut self) -> Result<Option<T>, DecodeError> {
        let len = usize::from(self.u8()?);
        match self.str(len)? {
            "" => Ok(None),
            name => name
                .parse()
                .map(Some)
                .map_err(|_| DecodeError("not a name")),
        }
    }

    /// Reads a text of at most this many bytes.
    ///
    /// # Errors
    /// It is longer, or not UTF-8.
    pub fn text(&mut self, max: usize) -> Result<String, DecodeError> {
        let len = self.len(max)?;
        self.str(len).map(str::to_owned)
    }

    /// Reads a text of at most this many bytes that ends the message.
    ///
    /// # Errors
    /// It is longer, or not UTF-8.
    pub fn last_text(&mut self, max: usize) -> Result<String, DecodeError> {
        let bytes = self.last_bytes(max)?;
        let text = str::from_utf8(bytes).map_err(|_| DecodeError("not UTF-8"))?;
        Ok(text.to_owned())
    }

    /// Reads what ends the message, at most this many bytes.
    ///
    /// # Errors
    /// More are left.
    pub fn last_bytes(&mut self, max: usize) -> Result<&'a [u8], DecodeError> {
        if self.0.len() > max {
            return Err(DecodeError("too long"));
        }
        Ok(std::mem::take(&mut self.0))
    }

    fn len(&mut self, max: usize) -> Result<usize, DecodeError> {
        let len = usize::from(self.u16()?);
        match len <= max {
            true => Ok(len),
            false => Err(DecodeError("too many")),
        }
    }

    fn str(&mut self, len: usize) -> Result<&'a str, DecodeError> {
        let (bytes, rest) = self
            .0
            .split_at_checked(len)
            .ok_or(DecodeError("truncated"))?;
        self.0 = rest;
        str::from_utf8(bytes).map_err(|_| DecodeError("not UTF-8"))
    }
}
