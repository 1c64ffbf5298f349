//! Two lists of words that this project used and does not use any more.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Identifiers are refused in Rust code, phrases in every text file.
#[derive(Debug)]
pub(super) struct Retired {
    identifiers: BTreeSet<String>,
    /// Lower case.
    phrases: Vec<String>,
}

impl Retired {
    /// Reads `identifiers.txt` and `phrases.txt` of a folder: one entry a line, `#` begins a comment.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let entries = |name: &str| {
            let path = folder.join(name);
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            let entries: Vec<_> = lines.map(str::to_owned).collect();
            ensure!(!entries.is_empty(), "{} has no entry", path.display());
            Ok(entries)
        };
        let phrases = entries("phrases.txt")?.iter().map(|phrase| phrase.to_lowercase()).collect();
        Ok(Self { identifiers: entries("identifiers.txt")?.into_iter().collect(), phrases })
    }

    /// Each use in a file, with its line.
    pub(super) fn faults(&self, file: &str, text: &str) -> Vec<String> {
        let is_rust = Path::new(file).extension().is_some_and(|extension| extension == "rs");
        let mut faults = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let place = format!("{file}:{}", index + 1);
            let lower = line.to_lowercase();
            for phrase in self.phrases.iter().filter(|phrase| has_phrase(&lower, phrase)) {
                faults.push(format!("{place}: retired phrase \"{phrase}\""));
            }
            if is_rust {
                for word in words(line).filter(|word| self.identifiers.contains(*word)) {
                    faults.push(format!("{place}: retired identifier `{word}`"));
                }
            }
        }
        faults
    }
}

/// Whole words only: "mend" is not part of "recommend".
fn has_phrase(line: &str, phrase: &str) -> bool {
    line.match_indices(phrase).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + phrase.len()..].chars().next();
        ![before, after].into_iter().flatten().any(is_word_character)
    })
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|character| !is_word_character(character)).filter(|word| !word.is_empty())
}

fn is_word_character(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retired() -> Retired {
        Retired { identifiers: BTreeSet::from(["Desk".to_owned()]), phrases: vec!["of which".to_owned()] }
    }

    #[test]
    fn whole_words_are_found_with_their_line() {
        let text = "a list of whichever\nthe list, Of Which\nstruct Desk; DeskLamp, desk\n";
        let found = retired().faults("a.rs", text);
        assert_eq!(found, ["a.rs:2: retired phrase \"of which\"", "a.rs:3: retired identifier `Desk`"]);
    }

    #[test]
    fn identifiers_are_refused_in_rust_only() {
        assert_eq!(retired().faults("a.md", "A Desk is a table."), Vec::<String>::new());
    }
}
