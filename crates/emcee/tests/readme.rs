//! The documentation is correct: its commands print what it shows, its links are valid, and its references are
//! complete.
//!
//! In a page, a ```` ```yaml ```` block whose first line is `# file: PATH` is a file. A command that begins with `emcee`
//! (or `cargo run --release --`) in a ```` ```console ```` block is run in a folder with these files and the examples.
//! It must print the lines that are shown (`…` matches anything), and exit with 0, or with the code that
//! `; echo $?` shows. Commands of other programs are not run. The part of a command after a `|` is not run either.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory as _;
use emcee::cli::Cli;
use emcee_api::Reason;
use serde_json::Value;

#[test]
fn documented_commands_print_what_is_shown() {
    let mut ran = 0;
    for page in documentation_pages() {
        let place = tempfile::tempdir().expect("a temporary folder");
        symlink(root().join("examples"), place.path().join("examples")).expect("a link to the examples");
        for block in code_blocks(&read_page(&page)) {
            match block.language.as_str() {
                "yaml" => write_yaml_file(place.path(), &block.lines),
                "console" => {
                    ran += parse_commands(&block.lines)
                        .iter()
                        .filter(|command| command.run_and_compare(&page, place.path()))
                        .count();
                }
                _ => {}
            }
        }
    }
    assert!(ran >= 15, "only {ran} commands were found");
}

#[test]
fn links_are_valid() {
    for page in documentation_pages() {
        let text = read_page(&page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            if path.contains("://") {
                continue;
            }
            let target = if path.is_empty() { page.clone() } else { page.with_file_name("").join(path) };
            assert!(target.exists(), "{}: {link}", page.display());
            if !heading.is_empty() {
                let found =
                    read_page(&target).lines().any(|line| line.starts_with('#') && anchor(line) == heading);
                assert!(found, "{}: {link}: no such heading", page.display());
            }
        }
    }
}

#[test]
fn every_reason_is_documented() {
    let rows = code_cells(&read_page(&root().join("docs/reference/conditions.md")));
    let missing: Vec<_> = Reason::ALL.iter().filter(|reason| !rows.contains(reason.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_field_is_documented() {
    let page = read_page(&root().join("docs/reference/resources.md"));
    for crd in emcee_api::custom_resource_definitions() {
        let mut fields = BTreeSet::new();
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).expect("a schema is JSON");
        let properties = &schema["openAPIV3Schema"]["properties"];
        collect_fields("spec", &properties["spec"], &mut fields);
        collect_fields("status", &properties["status"], &mut fields);
        let kind = &crd.spec.names.kind;
        assert_eq!(code_cells(section(&page, kind)), fields, "{kind}");
    }
}

#[test]
fn every_command_and_flag_is_documented() {
    let page = read_page(&root().join("docs/reference/cli.md"));
    let sections = ["Mesh settings", "Cluster", "Logging"];
    let shared: BTreeSet<_> = sections.iter().flat_map(|name| code_cells(section(&page, name))).collect();
    let mut used = BTreeSet::new();
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        let flags: BTreeSet<_> =
            command.get_arguments().filter_map(|a| a.get_long()).map(|long| format!("--{long}")).collect();
        let own: BTreeSet<_> = flags.difference(&shared).cloned().collect();
        // A command can document its own meaning of a shared flag.
        let documented = &code_cells(section(&page, &format!("emcee {name}"))) - &(&shared & &flags);
        assert_eq!(documented, own, "emcee {name}");
        used.extend(flags);
    }
    assert!(used.is_superset(&shared), "{shared:?}");
}

struct CodeBlock {
    language: String,
    lines: Vec<String>,
}

struct DocumentedCommand {
    line: String,
    output: Vec<String>,
}

impl DocumentedCommand {
    /// Runs the command, and returns whether it is a command of Emcee.
    fn run_and_compare(&self, page: &Path, place: &Path) -> bool {
        let line = self.line.replacen("cargo run --release --", "emcee", 1);
        let Some(arguments) = line.strip_prefix("emcee ") else { return false };
        let mut output = self.output.clone();
        let (arguments, code) = match arguments.strip_suffix("; echo $?") {
            Some(arguments) => (arguments, output.pop().expect("the exit code")),
            None => (arguments, "0".to_owned()),
        };
        let arguments = arguments.split(" | ").next().unwrap_or_default();
        let (arguments, file) = arguments.split_once(" > ").unwrap_or((arguments, ""));
        let ran = Command::new(env!("CARGO_BIN_EXE_emcee"))
            .args(arguments.split_whitespace())
            .current_dir(place)
            .output()
            .expect("emcee runs");
        if !file.is_empty() {
            fs::write(place.join(file), &ran.stdout).expect("a writable file");
        }
        let printed = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
        let context = || format!("{}: {}\n{printed}", page.display(), self.line);
        assert_eq!(ran.status.code().map(|code| code.to_string()), Some(code), "{}", context());
        for pattern in output {
            assert!(
                printed.lines().any(|line| matches_pattern(line, &pattern)),
                "no line {pattern:?} in {}",
                context()
            );
        }
        true
    }
}

/// Returns whether a line is as shown. `…` matches anything.
fn matches_pattern(line: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('…') else { return line == pattern };
    let Some(line) = line.strip_prefix(start) else { return false };
    line.char_indices().map(|(at, _)| at).chain([line.len()]).any(|at| matches_pattern(&line[at..], rest))
}

fn code_blocks(text: &str) -> Vec<CodeBlock> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let lines = lines.by_ref().take_while(|line| *line != "```").map(str::to_owned).collect();
            blocks.push(CodeBlock { language: language.to_owned(), lines });
        }
    }
    blocks
}

/// Parses commands. A line that begins with `$ ` is a command, and `\` continues it. Other lines are output of the last
/// command.
fn parse_commands(lines: &[String]) -> Vec<DocumentedCommand> {
    let mut commands: Vec<DocumentedCommand> = Vec::new();
    for line in lines {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(line), _) => commands.push(DocumentedCommand { line: line.to_owned(), output: Vec::new() }),
            (None, Some(last)) if last.line.ends_with('\\') => {
                last.line.pop();
                last.line.push_str(line);
            }
            (None, Some(last)) => last.output.push(line.clone()),
            (None, None) => {}
        }
    }
    commands
}

fn write_yaml_file(place: &Path, lines: &[String]) {
    let Some(path) = lines.first().and_then(|line| line.strip_prefix("# file: ")) else { return };
    let path = place.join(path);
    fs::create_dir_all(path.with_file_name("")).expect("a new folder");
    fs::write(path, lines.join("\n")).expect("a writable file");
}

/// Collects the path of every field in a schema. The fields of conditions are defined by Kubernetes and are skipped.
fn collect_fields(path: &str, schema: &Value, fields: &mut BTreeSet<String>) {
    let known = schema["properties"].as_object().into_iter().flatten();
    for (name, field) in known.filter(|_| !path.ends_with(".conditions[]")) {
        let path = format!("{path}.{name}");
        collect_fields(&path, field, fields);
        collect_fields(&format!("{path}[]"), &field["items"], fields);
        fields.insert(path);
    }
}

/// Returns the first cell of each row of a table, if it is code.
fn code_cells(text: &str) -> BTreeSet<String> {
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells.map(|(name, _)| name.to_owned()).collect()
}

fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).expect(heading);
    rest.split("\n## ").next().unwrap_or_default()
}

/// Returns the anchor of a heading, as in a link.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Returns the pages in the root folder, and all pages below `docs`.
fn documentation_pages() -> Vec<PathBuf> {
    let mut pages: Vec<_> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"]
        .map(|page| root().join(page))
        .into();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

fn read_page(path: &Path) -> String {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    text.expect("a readable page")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
