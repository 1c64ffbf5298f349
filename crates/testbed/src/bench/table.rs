//! A table of outcomes, in Markdown.

use std::fmt::Write as _;

/// A row: its label, its target, and the function that returns the value for an outcome.
pub(super) struct Row<T> {
    pub(super) what: &'static str,
    pub(super) target: String,
    pub(super) value: fn(&T) -> String,
}

impl<T> Row<T> {
    /// A row without a target.
    pub(super) fn without_target(what: &'static str, value: fn(&T) -> String) -> Self {
        Self { what, target: String::new(), value }
    }
}

/// Renders a column for each outcome, under the heading that `above` returns.
pub(super) fn render_markdown<T>(rows: &[Row<T>], outcomes: &[T], above: impl Fn(&T) -> String) -> String {
    let mut text = String::from("| | target |");
    for outcome in outcomes {
        let _ = write!(text, " {} |", above(outcome));
    }
    text += "\n|---|---|";
    text += &"--:|".repeat(outcomes.len());
    text.push('\n');
    for Row { what, target, value } in rows {
        let _ = write!(text, "| {what} | {target} |");
        for outcome in outcomes {
            let _ = write!(text, " {} |", value(outcome));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_a_value_of_each_outcome() {
        let rows = [
            Row::without_target("half", |number: &u32| (number / 2).to_string()),
            Row { what: "all", target: "≥ 1".to_owned(), value: ToString::to_string },
        ];
        let text = render_markdown(&rows, &[4, 8], |number| format!("of {number}"));
        let lines = [
            "| | target | of 4 | of 8 |",
            "|---|---|--:|--:|",
            "| half |  | 2 | 4 |",
            "| all | ≥ 1 | 4 | 8 |",
        ];
        assert_eq!(text, lines.join("\n") + "\n");
    }
}
