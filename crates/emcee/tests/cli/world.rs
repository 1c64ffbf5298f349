//! A folder to work in, the program, and what came of running it.

use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use emcee_testkit::objects::Builder;
use tempfile::TempDir;

/// A folder of its own for a test; the program runs in it, so that messages hold no paths of the machine.
pub(crate) struct World {
    dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::new().expect("a temporary folder") }
    }

    /// A world with one file, `mesh.yaml`.
    pub(crate) fn of(text: &str) -> Self {
        Self::new().with("mesh.yaml", text)
    }

    pub(crate) fn with(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let full = self.path(path);
        let folder = full.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder).expect("a folder can be made");
        fs::write(full, content).expect("a file can be written");
        self
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = emcee();
        command.current_dir(self.dir.path()).args(args.split_whitespace());
        command
    }

    /// Runs `emcee ARGS`, with nothing on stdin.
    pub(crate) fn emcee(&self, args: &str) -> Ran {
        ran(self.command(args).output().expect("the program runs"))
    }

    /// Runs `emcee ARGS` with `input` on stdin.
    pub(crate) fn emcee_reading(&self, args: &str, input: &str) -> Ran {
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
        ran(child.wait_with_output().expect("the program ends"))
    }
}

/// The program, whatever the environment of the tests says about colour and width.
pub(crate) fn emcee() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emcee"));
    for variable in ["CLICOLOR", "CLICOLOR_FORCE", "NO_COLOR", "COLUMNS", "TERM"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs `emcee` in the repository's root.
pub(crate) fn in_repository<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Ran {
    ran(emcee().current_dir(root()).args(args).output().expect("the program runs"))
}

pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// What came of a run.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

fn ran(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).expect("what is printed is UTF-8");
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Ran {
    /// The stderr of a run that refuses its input and prints nothing of it.
    #[track_caller]
    pub(crate) fn refusal(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self.stderr
    }

    /// The stdout of a run that has nothing to refuse.
    #[track_caller]
    pub(crate) fn fine(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }
}

impl Display for Ran {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or("a signal".to_owned(), |code| code.to_string());
        write!(f, "exit code: {code}\n--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }
}

/// Compares with `cli/snapshots/NAME.snap`. The hashes in names are the golden folders' business.
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

/// A relationship, BOUNDARY, that consumes.
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
";

/// A relationship without gateways, certificates or peers: the least there is.
pub(crate) const FLAT: &str = "\
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata: {name: flat, namespace: flat}
spec: {mode: FLAT}
";

/// A binding through `relationship`, with more lines for its spec.
pub(crate) fn binding(name: &str, relationship: &str, more: &str) -> String {
    format!(
        "apiVersion: mm.ibm.istio.io/v1\nkind: ServiceBinding\nmetadata: {{name: {name}, namespace: default}}\n\
         spec:\n  name: {name}\n  mesh_fed_config_selector: {{fed-config: {relationship}}}\n{more}"
    )
}

/// A binding that says all there is to say.
pub(crate) fn full_binding(name: &str, relationship: &str) -> String {
    binding(name, relationship, "  port: 9080\n  endpoints: [\"203.0.113.12:15443\"]\n")
}

/// Documents of one stream.
pub(crate) fn stream(documents: &[&str]) -> String {
    documents.join("---\n")
}

/// An object of the test kit as a document; JSON is YAML too.
pub(crate) fn written(object: impl Builder) -> String {
    format!("{}\n", object.build())
}
