//! A temporary folder, runs of the program in it, and their results.

use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use emcee_testkit::objects::Builder;
use tempfile::TempDir;

/// A temporary folder for one test. The program runs in it, so that messages contain no paths of the machine.
pub(crate) struct World {
    dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::new().expect("a temporary folder") }
    }

    /// Returns a folder with one file, `mesh.yaml`.
    pub(crate) fn with_mesh(text: &str) -> Self {
        Self::new().with_file("mesh.yaml", text)
    }

    pub(crate) fn with_file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let full = self.path(path);
        let folder = full.parent().expect("a parent folder");
        fs::create_dir_all(folder).expect("a new folder");
        fs::write(full, content).expect("a writable file");
        self
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = emcee_command();
        command.current_dir(self.dir.path()).args(args.split_whitespace());
        command
    }

    /// Runs `emcee ARGS` with an empty stdin.
    pub(crate) fn run(&self, args: &str) -> RunResult {
        run_result(self.command(args).output().expect("the program runs"))
    }

    /// Runs `emcee ARGS` with `input` on stdin.
    pub(crate) fn run_with_stdin(&self, args: &str, input: &str) -> RunResult {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        stdin.write_all(input.as_bytes()).expect("the program reads its stdin");
        drop(stdin);
        run_result(child.wait_with_output().expect("the program ends"))
    }
}

/// Returns a command for the program that ignores the environment's settings for colour and width.
pub(crate) fn emcee_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emcee"));
    for variable in ["CLICOLOR", "CLICOLOR_FORCE", "NO_COLOR", "COLUMNS", "TERM"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs `emcee` in the repository's root.
pub(crate) fn run_in_repository<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> RunResult {
    run_result(emcee_command().current_dir(root()).args(args).output().expect("the program runs"))
}

pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The result of a run.
pub(crate) struct RunResult {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

fn run_result(output: Output) -> RunResult {
    let text = |bytes| String::from_utf8(bytes).expect("output in UTF-8");
    RunResult { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl RunResult {
    /// Returns the refusals of a run that refuses its input: stderr without warnings and without the count at the end.
    /// Asserts that stdout is empty.
    #[track_caller]
    pub(crate) fn expect_refusal(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        let other = ["not generated: ", "assumed: ", "warning: ", "nothing to check: "];
        let is_count = |line: &str| {
            line.split_once(": ")
                .is_some_and(|(counted, _)| counted.ends_with(" resource") || counted.ends_with(" resources"))
        };
        let refusals = self
            .stderr
            .lines()
            .filter(|line| !is_count(line) && !other.iter().any(|prefix| line.starts_with(prefix)));
        refusals.flat_map(|line| [line, "\n"]).collect()
    }

    /// Returns the stdout of a successful run.
    #[track_caller]
    pub(crate) fn expect_success(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }
}

impl Display for RunResult {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or("a signal".to_owned(), |code| code.to_string());
        write!(f, "exit code: {code}\n--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }
}

/// Compares with `cli/snapshots/NAME.snap`. Hashes in names are replaced, because the golden folders test them.
macro_rules! snapshot {
    ($name:expr, $shown:expr) => {
        insta::with_settings!({
            snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/snapshots"),
            prepend_module_to_snapshot => false,
            omit_expression => true,
            filters => [("-[0-9a-f]{12}", "-HASH")],
        }, {
            insta::assert_snapshot!($name, $shown)
        })
    };
}
pub(crate) use snapshot;

/// A BOUNDARY relationship with one peer.
pub(crate) const BLUE: &str = "\
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata: {name: blue, namespace: blue}
spec:
  mode: BOUNDARY
  tls_context_selector: {relationship: blue}
  use_egress_gateway: true
  use_ingress_gateway: true
  peers:
  - {name: m2, subject_alt_names: [m2.blue.example]}
  allowed_namespaces: ['*']
";

/// A minimal relationship without gateways, certificate or peers.
pub(crate) const FLAT: &str = "\
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata: {name: flat, namespace: flat}
spec: {mode: FLAT}
";

/// Returns a binding in `relationship`, with more lines in its spec.
pub(crate) fn binding(name: &str, relationship: &str, more: &str) -> String {
    format!(
        "apiVersion: mm.ibm.istio.io/v1\nkind: ServiceBinding\nmetadata: {{name: {name}, namespace: default}}\n\
         spec:\n  name: {name}\n  mesh_fed_config_selector: {{fed-config: {relationship}}}\n{more}"
    )
}

/// Returns a binding with port and endpoints.
pub(crate) fn full_binding(name: &str, relationship: &str) -> String {
    binding(name, relationship, "  port: 9080\n  endpoints: [\"203.0.113.12:15443\"]\n")
}

/// Joins documents into one stream.
pub(crate) fn join_documents(documents: &[&str]) -> String {
    documents.join("---\n")
}

/// Returns an object of the testkit as a document. It is JSON, which is valid YAML.
pub(crate) fn to_document(object: impl Builder) -> String {
    format!("{}\n", object.build())
}
