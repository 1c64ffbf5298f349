//! Output formats of commands: tables for people, JSON or YAML for programs.

use clap::ValueEnum;
use serde::Serialize;
use serde_json::json;

use crate::text_table::format_table;

/// Output format of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// One line for each item
    Table,
    /// One object
    Json,
    /// One document
    Yaml,
}

impl OutputFormat {
    /// Formats `found`; `table` formats it for people.
    ///
    /// # Errors
    /// The value cannot be serialized.
    pub(super) fn format_output<T: Serialize>(
        self,
        found: &T,
        table: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<String> {
        Ok(match self {
            Self::Table => table(found),
            Self::Json => format!("{}\n", serde_json::to_string_pretty(found)?),
            Self::Yaml => emcee_yaml::to_yaml(&[json!(found)])?,
        })
    }
}

/// Formats a table with a header. Returns an empty text if there are no rows.
pub(super) fn build_table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut rows = rows.into_iter().peekable();
    if rows.peek().is_none() { String::new() } else { format_table(header, rows) }
}

/// Joins tables with blank lines between them. Tables without rows are left out.
pub(super) fn join_tables(tables: impl IntoIterator<Item = String>) -> String {
    let filled: Vec<_> = tables.into_iter().filter(|table| !table.is_empty()).collect();
    filled.join("\n")
}

/// Returns `-` for an empty cell, so that programs can also split the columns.
pub(super) fn cell_or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}
