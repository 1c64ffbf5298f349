//! The input and output folders, and the running program.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, PipeReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use emcee_testkit::prelude::*;
use tempfile::TempDir;

/// Time limit for every operation. A test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// Prefix of the program's temporary files, which it renames.
const TEMPORARY_PREFIX: &str = ".emcee-";

/// The folders `in` and `out` in a temporary folder.
pub(crate) struct TestFolders {
    dir: TempDir,
}

impl TestFolders {
    pub(crate) fn new() -> Self {
        let folders = Self { dir: TempDir::new().expect("a temporary folder") };
        fs::create_dir(folders.path("in")).expect("a new folder");
        folders
    }

    /// Creates the folders with a relationship and a binding of reviews.
    pub(crate) fn with_reviews() -> Self {
        let folders = Self::new();
        folders.write_file("in/flat.yaml", FLAT);
        folders.write_file("in/reviews.yaml", binding("reviews"));
        folders
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// Writes a file with a rename, as users of a followed folder should.
    pub(crate) fn write_file(&self, below: &str, text: impl AsRef<[u8]>) {
        let full = self.path(below);
        fs::create_dir_all(full.parent().expect("a parent folder")).expect("a new folder");
        let next = self.path("next");
        fs::write(&next, text).expect("a writable file");
        fs::rename(next, full).expect("a rename");
    }

    /// Writes a BOUNDARY relationship. The CA in its Secret has another key, so Emcee generates a copy.
    pub(crate) fn write_blue(&self, pair: &TlsPair) {
        let secret = secret_tls("blue", "source").label("relationship", "blue").pair(pair);
        self.write_file("in/secret.json", secret.ca_under("example.com.crt").build().to_string());
        self.write_file("in/blue.yaml", BLUE);
    }

    pub(crate) fn remove_file(&self, below: &str) {
        fs::remove_file(self.path(below)).expect("an existing file");
    }

    #[track_caller]
    pub(crate) fn read_file(&self, below: &str) -> String {
        fs::read_to_string(self.path(below)).expect(below)
    }

    pub(crate) fn exists(&self, below: &str) -> bool {
        self.path(below).exists()
    }

    /// Waits until a file contains these words, and returns its text.
    #[track_caller]
    pub(crate) fn wait_for(&self, below: &str, words: &str) -> String {
        let began = Instant::now();
        loop {
            let text = fs::read_to_string(self.path(below)).unwrap_or_default();
            if text.contains(words) {
                return text;
            }
            assert!(began.elapsed() < DEADLINE, "{below} does not contain {words:?}: {text}");
            thread::yield_now();
        }
    }

    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_emcee"));
        command.current_dir(self.dir.path()).args(args.split_whitespace()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &str) -> Output {
        self.command(args).output().expect("the program runs")
    }

    /// Runs `emcee run --once`, and returns its stdout.
    #[track_caller]
    pub(crate) fn run_once(&self) -> String {
        let output = self.run("run --dir in --out out --once");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Starts `emcee run`, which runs until the end of the test.
    pub(crate) fn start(&self) -> RunningEmcee {
        self.start_with_flags("")
    }

    /// Starts `emcee run` with more flags.
    pub(crate) fn start_with_flags(&self, flags: &str) -> RunningEmcee {
        Self::spawn(self.command(&format!("run --dir in --out out --interval 20 {flags}")))
    }

    /// Starts `emcee run` in a shell script that ends with `exec "$@"`.
    pub(crate) fn start_in_shell(&self, script: &str) -> RunningEmcee {
        Self::spawn(self.shell_command(script, "run --dir in --out out --interval 20"))
    }

    /// Returns a command that runs the program in a shell script.
    pub(crate) fn shell_command(&self, script: &str, args: &str) -> Command {
        let mut command = Command::new("sh");
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_emcee")]).args(args.split_whitespace());
        command
    }

    fn spawn(mut command: Command) -> RunningEmcee {
        let (lines, writer) = io::pipe().expect("a pipe");
        command.stdout(writer.try_clone().expect("a pipe")).stderr(writer);
        RunningEmcee::from_child(command.spawn().expect("the program runs"), lines)
    }

    /// Returns every file in OUT with its content and modification time. The program may write and remove files
    /// meanwhile: if one goes after it was listed, all are listed again.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, (String, SystemTime)> {
        let began = Instant::now();
        loop {
            let mut found = BTreeMap::new();
            let read = collect_files(&self.path("out"), Path::new(""), &mut found);
            let is_gone = read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            if !is_gone {
                read.expect("a readable folder");
                return found;
            }
            assert!(began.elapsed() < DEADLINE, "files go each time they are listed");
        }
    }

    /// Returns the files of objects with their content, without the statuses and temporary files.
    pub(crate) fn objects(&self) -> BTreeMap<PathBuf, String> {
        let is_temporary = |path: &Path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY_PREFIX))
        };
        let files = self.files().into_iter();
        let files = files.filter(|(path, _)| !path.starts_with("status") && !is_temporary(path));
        files.map(|(path, (text, _))| (path, text)).collect()
    }
}

fn collect_files(
    root: &Path,
    below: &Path,
    found: &mut BTreeMap<PathBuf, (String, SystemTime)>,
) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(below)) {
        // Nothing has been written yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound && below == Path::new("") => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect_files(root, &path, found)?;
        } else {
            let text = fs::read_to_string(entry.path())?;
            found.insert(path, (text, entry.metadata()?.modified()?));
        }
    }
    Ok(())
}

/// The running program and its output.
pub(crate) struct RunningEmcee {
    child: Child,
    lines: Receiver<String>,
    pub(crate) output: Vec<String>,
}

impl RunningEmcee {
    /// Reads both output streams through one pipe, so that their lines stay in order.
    fn from_child(child: Child, pipe: PipeReader) -> Self {
        let (sender, lines) = channel();
        forward_lines(pipe, sender);
        Self { child, lines, output: Vec::new() }
    }

    /// Waits for a line with these words, and returns it.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        let began = Instant::now();
        loop {
            let left = DEADLINE.saturating_sub(began.elapsed());
            let line = self.lines.recv_timeout(left);
            assert!(line.is_ok(), "no line has {words:?}: {:#?}", self.output);
            let line = line.unwrap_or_default();
            self.output.push(line.clone());
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Waits until all earlier changes to DIR have been processed. Adds and then changes a binding of this name: the
    /// second pass begins only after the first has written and removed all files.
    #[track_caller]
    pub(crate) fn wait_until_processed(&mut self, folders: &TestFolders, marker: &str) {
        let file = format!("in/{marker}.yaml");
        folders.write_file(&file, binding(marker));
        self.wait_for(&format!("created VirtualService default/emcee-{marker}-"));
        folders.write_file(&file, binding(marker).replace("9080", "9090"));
        self.wait_for(&format!("changed VirtualService default/emcee-{marker}-"));
    }

    /// Returns the number of lines so far that contain these words.
    pub(crate) fn count_lines(&mut self, words: &str) -> usize {
        self.output.extend(self.lines.try_iter());
        self.output.iter().filter(|line| line.contains(words)).count()
    }

    /// Kills the program with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a running program");
        self.child.wait().expect("an exit status");
    }

    /// Sends a signal, and waits for the exit.
    pub(crate) fn end_with(mut self, signal: &str) -> ExitStatus {
        send_signal(signal, self.child.id());
        self.child.wait().expect("an exit status")
    }
}

/// Sends a signal to a process that this test started.
pub(crate) fn send_signal(signal: &str, process: u32) {
    let command = format!("kill -{signal} {process}");
    let sent = Command::new("sh").args(["-c", &command]).status().expect("a shell");
    assert!(sent.success());
}

impl Drop for RunningEmcee {
    fn drop(&mut self) {
        // In some tests, the program has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward_lines(from: PipeReader, to: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                return;
            }
        }
    });
}

pub(crate) const FLAT: &str = "\
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata: {name: flat, namespace: flat}
spec: {mode: FLAT}
";

const BLUE: &str = "\
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata: {name: blue, namespace: blue}
spec: {mode: BOUNDARY, tls_context_selector: {relationship: blue}, use_egress_gateway: true}
";

pub(crate) fn binding(name: &str) -> String {
    format!(
        "apiVersion: mm.ibm.istio.io/v1\nkind: ServiceBinding\nmetadata: {{name: {name}, namespace: default}}\n\
         spec:\n  name: {name}\n  port: 9080\n  mesh_fed_config_selector: {{fed-config: flat}}\n  \
         endpoints: ['203.0.113.12:15443']\n"
    )
}

/// Returns the path of a binding's facade Service. It is the second last of its objects to be written.
pub(crate) fn facade_path(name: &str) -> String {
    format!("out/default/Service-{name}.yaml")
}
