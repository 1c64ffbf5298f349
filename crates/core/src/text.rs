//! Makes texts from other meshes, users and strangers safe for a status, a log and a terminal.

/// Truncates a text to `most` characters and makes it one line. Replaces every character that a reader cannot see as
/// such by a space: control characters, line separators, marks that change the direction of text, characters without
/// width.
///
/// Every text from a peer passes through this function, or through [`str::escape_debug`], before it is shown.
pub fn sanitize_text(text: &str, most: usize) -> String {
    text.chars().take(most).map(|c| if is_visible(c) { c } else { ' ' }).collect()
}

/// Returns whether a character is visible at its position. This is Rust's own table of printable characters, except
/// for a few letters that look blank.
pub fn is_visible(c: char) -> bool {
    const BLANK: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];
    // `escape_debug` gives a backslash and the character for quotes, and `\u{…}` for characters that are not
    // printable.
    !c.is_control() && c.escape_debug().len() <= 2 && !BLANK.contains(&c)
}

/// Quotes and truncates a value, so that a message stays on one line for any input.
pub(crate) fn quote_value(value: &str) -> String {
    const MAX_QUOTED: usize = 80;
    // Cut at a character boundary: an index in the middle of a character would panic.
    match value.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_become_spaces() {
        let hidden = [
            '\0', '\n', '\r', '\t', '\u{7f}', '\u{85}', '\u{9b}', '\u{ad}', '\u{61c}', '\u{180e}', '\u{feff}',
        ];
        let ranges = [
            '\u{200b}'..='\u{200f}',
            '\u{2028}'..='\u{202e}',
            '\u{2060}'..='\u{206f}',
            '\u{fff9}'..='\u{fffb}',
        ];
        let tags = ['\u{e0001}', '\u{e0041}', '\u{fe0f}', '\u{34f}', '\u{3164}'];
        for c in hidden.into_iter().chain(ranges.into_iter().flatten()).chain(tags) {
            assert_eq!(sanitize_text(&format!("a{c}b"), 10), "a b", "{:x}", u32::from(c));
        }
    }

    #[test]
    fn visible_text_is_kept_and_truncated_by_characters() {
        let text = r#"it's "größer" \ 10 € – 漢字 Ελλάδα 😀"#;
        assert_eq!(sanitize_text(text, 1000), text);
        assert_eq!(sanitize_text("größer", 4), "größ");
    }
}
