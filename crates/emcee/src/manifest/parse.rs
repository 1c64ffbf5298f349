//! From text to documents: drives the parser and resynchronises it behind a broken document.

mod build;
mod json;

use serde_json::Value;
use serde_saphyr::granit_parser::{ErrorKind, Marker, Options, Parser, ScanError};

use super::{
    MAX_DEPTH,
    fault::{Fault, Located, MAX_FAULTS},
    lines::Lines,
};
use build::{Builder, Shared};

/// One document, or what is wrong with it.
pub(super) struct Parsed {
    /// The value, if nothing is wrong and the document is not empty.
    pub(super) root: Option<(Value, Lines)>,
    /// If something is wrong: as much as names the object.
    pub(super) sketch: Value,
    pub(super) faults: Vec<Located>,
    /// The text ended before the document did: it has to be skipped.
    broken: bool,
}

/// All documents of a text, until [`MAX_FAULTS`] is reached or the budget is spent.
pub(super) fn parse(text: &str) -> Vec<Parsed> {
    let mut documents = Vec::new();
    let mut shared = Shared::default();
    for (line, part) in json::split(text) {
        if !stream(Source { text: part, line }, &mut shared, &mut documents) {
            break;
        }
    }
    documents
}

/// A text and the number of lines before it.
#[derive(Clone, Copy)]
struct Source<'t> {
    text: &'t str,
    line: u32,
}

impl Source<'_> {
    fn line(&self, within: usize) -> u32 {
        u32::try_from(within).unwrap_or(u32::MAX).saturating_add(self.line)
    }
}

/// Reads one YAML stream; false when nothing after it should be read.
fn stream(source: Source<'_>, shared: &mut Shared, documents: &mut Vec<Parsed>) -> bool {
    let mut parser = Parser::new_from_str_with_options(source.text, options());
    let mut faults = 0;
    loop {
        let mut builder = Builder::new(source, shared);
        let parsed = match builder.read(&mut parser) {
            Ok(false) => return true,
            Ok(true) => builder.finish(),
            Err(fault) => builder.abandon(fault),
        };
        faults += parsed.faults.len();
        let spent = parsed.faults.iter().any(|found| matches!(found.fault, Fault::TooMany));
        let broken = parsed.broken;
        documents.push(parsed);
        if spent || faults > MAX_FAULTS {
            return false;
        }
        if broken && !matches!(parser.proceed_next_document(), Ok(true)) {
            return true;
        }
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.set_emit_comments(false);
    // The builder counts both kinds together; these keep the parser's own state small.
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    options
}

/// What the parser refused, in the user's terms.
fn syntax(source: Source<'_>, error: &ScanError) -> Located {
    let at = error.marker();
    let column = at.col() + 1;
    let located = |line, fault| Located { line: source.line(line), field: None, fault };
    let fault = match error.kind() {
        ErrorKind::RecursionLimitExceeded => Fault::TooDeep,
        ErrorKind::UnknownAnchor => Fault::UnknownAlias,
        ErrorKind::UnexpectedCharacter { character } => Fault::Character(*character),
        kind => match tab_line(source.text, at).filter(|_| is_about_tabs(kind)) {
            Some(line) => return located(line, Fault::Tab),
            None if *kind == ErrorKind::MappingValueNotAllowed => Fault::Colon { column },
            None => Fault::Syntax { column, reason: kind.to_string() },
        },
    };
    located(at.line(), fault)
}

fn is_about_tabs(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInPlainScalar
            | ErrorKind::InvalidIndentation
            | ErrorKind::MappingValueNotAllowed
            | ErrorKind::SimpleKeyExpected
    )
}

/// The first line that is indented by a tab, close behind the place that the parser names: that
/// is where the text before the tab began.
fn tab_line(text: &str, at: &Marker) -> Option<usize> {
    let is_tabbed = |line: &str| {
        let content = line.trim_start_matches([' ', '\t']);
        line[..line.len() - content.len()].contains('\t')
    };
    let offset = at.byte_offset().unwrap_or(text.len());
    let start = text.get(..offset)?.rfind('\n').map_or(0, |newline| newline + 1);
    text[start..].lines().take(20).position(is_tabbed).map(|after| at.line() + after)
}
