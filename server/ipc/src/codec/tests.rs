//! What each part of a message accepts, and what it refuses.

use super::*;

/// Decodes one part from these bytes; tells how many are left.
fn decode<'a, T>(
    bytes: &'a [u8],
    part: impl FnOnce(&mut Decoder<'a>) -> Result<T, DecodeError>,
) -> Result<(T, usize), DecodeError> {
    let mut input = Decoder(bytes);
    let value = part(&mut input)?;
    Ok((value, input.0.len()))
}

fn encode(put: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut out = Encoder(Vec::new());
    put(&mut out);
    out.0
}

#[test]
fn a_part_ends_where_the_next_one_begins() {
    assert_eq!(decode(&[1, 2, 9], Decoder::u16), Ok((0x0102, 1)));
    assert_eq!(
        decode(&[0, 2, b'h', b'i', 9], |input| input.text(5)),
        Ok(("hi".to_owned(), 1))
    );
    assert_eq!(
        decode(&[2, b'4', b'2', 9], Decoder::name::<u8>),
        Ok((Some(42), 1))
    );
    assert_eq!(decode(&[0, 9], Decoder::name::<u8>), Ok((None, 1)));
    assert_eq!(
        decode(&[0, 2, 5, 6, 9], |input| input.list(2, Decoder::u8)),
        Ok((vec![5, 6], 1))
    );
}

#[test]
fn what_is_short_long_or_of_another_form_is_refused() {
    assert_eq!(decode(&[0; 7], Decoder::u64), Err(DecodeError("truncated")));
    assert_eq!(
        decode(&[2], Decoder::flag),
        Err(DecodeError("neither yes nor no"))
    );
    assert_eq!(
        decode(&[5, 0, 0, 0, 0], Decoder::address),
        Err(DecodeError("unknown family"))
    );
    assert_eq!(
        decode(&[6, 0, 0], Decoder::service),
        Err(DecodeError("port 0"))
    );
    assert_eq!(
        decode(&[0], |input| input.code(&[('a', 1)])),
        Err(DecodeError("unknown word"))
    );
    assert_eq!(
        decode(&[1, b'x'], Decoder::name::<u8>),
        Err(DecodeError("not a name"))
    );
    assert_eq!(
        decode(&[2, b'4'], Decoder::name::<u8>),
        Err(DecodeError("truncated"))
    );
    assert_eq!(
        decode(&[0, 1, 0xff], |input| input.text(5)),
        Err(DecodeError("not UTF-8"))
    );
    assert_eq!(
        decode(&[0, 3, 0, 0, 0], |input| input.text(2)),
        Err(DecodeError("too many"))
    );
    assert_eq!(
        decode(&[0, 3, 0, 0, 0], |input| input.list(2, Decoder::u8)),
        Err(DecodeError("too many"))
    );
    assert_eq!(
        decode(&[0; 3], |input| input.last_text(2)),
        Err(DecodeError("too long"))
    );
}

#[test]
fn a_text_is_cut_between_two_characters() {
    assert_eq!(encode(|out| out.put_text("aé", 2)), [0, 1, b'a']);
    assert_eq!(
        encode(|out| out.put_text("aé", 3)),
        [0, 3, b'a', 0xc3, 0xa9]
    );
    assert_eq!(encode(|out| out.put_last_text("aé", 2)), [b'a']);
}

#[test]
fn what_does_not_fit_becomes_the_largest_number_and_an_unknown_word_none() {
    assert_eq!(encode(|out| out.put_duration(Duration::MAX)), [0xff; 8]);
    assert_eq!(encode(|out| out.put_code(&[('a', 1)], &'b')), [0]);
}
