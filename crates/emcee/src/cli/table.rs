//! What commands print of what they found: a table for people, JSON or YAML for programs.

use clap::ValueEnum;
use serde::Serialize;
use serde_json::json;

use crate::manifest;
use crate::table::{aligned, printable};

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A line for each
    Table,
    /// One object
    Json,
    /// One document
    Yaml,
}

impl Format {
    /// The text of `found`; `table` makes the one for people.
    pub(super) fn text<T: Serialize>(
        self,
        found: &T,
        table: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<String> {
        Ok(match self {
            Self::Table => table(found),
            Self::Json => format!("{}\n", serde_json::to_string_pretty(found)?),
            Self::Yaml => manifest::to_yaml(&[json!(found)])?,
        })
    }
}

/// Lines whose columns align, under a header; nothing, where there is no row.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let header = header.iter().map(|name| (*name).to_owned()).collect();
    let rows = rows.into_iter().map(|row| row.iter().map(|cell| printable(cell)).collect());
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    if rows.len() == 1 { String::new() } else { aligned(&rows) }
}

/// Several tables, those without rows left out.
pub(super) fn tables(tables: impl IntoIterator<Item = String>) -> String {
    let filled: Vec<_> = tables.into_iter().filter(|table| !table.is_empty()).collect();
    filled.join("\n")
}

/// A cell that is never empty, so that columns can be told apart by programs too.
pub(super) fn shown(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}
