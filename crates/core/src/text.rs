//! Makes texts from other meshes, users and strangers short, and safe for a status, a log and a terminal.
//!
//! Every text from a peer passes through [`sanitize_text`], [`escape_text`] or [`quote_value`] before it is shown.
//! [`truncate_to_chars`] and [`truncate_to_bytes`] only cut.

/// Maximum number of characters of a text within a message, for [`escape_text`].
pub const MAX_TEXT_CHARS: usize = 200;
/// Maximum number of characters that [`quote_value`] repeats.
const MAX_QUOTED_CHARS: usize = 80;

/// Truncates a text to `max_chars` characters and makes it one line. Replaces every character that a reader cannot see
/// as such by a space: control characters, line separators, marks that change the direction of text, characters
/// without width.
///
/// ```
/// assert_eq!(emcee_core::text::sanitize_text("one\ntwo\u{202e}three", 9), "one two t");
/// ```
pub fn sanitize_text(text: &str, max_chars: usize) -> String {
    text.chars().take(max_chars).map(|c| if is_visible(c) { c } else { ' ' }).collect()
}

/// Escapes a text as in a Rust string literal, without the quotes, so that it stays on one line. Ends in `…` if the
/// text has more than `max_chars` characters.
pub fn escape_text(text: &str, max_chars: usize) -> String {
    let start = truncate_to_chars(text, max_chars);
    format!("{}{}", start.escape_debug(), ellipsis_if_cut(start, text))
}

/// Quotes, escapes and truncates a value, so that a message stays short and on one line for any input. A truncated
/// value has `…` after the quotes.
pub fn quote_value(value: &str) -> String {
    let start = truncate_to_chars(value, MAX_QUOTED_CHARS);
    format!("{start:?}{}", ellipsis_if_cut(start, value))
}

/// Returns the start of a text: at most `max_chars` characters.
pub fn truncate_to_chars(text: &str, max_chars: usize) -> &str {
    text.char_indices().nth(max_chars).map_or(text, |(end, _)| &text[..end])
}

/// Returns the start of a text: at most `max_bytes` bytes, and only whole characters.
pub fn truncate_to_bytes(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

/// Returns `…` if `start` is not the complete text, or else an empty text.
pub fn ellipsis_if_cut(start: &str, text: &str) -> &'static str {
    if start.len() < text.len() { "…" } else { "" }
}

/// Returns whether a character is visible at its position. This is Rust's own table of printable characters, except
/// for a few letters that look blank.
fn is_visible(c: char) -> bool {
    const BLANK: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];
    // `escape_debug` gives a backslash and the character for quotes, and `\u{…}` for characters that are not
    // printable.
    !c.is_control() && c.escape_debug().len() <= 2 && !BLANK.contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Characters that change how the text around them is displayed.
    fn dangerous_characters() -> impl Iterator<Item = char> {
        let c0_and_c1 = ('\0'..='\u{1f}').chain('\u{7f}'..='\u{9f}');
        let separators = ['\u{2028}', '\u{2029}'];
        let direction = ['\u{61c}', '\u{200e}', '\u{200f}'].into_iter();
        let direction = direction.chain('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        c0_and_c1.chain(separators).chain(direction)
    }

    #[test]
    fn dangerous_characters_become_spaces_or_escapes() {
        for c in dangerous_characters() {
            let text = format!("a{c}b");
            assert_eq!(sanitize_text(&text, 10), "a b", "{:x}", u32::from(c));
            for shown in [escape_text(&text, 10), quote_value(&text)] {
                assert!(shown.contains('\\') && !shown.contains(c), "{:x}: {shown}", u32::from(c));
            }
        }
    }

    #[test]
    fn characters_without_width_become_spaces() {
        let single =
            ['\u{ad}', '\u{180e}', '\u{feff}', '\u{fe0f}', '\u{34f}', '\u{3164}', '\u{e0001}', '\u{e0041}'];
        let ranges = ['\u{200b}'..='\u{200f}', '\u{2060}'..='\u{206f}', '\u{fff9}'..='\u{fffb}'];
        for c in single.into_iter().chain(ranges.into_iter().flatten()) {
            assert_eq!(sanitize_text(&format!("a{c}b"), 10), "a b", "{:x}", u32::from(c));
        }
    }

    #[test]
    fn visible_text_is_kept() {
        let text = r#"it's "größer" \ 10 € – 漢字 Ελλάδα 😀"#;
        assert_eq!(sanitize_text(text, 1000), text);
        assert_eq!(escape_text("größer 10 € – 漢字 😀", 1000), "größer 10 € – 漢字 😀");
        assert_eq!(quote_value(r#"it's "größer" \ €"#), r#""it's \"größer\" \\ €""#);
    }

    #[test]
    fn limits_in_characters_count_characters() {
        assert_eq!(sanitize_text("größer", 4), "größ");
        assert_eq!([truncate_to_chars("größer", 4), truncate_to_chars("größer", 6)], ["größ", "größer"]);
        assert_eq!([escape_text("größer", 4), escape_text("größer", 6)], ["größ…", "größer"]);
        let longest = "ö".repeat(MAX_QUOTED_CHARS);
        assert_eq!(quote_value(&longest), format!("\"{longest}\""));
        assert_eq!(quote_value(&format!("{longest}ö")), format!("\"{longest}\"…"));
        // An escape counts as the one character that it stands for.
        assert_eq!(escape_text("a\nb\nc", 4), "a\\nb\\n…");
    }

    #[test]
    fn limits_in_bytes_keep_whole_characters() {
        // `ö` and `ß` have two bytes each.
        let cut: Vec<_> = (0..9).map(|bytes| truncate_to_bytes("größer", bytes)).collect();
        assert_eq!(cut, ["", "g", "gr", "gr", "grö", "grö", "größ", "größe", "größer"]);
    }
}
