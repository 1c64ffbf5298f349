//! Parses a text into documents. Drives the YAML parser and resynchronizes it after a broken document.

mod builder;
mod json;

use serde_json::Value;
use serde_saphyr::granit_parser::{ErrorKind, Marker, Options, Parser, ScanError};

use super::{
    MAX_DEPTH,
    fault::{DocumentFault, LocatedFault, MAX_FAULTS},
    line_map::LineMap,
};
use builder::{DocumentBuilder, FileBudget};

/// One document, or the faults in it.
pub(super) struct ParsedDocument {
    /// The value. `None` if the document has faults or is empty.
    pub(super) root: Option<(Value, LineMap)>,
    /// The fields that identify the object, if the document has faults.
    pub(super) identity: Value,
    pub(super) faults: Vec<LocatedFault>,
    /// Parsing stopped inside the document: the parser must skip to the next one.
    needs_resync: bool,
}

/// Parses all documents of a text. Stops at [`MAX_FAULTS`] or when the budget is exhausted.
pub(super) fn parse(text: &str) -> Vec<ParsedDocument> {
    let mut documents = Vec::new();
    let mut budget = FileBudget::default();
    // All parts share one budget: it is a limit of the file.
    for (lines_before, part) in json::split_stream(text) {
        if !parse_stream(TextPart { text: part, lines_before }, &mut budget, &mut documents) {
            break;
        }
    }
    documents
}

/// A part of a file, with the number of lines before it.
#[derive(Clone, Copy)]
struct TextPart<'t> {
    text: &'t str,
    lines_before: u32,
}

impl TextPart<'_> {
    /// Converts a line of the part into a line of the file.
    fn line_in_file(&self, within: usize) -> u32 {
        u32::try_from(within).unwrap_or(u32::MAX).saturating_add(self.lines_before)
    }
}

/// Reads one YAML stream. Returns false if nothing after it should be read.
fn parse_stream(source: TextPart<'_>, budget: &mut FileBudget, documents: &mut Vec<ParsedDocument>) -> bool {
    let mut parser = Parser::new_from_str_with_options(source.text, parser_options());
    let mut faults = 0;
    loop {
        let mut builder = DocumentBuilder::new(source, budget);
        let parsed = match builder.read_document(&mut parser) {
            Ok(false) => return true,
            Ok(true) => builder.finish(),
            Err(fault) => builder.abandon(fault),
        };
        faults += parsed.faults.len();
        let over_budget =
            parsed.faults.iter().any(|found| matches!(found.fault, DocumentFault::TooManyValues));
        let broken = parsed.needs_resync;
        documents.push(parsed);
        // More than the limit, not equal: the caller reports `TooManyFaults` for the first one above it.
        if over_budget || faults > MAX_FAULTS {
            return false;
        }
        // After an error the parser is inside the document. It continues at the next `---`.
        if broken && !matches!(parser.proceed_next_document(), Ok(true)) {
            return true;
        }
    }
}

fn parser_options() -> Options {
    let mut options = Options::default();
    options.set_emit_comments(false);
    // The builder limits flow and block nesting together. These limits keep the parser's own state small.
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    options
}

/// Translates an error of the parser into a message for users.
fn syntax_error(source: TextPart<'_>, error: &ScanError) -> LocatedFault {
    let at = error.marker();
    let column = at.col() + 1;
    let located = |line, fault| LocatedFault { line: source.line_in_file(line), field: None, fault };
    let fault = match error.kind() {
        ErrorKind::RecursionLimitExceeded => DocumentFault::TooDeep,
        ErrorKind::UnknownAnchor => DocumentFault::UnknownAlias,
        ErrorKind::UnexpectedCharacter { character } => DocumentFault::UnexpectedCharacter(*character),
        // The parser reports a tab as one of many errors, often on an earlier line.
        kind => match find_tab_line(source.text, at).filter(|_| is_about_tabs(kind)) {
            Some(line) => return located(line, DocumentFault::TabIndentation),
            None if *kind == ErrorKind::MappingValueNotAllowed => DocumentFault::UnexpectedColon { column },
            None => DocumentFault::Syntax { column, reason: kind.to_string() },
        },
    };
    located(at.line(), fault)
}

/// Returns whether a tab in the indentation can cause this error.
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

/// Finds the first line with a tab in its indentation, within 20 lines after the position of the error. The parser
/// reports the position where the text before the tab begins.
fn find_tab_line(text: &str, at: &Marker) -> Option<usize> {
    let is_tabbed = |line: &str| {
        let content = line.trim_start_matches([' ', '\t']);
        line[..line.len() - content.len()].contains('\t')
    };
    let offset = at.byte_offset().unwrap_or(text.len());
    let start = text.get(..offset)?.rfind('\n').map_or(0, |newline| newline + 1);
    text[start..].lines().take(20).position(is_tabbed).map(|after| at.line() + after)
}
