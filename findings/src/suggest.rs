//! "Did you mean": the known word nearest to what was written.
//!
//! Pure, and bounded: long texts are compared with nothing.

/// Longest text for which a nearest word is looked for, in characters.
const MAX_LEN: usize = 64;

/// What counts as one slip of the pen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditDistance {
    /// A character too many, too few or wrong (Levenshtein); at most two of them.
    Levenshtein,
    /// Two neighbours exchanged as well ("optimal string alignment"); at most three.
    OptimalStringAlignment,
}

impl EditDistance {
    const fn max(self) -> usize {
        match self {
            Self::Levenshtein => 2,
            Self::OptimalStringAlignment => 3,
        }
    }
}

/// The candidate with the fewest slips, if they are few for its length.
#[must_use]
pub fn nearest<'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    metric: EditDistance,
) -> Option<&'a str> {
    let lowercase = text.to_lowercase();
    let length = lowercase.chars().take(MAX_LEN + 1).count();
    if length > MAX_LEN {
        return None;
    }
    let distance = match metric {
        EditDistance::Levenshtein => strsim::levenshtein,
        EditDistance::OptimalStringAlignment => strsim::osa_distance,
    };
    let measured = candidates
        .into_iter()
        .map(|candidate| (distance(&lowercase, candidate), candidate));
    let (edits, candidate) = measured.min()?;
    let allowed = candidate.len().div_ceil(3).min(metric.max());
    (edits <= allowed && edits < length).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        let known = ["ttl", "max_ttl", "ssh", "admin"];
        let nearest = |text| nearest(text, known, EditDistance::OptimalStringAlignment);
        assert_eq!(nearest("shs"), Some("ssh"));
        assert_eq!(nearest("sssh"), Some("ssh"));
        assert_eq!(nearest("SSH"), Some("ssh"));
        assert_eq!(nearest("max_tll"), Some("max_ttl"));
        assert_eq!(nearest("maxttl"), Some("max_ttl"));
        assert_eq!(nearest("postgres"), None);
        assert_eq!(nearest(""), None);
        assert_eq!(nearest(&"s".repeat(10_000)), None);
    }

    #[test]
    fn without_exchanges_two_neighbours_are_two_slips() {
        let known = ["address", "port", "key", "ssh"];
        let nearest = |text| nearest(text, known, EditDistance::Levenshtein);
        assert_eq!(nearest("adress"), Some("address"));
        assert_eq!(nearest("Port"), Some("port"));
        assert_eq!(nearest("shs"), None);
        assert_eq!(nearest("identity"), None);
        assert_eq!(nearest(""), None);
        assert_eq!(nearest(&"k".repeat(10_000)), None);
    }
}
