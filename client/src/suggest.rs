//! "Did you mean": the known word nearest to what was written. Pure and bounded.

/// Longest text for which a nearest word is looked for, in characters.
const LONGEST: usize = 64;

/// The known word with the fewest edits, where they are few for its length.
#[must_use]
pub fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text: Vec<char> = text.to_lowercase().chars().take(LONGEST + 1).collect();
    if text.len() > LONGEST {
        return None;
    }
    let measured = known.into_iter().map(|word| (edits(&text, word), word));
    let (edits, word) = measured.min()?;
    (edits <= word.len().div_ceil(3).min(2) && edits < text.len()).then_some(word)
}

/// Insertions, deletions and replacements of one character (Levenshtein).
fn edits(from: &[char], to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut costs: Vec<usize> = (0..=to.len()).collect();
    for (line, left) in from.iter().enumerate() {
        let mut next = Vec::with_capacity(costs.len());
        let mut beside = line.saturating_add(1);
        next.push(beside);
        for (above, right) in costs.windows(2).zip(&to) {
            let &[diagonal, above] = above else { continue };
            let replaced = diagonal.saturating_add(usize::from(left != right));
            beside = replaced
                .min(above.saturating_add(1))
                .min(beside.saturating_add(1));
            next.push(beside);
        }
        costs = next;
    }
    costs.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        let known = ["address", "port", "key", "services"];
        let nearest = |text| nearest(text, known);
        assert_eq!(nearest("adress"), Some("address"));
        assert_eq!(nearest("Port"), Some("port"));
        assert_eq!(nearest("service"), Some("services"));
        assert_eq!(nearest("identity"), None);
        assert_eq!(nearest(""), None);
        assert_eq!(nearest(&"k".repeat(10_000)), None);
    }
}
