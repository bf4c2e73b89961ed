//! Responsible for text and tables in HTML. All text that is not of this program goes through
//! [`escape`].

use std::fmt::Write as _;

/// Escapes text for elements and for attributes in quotes. Characters that would change the
/// direction of text or are invisible are shown by their numbers.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            acting if acts(acting) => {
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(acting));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

/// Escapes text of this program's messages, and marks up what is between backticks as code.
pub(super) fn with_code(text: &str) -> String {
    let pieces: Vec<&str> = text.split('`').collect();
    // A backtick without a second one is text.
    if pieces.len().is_multiple_of(2) {
        return escape(text);
    }
    let marked = pieces.iter().enumerate().map(|(index, piece)| {
        if index.is_multiple_of(2) {
            escape(piece)
        } else {
            format!("<code>{}</code>", escape(piece))
        }
    });
    marked.collect()
}

/// Returns whether a character is invisible or changes the direction of text.
fn acts(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(character, '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{61c}')
}

/// Renders each item, one behind the other.
pub(super) fn each<T>(items: impl IntoIterator<Item = T>, render: impl Fn(T) -> String) -> String {
    let texts: Vec<String> = items.into_iter().map(render).collect();
    texts.concat()
}

/// Puts a table into a frame that can be scrolled with the keyboard if it is wider than the window.
pub(super) fn framed(label: &str, table: &str) -> String {
    format!(
        "<div class=\"frame\" role=\"region\" aria-label=\"{}\" tabindex=\"0\">\n{table}</div>\n",
        escape(label)
    )
}

/// Returns a count with its noun in the singular or the plural.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::{escape, with_code};

    #[test]
    fn markup_quotes_and_acting_characters_are_escaped() {
        for (text, expected) in [
            ("plain ü 包", "plain ü 包"),
            (
                "<script>alert('x')</script>",
                "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;",
            ),
            ("a\" onload=\"b", "a&quot; onload=&quot;b"),
            ("&lt;", "&amp;lt;"),
            ("name\u{202e}gpj", "name\\u{202e}gpj"),
            ("a\u{1b}[2Jb\u{0}", "a\\u{1b}[2Jb\\u{0}"),
            ("zero\u{200b}width\u{feff}", "zero\\u{200b}width\\u{feff}"),
        ] {
            assert_eq!(escape(text), expected);
        }
    }

    #[test]
    fn code_between_backticks_is_escaped_too() {
        for (text, expected) in [
            ("set `A=<b>` & go", "set <code>A=&lt;b&gt;</code> &amp; go"),
            ("one ` alone", "one ` alone"),
            ("`a``b`", "<code>a</code><code>b</code>"),
            ("", ""),
        ] {
            assert_eq!(with_code(text), expected);
        }
    }
}
