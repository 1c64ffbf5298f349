//! Keeps what failed tests printed, so that it stands at the end of a long output too.

use std::collections::VecDeque;

/// Failures that are kept; the totals tell how many there were.
const MAX_FAILURES: usize = 10;

/// Last lines that are kept of each failure: an error comes last.
const MAX_LINES: usize = 30;

/// The texts of the failed tests of all binaries, in the order of the output.
#[derive(Debug, Default)]
pub(super) struct FailureTexts {
    failures: Vec<VecDeque<String>>,
    /// The output is inside the text of a failure.
    open: bool,
}

impl FailureTexts {
    /// Reads a line of the test harness. The text of a failure begins with `---- NAME ----` or `---- NAME stdout ----`, and
    /// ends before the next one or before the list of the failed names.
    pub(super) fn read_line(&mut self, line: &str) {
        if line.starts_with("---- ") && line.ends_with(" ----") {
            self.open = self.failures.len() < MAX_FAILURES;
            if self.open {
                self.failures.push(VecDeque::new());
            }
        } else if line == "failures:" || line.starts_with("test result: ") {
            self.open = false;
        }
        if let Some(failure) = self.failures.last_mut().filter(|_| self.open) {
            failure.push_back(line.to_owned());
            // The first line is the name.
            if failure.len() > MAX_LINES {
                failure.remove(1);
            }
        }
    }

    /// All texts, with an empty line after each; empty without failures.
    pub(super) fn joined_text(&self) -> String {
        self.failures.iter().fold(String::new(), |text, lines| {
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            text + lines.join("\n").trim_end() + "\n\n"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined_text(output: &str) -> String {
        let mut texts = FailureTexts::default();
        output.lines().for_each(|line| texts.read_line(line));
        texts.joined_text()
    }

    #[test]
    fn texts_of_failed_tests_are_kept_and_nothing_else() {
        let libtest = "running 2 tests\ntest a ... FAILED\ntest b ... ok\n\nfailures:\n\n---- a stdout ----\n\
            thread 'a' panicked at a.rs:1:1:\nleft 1, right 2\n\n\nfailures:\n    a\n\ntest result: FAILED. 1 passed; 1 failed;\n";
        let bed = "test c ... FAILED\n\nfailures:\n\n---- c ----\nc: still there\n\n---- d ----\nd: gone\n\nfailures:\n    c\n    d\n";
        let want = "---- a stdout ----\nthread 'a' panicked at a.rs:1:1:\nleft 1, right 2\n\n\
            ---- c ----\nc: still there\n\n---- d ----\nd: gone\n\n";
        assert_eq!(joined_text(&format!("{libtest}{bed}")), want);
        assert_eq!(joined_text("test a ... ok\n---- \ntest result: ok. 1 passed\n"), "");
    }

    #[test]
    fn long_texts_and_many_failures_are_cut() {
        let long: Vec<_> = (0..100).map(|line| format!("line {line}")).collect();
        let kept = joined_text(&format!("---- a ----\n{}\nfailures:\n", long.join("\n")));
        assert_eq!(kept.lines().next(), Some("---- a ----"));
        assert_eq!(kept.trim_end().lines().last(), Some("line 99"));
        assert_eq!(kept.trim_end().lines().count(), MAX_LINES);

        let many: Vec<_> = (0..20).map(|number| format!("---- t{number} ----\ntext")).collect();
        assert_eq!(joined_text(&many.join("\n")).matches(" ----").count(), MAX_FAILURES);
    }
}
