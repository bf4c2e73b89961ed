//! Responsible for filling texts with `@NAME@` in them. Values are never searched for further
//! names.

/// Returns the text with each `@NAME@` replaced by the value of this name.
///
/// # Panics
/// Panics if the text has a name without a value, which a test of each text finds.
pub(crate) fn fill(text: &str, values: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('@') {
        let name = after.split('@').next().unwrap_or_default();
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        filled.push_str(before);
        if is_name && after.len() > name.len() {
            let value = values.iter().find(|(known, _)| *known == name);
            let (_, value) = value.expect("each name in a template has a value");
            filled.push_str(value);
            rest = &after[name.len() + 1..];
        } else {
            filled.push('@');
            rest = after;
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn names_are_replaced_once() {
        let values = [("A", "@B@ \\".to_owned()), ("B", "b".to_owned())];
        assert_eq!(
            fill("x@A@y@B@z a@b.c \"$@\"", &values),
            "x@B@ \\ybz a@b.c \"$@\""
        );
    }
}
