//! JSON objects one after another, as `jq -c` and Go programs write them.

use std::iter;

use serde::de::IgnoredAny;
use serde_json::Deserializer;

/// The objects of a JSON stream with the number of lines before each; any other text is one part.
pub(super) fn split(text: &str) -> Box<dyn Iterator<Item = (u32, &str)> + '_> {
    if is_stream(text) { Box::new(parts(text)) } else { Box::new(iter::once((0, text))) }
}

fn is_stream(text: &str) -> bool {
    text.trim_start().starts_with('{')
        && Deserializer::from_str(text)
            .into_iter::<IgnoredAny>()
            .try_fold(0_usize, |count, object| object.map(|_| count + 1))
            .is_ok_and(|count| count > 1)
}

fn parts(text: &str) -> impl Iterator<Item = (u32, &str)> {
    let mut objects = Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let (mut start, mut line) = (0, 0_u32);
    iter::from_fn(move || {
        objects.next()?.ok()?;
        let part = &text[start..objects.byte_offset()];
        let before = line;
        start = objects.byte_offset();
        line = line.saturating_add(newlines(part));
        Some((before, part))
    })
}

fn newlines(text: &str) -> u32 {
    u32::try_from(text.bytes().filter(|byte| *byte == b'\n').count()).unwrap_or(u32::MAX)
}
