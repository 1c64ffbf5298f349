//! Plain-text tables with aligned columns.

use emcee_core::text::sanitize_text;

/// Formats a header and rows as lines, with two spaces between aligned columns. Widths are counted in characters.
pub(crate) fn format_table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let header = header.iter().map(|name| (*name).to_owned()).collect();
    // Resources and announcements contain texts of other people, which must not control the reader's terminal.
    let sanitize = |cell: &String| sanitize_text(cell, usize::MAX);
    let rows = rows.into_iter().map(|row| row.iter().map(sanitize).collect());
    align_columns(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

fn align_columns(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        // The last column is padded as well; remove its trailing spaces.
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_characters_and_cells_cannot_control_the_terminal() {
        let rows = [["größer", "1"], ["a\u{1b}[2J", "b\nc"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(format_table(&["NAME", "N"], rows), "NAME    N\ngrößer  1\na [2J   b c\n");
        assert_eq!(format_table(&["NAME", "N"], []), "NAME  N\n");
    }
}
