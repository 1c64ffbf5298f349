//! Where each field of a document stands.

use std::sync::Arc;

/// How many steps of a path are tried as parts of one key with dots.
const MOST_STEPS: usize = 64;

/// The line of a value and of everything below it; it has the shape of the value.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    pub(super) line: u32,
    pub(super) below: Below,
}

/// Keys are shared within a file: manifests repeat the same few.
#[derive(Clone, Debug)]
pub(super) enum Below {
    Nothing,
    Items(Box<[Lines]>),
    Fields(Fields),
}

/// The fields of a mapping in the order of their names, so that one of many is found soon.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    /// Line of the field that is written first.
    first: Option<u32>,
    sorted: Box<[(Arc<str>, Lines)]>,
}

impl Fields {
    /// Of fields in the order in which they are written. No name is given twice.
    pub(super) fn new(mut fields: Vec<(Arc<str>, Lines)>) -> Self {
        let first = fields.first().map(|(_, lines)| lines.line);
        fields.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        Self { first, sorted: fields.into() }
    }

    fn get(&self, name: &str) -> Option<&Lines> {
        let at = self.sorted.binary_search_by(|(key, _)| (**key).cmp(name)).ok()?;
        self.sorted.get(at).map(|(_, lines)| lines)
    }
}

impl Lines {
    /// The line of `field`, or of its nearest ancestor that exists; for the whole document that
    /// of its first key.
    pub(super) fn of(&self, field: &str) -> u32 {
        let Some((mut at, mut rest)) = self.step(field) else {
            return self.first();
        };
        while let Some((child, after)) = at.step(rest) {
            (at, rest) = (child, after);
        }
        at.line
    }

    /// The child that the path enters next, and the path after it.
    fn step<'p>(&self, path: &'p str) -> Option<(&Self, &'p str)> {
        match &self.below {
            Below::Nothing => None,
            Below::Items(items) => {
                let (index, after) = bracket(path)?;
                Some((items.get(index.parse::<usize>().ok()?)?, after))
            }
            Below::Fields(fields) => bracketed_field(fields, path).or_else(|| field(fields, path)),
        }
    }

    /// Takes the lines below a field away, for a value that is taken away likewise.
    pub(super) fn take_items(self, name: &str) -> Vec<Self> {
        let Below::Fields(fields) = self.below else {
            return Vec::new();
        };
        let found = fields.sorted.into_iter().find(|(key, _)| &**key == name);
        match found.map(|(_, lines)| lines.below) {
            Some(Below::Items(items)) => items.into_vec(),
            _ => Vec::new(),
        }
    }

    /// The line on which the value itself starts: for a mapping that of its first key.
    pub(super) fn first(&self) -> u32 {
        match &self.below {
            Below::Fields(fields) => fields.first.unwrap_or(self.line),
            _ => self.line,
        }
    }
}

/// `[x]…` as `x` and what follows; the quotes of `['x']` and `["x"]` are taken off.
fn bracket(path: &str) -> Option<(&str, &str)> {
    let (inside, after) = path.strip_prefix('.').unwrap_or(path).strip_prefix('[')?.split_once(']')?;
    let unquoted = |quote| inside.strip_prefix(quote)?.strip_suffix(quote);
    Some((unquoted('"').or_else(|| unquoted('\'')).unwrap_or(inside), after))
}

fn bracketed_field<'l, 'p>(fields: &'l Fields, path: &'p str) -> Option<(&'l Lines, &'p str)> {
    let (name, after) = bracket(path)?;
    Some((fields.get(name)?, after))
}

/// The longest key that the path starts with, so that keys with dots need no escaping. A key ends where a step may begin.
fn field<'l, 'p>(fields: &'l Fields, path: &'p str) -> Option<(&'l Lines, &'p str)> {
    let path = path.strip_prefix('.').unwrap_or(path);
    let within = path.match_indices(['.', '[']).map(|(at, _)| at).take(MOST_STEPS);
    let mut ends: Vec<usize> = within.chain([path.len()]).collect();
    ends.reverse();
    ends.into_iter().find_map(|end| {
        let (name, after) = path.split_at(end);
        Some((fields.get(name)?, after))
    })
}
