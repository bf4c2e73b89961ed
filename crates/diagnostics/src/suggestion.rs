//! Responsible for finding the word that a user probably meant.

/// Similarity, by Jaro, from which on a word is suggested. Below it, words have little in common
/// but some letters.
const ENOUGH: f64 = 0.8;

/// Returns the candidate that is most similar to `word`, or `None` if no candidate is similar
/// enough. A candidate that begins with the word, or that the word begins with, counts as similar.
///
/// ```
/// use condense_diagnostics::closest;
/// assert_eq!(closest("numpi", ["scipy", "numpy"]), Some("numpy"));
/// assert_eq!(closest("mpi", ["cuda-driver", "mpi-abi"]), Some("mpi-abi"));
/// assert_eq!(closest("zlib", ["numpy"]), None);
/// ```
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Number of letters that a common beginning must have.
    const BEGINNING: usize = 3;
    let word = word.to_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let other = candidate.to_lowercase();
        let mut similarity = strsim::jaro(&word, &other);
        let begins = other.starts_with(&word) && word.chars().count() >= BEGINNING
            || word.starts_with(&other) && other.chars().count() >= BEGINNING;
        if begins {
            similarity = similarity.max(ENOUGH + f64::EPSILON);
        }
        if similarity > ENOUGH && best.is_none_or(|(most, _)| similarity > most) {
            best = Some((similarity, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn the_most_similar_word_is_suggested() {
        for (word, expected) in [
            ("numpi", Some("numpy")),
            ("NumPy", Some("numpy")),
            ("pytorh", Some("pytorch")),
            ("sci", Some("scipy")),
            ("x", None),
            ("", None),
            ("entirely-different", None),
        ] {
            let found = closest(word, ["numpy", "scipy", "pytorch", "h5py"]);
            assert_eq!(found, expected, "{word}");
        }
    }
}
