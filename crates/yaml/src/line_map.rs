//! The line of each field of a document.

use std::sync::Arc;

/// Maximum number of path segments that are tried together as one key with dots.
const MAX_KEY_SEGMENTS: usize = 64;

/// The lines of a value and of everything below it. It has the shape of the value.
#[derive(Clone, Debug)]
pub(super) struct LineMap {
    pub(super) line: u32,
    pub(super) children: ChildLines,
}

/// The lines of the items or fields of a value. All documents of a file share their keys, because manifests repeat a
/// few keys very often.
#[derive(Clone, Debug)]
pub(super) enum ChildLines {
    Scalar,
    Items(Box<[LineMap]>),
    Fields(FieldLines),
}

/// The fields of a mapping, sorted by name for binary search.
#[derive(Clone, Debug)]
pub(super) struct FieldLines {
    /// Line of the field that comes first in the text.
    first: Option<u32>,
    sorted: Box<[(Arc<str>, LineMap)]>,
}

impl FieldLines {
    /// Sorts fields that are in the order of the text. Names must be unique.
    pub(super) fn new(mut fields: Vec<(Arc<str>, LineMap)>) -> Self {
        let first = fields.first().map(|(_, lines)| lines.line);
        fields.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        Self { first, sorted: fields.into() }
    }

    fn get(&self, name: &str) -> Option<&LineMap> {
        let at = self.sorted.binary_search_by(|(key, _)| (**key).cmp(name)).ok()?;
        self.sorted.get(at).map(|(_, lines)| lines)
    }
}

impl LineMap {
    /// Returns the line of `field`, or of its nearest ancestor that exists. The line of the document is that of its
    /// first key.
    pub(super) fn line_of(&self, field: &str) -> u32 {
        let Some((mut at, mut rest)) = self.child_at(field) else {
            return self.first_line();
        };
        // Stops where the path ends, is malformed, or names an absent field: `at` is then the nearest ancestor.
        while let Some((child, after)) = at.child_at(rest) {
            (at, rest) = (child, after);
        }
        at.line
    }

    /// Returns the child that the path names first, and the rest of the path.
    fn child_at<'p>(&self, path: &'p str) -> Option<(&Self, &'p str)> {
        match &self.children {
            ChildLines::Scalar => None,
            ChildLines::Items(items) => {
                let (index, after) = parse_bracket(path)?;
                Some((items.get(index.parse::<usize>().ok()?)?, after))
            }
            ChildLines::Fields(fields) => {
                bracketed_field(fields, path).or_else(|| dotted_field(fields, path))
            }
        }
    }

    /// Returns the lines of the items of the list in field `name`.
    pub(super) fn into_item_lines(self, name: &str) -> Vec<Self> {
        let ChildLines::Fields(fields) = self.children else {
            return Vec::new();
        };
        let found = fields.sorted.into_iter().find(|(key, _)| &**key == name);
        match found.map(|(_, lines)| lines.children) {
            Some(ChildLines::Items(items)) => items.into_vec(),
            _ => Vec::new(),
        }
    }

    /// Returns the line on which the value starts. For a mapping, this is the line of its first key.
    pub(super) fn first_line(&self) -> u32 {
        match &self.children {
            ChildLines::Fields(fields) => fields.first.unwrap_or(self.line),
            _ => self.line,
        }
    }
}

/// Splits `[x]…` into `x` and the rest. Removes the quotes of `['x']` and `["x"]`.
fn parse_bracket(path: &str) -> Option<(&str, &str)> {
    let (inside, after) = path.strip_prefix('.').unwrap_or(path).strip_prefix('[')?.split_once(']')?;
    let unquoted = |quote| inside.strip_prefix(quote)?.strip_suffix(quote);
    Some((unquoted('"').or_else(|| unquoted('\'')).unwrap_or(inside), after))
}

fn bracketed_field<'l, 'p>(fields: &'l FieldLines, path: &'p str) -> Option<(&'l LineMap, &'p str)> {
    let (name, after) = parse_bracket(path)?;
    Some((fields.get(name)?, after))
}

/// Finds the longest key that is a prefix of the path, so keys with dots need no escaping. A key ends at `.`, at `[`
/// or at the end of the path.
fn dotted_field<'l, 'p>(fields: &'l FieldLines, path: &'p str) -> Option<(&'l LineMap, &'p str)> {
    let path = path.strip_prefix('.').unwrap_or(path);
    let within = path.match_indices(['.', '[']).map(|(at, _)| at).take(MAX_KEY_SEGMENTS);
    let mut ends: Vec<usize> = within.chain([path.len()]).collect();
    // Longest first: with the keys `a` and `a.b`, the path `a.b` means the second.
    ends.reverse();
    ends.into_iter().find_map(|end| {
        let (name, after) = path.split_at(end);
        Some((fields.get(name)?, after))
    })
}
