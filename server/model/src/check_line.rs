//! The last line of a text file that must not be damaged: a CRC-32 of everything before it. Pure.

/// Length of the line.
const LENGTH: usize = "check 00000000\n".len();

/// Makes the line for the concatenation of these texts; the last must end with a newline.
#[must_use]
pub fn compute(texts: &[&[u8]]) -> String {
    let mut crc = crc32fast::Hasher::new();
    texts.iter().for_each(|text| crc.update(text));
    format!("check {:08x}\n", crc.finalize())
}

/// Returns the text before the line; `None` if the check value does not match.
#[must_use]
pub fn verify(file: &[u8]) -> Option<&[u8]> {
    let (text, line) = file.split_at_checked(file.len().checked_sub(LENGTH)?)?;
    (compute(&[text]).as_bytes() == line).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_verified_as_it_was_and_in_no_other_form() {
        let text = b"{\n}\n";
        let file = [&text[..], compute(&[b"{\n", b"}\n"]).as_bytes()].concat();
        assert_eq!(verify(&file), Some(&text[..]));
        for bit in 0..file.len() * 8 {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(verify(&damaged), None, "bit {bit}");
        }
        for length in 0..file.len() {
            assert_eq!(verify(&file[..length]), None);
        }
        assert_eq!(verify(text), None, "as an earlier build wrote it");
    }
}
