//! Responsible for refusing YAML that would keep serde_yaml busy for hours. serde_yaml copies the
//! values that aliases refer to, so that a few lines can expand to gigabytes. Its time also grows
//! with the square of the depth of nested brackets.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser};

/// Largest number of values of a file, including those that its aliases repeat. Locks of thousands
/// of packages have a tenth of it.
const VALUES_MAX: usize = 2_000_000;

/// Largest depth of nested brackets of a file. serde_yaml itself refuses more than 128, but only
/// after much work.
const DEPTH_MAX: usize = 1000;

/// Returns the reason why a text must not be parsed, or `None` for a text that may be parsed.
pub(crate) fn exceeded(text: &str) -> Option<&'static str> {
    if nests_deeply(text) {
        return Some("it has too many brackets inside of each other");
    }
    multiply(text).then_some("its aliases (`*name`) mean more than can be read")
}

/// Returns true if brackets are nested too deeply. Brackets inside of strings are counted as well;
/// they are few, and usually closed.
fn nests_deeply(text: &str) -> bool {
    let mut depth = 0_usize;
    text.bytes().any(|byte| {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEPTH_MAX
    })
}

/// Returns true if the text has aliases and expands to more than [`VALUES_MAX`] values, or is not
/// valid YAML after an anchor.
fn multiply(text: &str) -> bool {
    if !(text.contains('&') && text.contains('*')) {
        return false;
    }
    let mut total = 0_usize;
    let mut open = Vec::new();
    let mut weights: HashMap<usize, usize> = HashMap::new();
    for event in Parser::new_from_str(text) {
        let Ok((event, _)) = event else {
            return !weights.is_empty();
        };
        match event {
            Event::Scalar(_, _, anchor, _) => {
                total += 1;
                if anchor != 0 {
                    weights.insert(anchor, 1);
                }
            }
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                open.push((anchor, total));
                total += 1;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((anchor, before)) = open.pop().filter(|(anchor, _)| *anchor != 0) {
                    weights.insert(anchor, total - before);
                }
            }
            Event::Alias(anchor) => total += weights.get(&anchor).copied().unwrap_or(1),
            _ => {}
        }
        if total > VALUES_MAX {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{exceeded, multiply};

    #[test]
    fn few_lines_that_expand_to_gigabytes_are_refused() {
        let mut levels = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..9 {
            let items = vec![format!("*a{}", level - 1); 10].join(",");
            levels.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        assert!(multiply(&levels));
        // serde_yaml limits how often aliases are followed, but not how much each of them adds.
        let wide = format!(
            "a: &a [{}]\nb: [{}]\n",
            "x,".repeat(5000),
            "*a,".repeat(5000)
        );
        assert!(multiply(&wide));
        assert!(!multiply("a: &a [x]\nb: [*a, *a, '1.0.*']\n"));
        assert!(exceeded(&format!("a: {}", "[".repeat(50_000))).is_some());
        assert!(exceeded(&format!("a: {}", "[1],".repeat(50_000))).is_none());
        assert!(!multiply("a: b & c\nd: '*'\n"));
    }
}
