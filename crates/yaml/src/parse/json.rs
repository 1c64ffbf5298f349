//! Streams of JSON objects without separators, as `jq -c` and Go programs write them.

use std::iter;

use serde::de::IgnoredAny;
use serde_json::Deserializer;

/// Splits a JSON stream into objects, each with the number of lines before it. Any other text is one part.
pub(super) fn split_stream(text: &str) -> Box<dyn Iterator<Item = (u32, &str)> + '_> {
    if is_stream(text) { Box::new(stream_parts(text)) } else { Box::new(iter::once((0, text))) }
}

/// Returns whether the text starts with a JSON object and consists of two or more JSON values. One alone is valid YAML.
fn is_stream(text: &str) -> bool {
    text.trim_start().starts_with('{')
        && Deserializer::from_str(text)
            .into_iter::<IgnoredAny>()
            .try_fold(0_usize, |count, object| object.map(|_| count + 1))
            .is_ok_and(|count| count > 1)
}

fn stream_parts(text: &str) -> impl Iterator<Item = (u32, &str)> {
    let mut objects = Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let (mut start, mut line) = (0, 0_u32);
    iter::from_fn(move || {
        objects.next()?.ok()?;
        // A part starts where the previous object ends, so it includes the white space before its own object.
        let part = &text[start..objects.byte_offset()];
        let before = line;
        start = objects.byte_offset();
        line = line.saturating_add(count_newlines(part));
        Some((before, part))
    })
}

fn count_newlines(text: &str) -> u32 {
    u32::try_from(text.bytes().filter(|byte| *byte == b'\n').count()).unwrap_or(u32::MAX)
}
