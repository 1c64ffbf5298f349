//! Counts tests from the output of the test harness.

/// Sums over all test binaries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TestCounts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) ignored: u64,
    announced: u64,
    /// A binary was started and has not printed its result yet.
    open: bool,
    /// A binary ended without a result.
    crashed: bool,
}

impl TestCounts {
    /// Counts a line such as `Running tests/a.rs (target/…)`, `running 3 tests` or
    /// `test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s`.
    pub(super) fn count_line(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.open = false;
            self.add_result(result);
        } else if let Some(count) = line.strip_prefix("running ").and_then(|rest| rest.split(' ').next()) {
            self.announced += count.parse().unwrap_or(0);
        } else if line.starts_with("     Running ") || line.starts_with("   Doc-tests ") {
            self.crashed |= self.open;
            self.open = true;
        }
    }

    /// Whether every test was counted. A binary that crashed does not print all of its tests.
    pub(super) fn is_complete(&self) -> bool {
        let counted = self.passed + self.failed + self.ignored;
        !self.crashed && !self.open && self.announced > 0 && self.announced == counted
    }

    fn add_result(&mut self, result: &str) {
        for part in result.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(count), Some(what)) = (words.next(), words.next()) else { continue };
            let Ok(count) = count.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(outputs: &[&str]) -> TestCounts {
        let mut counts = TestCounts::default();
        outputs.concat().lines().for_each(|line| counts.count_line(line));
        counts
    }

    const FIRST: &str = "     Running unittests src/lib.rs (target/debug/deps/a-1)\n\
        running 3 tests\ntest a ... ok\n\
        test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 5 filtered out; finished in 0.00s\n";
    const SECOND: &str = "     Running tests/b.rs (target/debug/deps/b-1)\nrunning 1 test\n\
        test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n";
    const CRASHED: &str = "     Running tests/c.rs (target/debug/deps/c-1)\nerror: no such thing\n";

    #[test]
    fn sums_over_binaries() {
        let counts = counts(&[FIRST, SECOND]);
        assert_eq!((counts.passed, counts.failed, counts.ignored), (2, 1, 1));
        assert!(counts.is_complete());
    }

    #[test]
    fn doc_tests_may_print_two_results() {
        let two = FIRST.replace("     Running ", "   Doc-tests ") + SECOND.split_once('\n').unwrap().1;
        assert!(counts(&[&two, FIRST]).is_complete());
    }

    #[test]
    fn a_binary_without_a_result_makes_it_incomplete() {
        assert!(!counts(&[FIRST, CRASHED]).is_complete());
        assert!(!counts(&[CRASHED, FIRST]).is_complete());
        assert!(!counts(&[FIRST, "running 3 tests\ntest a ... ok"]).is_complete());
        assert!(!counts(&[]).is_complete());
    }
}
