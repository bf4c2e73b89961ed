//! Responsible for finding the word that a user probably meant.

/// Similarity, by Jaro, from which on a word is suggested. Below it, words have little in common
/// but some letters.
const ENOUGH: f64 = 0.8;

/// Returns the candidate that is most similar to `word`, or `None` if no candidate is similar
/// enough. A candidate of which the word is a misspelling comes first. A candidate that begins with
/// the word, or that the word begins with, counts as similar.
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
    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(candidate) = misspelt(word, candidates.iter().copied()) {
        return Some(candidate);
    }
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

/// Returns the candidate of which `word` is evidently a misspelling: all but a few letters are
/// right, in upper or lower case. A word that is a candidate has no misspelling.
///
/// ```
/// use condense_diagnostics::misspelt;
/// assert_eq!(misspelt("dependancies", ["dependencies"]), Some("dependencies"));
/// assert_eq!(misspelt("channel", ["channels"]), Some("channels"));
/// assert_eq!(misspelt("chapters", ["channels"]), None);
/// ```
pub fn misspelt<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Number of right letters for each wrong one.
    const RIGHT: usize = 4;
    /// Number of letters up to which words are similar by chance.
    const SHORT: usize = 2;
    let lower = word.to_lowercase();
    let distances = candidates.into_iter().map(|candidate| {
        let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
        (distance, candidate)
    });
    let (distance, candidate) = distances.min_by_key(|(distance, _)| *distance)?;
    let length = candidate.chars().count();
    (length > SHORT && candidate != word && distance <= (length / RIGHT).max(1))
        .then_some(candidate)
}

/// Returns the hint about the candidate that is most similar to `word`, or `None` if no candidate
/// is similar enough.
///
/// ```
/// use condense_diagnostics::did_you_mean;
/// let hint = did_you_mean("lumig", ["lumi-c", "lumi-g"]);
/// assert_eq!(hint.as_deref(), Some("did you mean `lumi-g`?"));
/// ```
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    closest(word, candidates).map(|similar| format!("did you mean `{similar}`?"))
}

#[cfg(test)]
mod tests {
    use super::{closest, misspelt};

    #[test]
    fn only_evident_misspellings_count() {
        for (word, expected) in [
            ("Dependencies", Some("dependencies")),
            ("dependencys", Some("dependencies")),
            ("pre-fix", Some("prefix")),
            ("nmae", Some("name")),
            ("name", None),
            ("channel_priority", None),
            ("fix", None),
        ] {
            let found = misspelt(word, ["dependencies", "prefix", "name", "channels"]);
            assert_eq!(found, expected, "{word}");
        }
    }

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
