//! No name of an object escapes OUT: nothing outside of OUT is written, overwritten or removed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::process::{TestFolders, binding, facade_path};

const HEADER: &str = "# Written by Emcee, and overwritten by it.\n";

/// Returns everything outside of `in` and `out`: files with their content, folders and links.
fn files_outside(folders: &TestFolders) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    collect_files(&folders.path(""), &mut found);
    let within = [folders.path("in"), folders.path("out")];
    found.retain(|path, _| !within.iter().any(|folder| path.starts_with(folder)));
    found
}

fn collect_files(folder: &Path, found: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a type");
        found.insert(entry.path(), kind.is_file().then(|| fs::read(entry.path()).expect("a file")));
        if kind.is_dir() {
            collect_files(&entry.path(), found);
        }
    }
}

fn exposed_service(namespace: &str, name: &str, ports: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: '{namespace}', labels: {{emcee.io/expose: flat}}}}\n\
         spec: {{selector: {{app: x}}, ports: [{ports}]}}\n"
    )
}

#[track_caller]
fn assert_run_refuses(folders: &TestFolders, words: &str) {
    let output = folders.run("run --dir in --out out --once");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains(words), "{words}: {message} {}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(output.status.code(), Some(1), "{message}");
}

#[test]
fn the_namespace_of_an_exposed_service_cannot_escape() {
    let folders = TestFolders::with_reviews();
    folders.write_file("in/x1.yaml", exposed_service("../evil", "x1", "{name: http, port: 80}"));
    let before = files_outside(&folders);
    assert_run_refuses(&folders, "in/x1.yaml:3: Service ../evil/x1: metadata.namespace: ");
    assert_eq!(files_outside(&folders), before);
    assert!(!folders.exists("evil") && folders.exists(&facade_path("reviews")));
}

/// The name of a port contains the path of a file in the OUT of another mesh.
#[test]
fn the_name_of_a_port_cannot_escape() {
    let folders = TestFolders::with_reviews();
    let theirs = "other/blue/Gateway-emcee-pay.yaml";
    folders.write_file(theirs, format!("{HEADER}kind: Gateway\n"));
    let before = files_outside(&folders);
    let ports = "{name: http, port: 80}, {name: /../../../other/blue/Gateway-emcee-pay, port: 81}";
    folders.write_file("in/x3.yaml", exposed_service("shop", "x3", ports));
    assert_run_refuses(&folders, "in/x3.yaml:4: Service shop/x3: spec.ports[1].name: ");
    assert_eq!(files_outside(&folders), before, "nothing is written");
    folders.remove_file("in/x3.yaml");
    folders.run_once();
    assert_eq!(files_outside(&folders), before, "nothing is removed");
}

/// Objects of every kind with names that the API server would refuse are refused when they are read.
#[test]
fn names_of_every_kind_are_checked() {
    let of = |kind: &str, group: &str| {
        format!("apiVersion: {group}\nkind: {kind}\nmetadata: {{name: NAME, namespace: 'SPACE'}}\n")
    };
    let kinds = [
        of("Service", "v1") + "spec: {ports: [{port: 80}]}\n",
        of("Pod", "v1") + "spec: {containers: [{name: a}]}\n",
        of("Secret", "v1"),
        of("Deployment", "apps/v1") + "spec: {selector: {}, template: {spec: {containers: []}}}\n",
        of("EndpointSlice", "discovery.k8s.io/v1") + "addressType: IPv4\nendpoints: []\n",
        of("PeerAuthentication", "security.istio.io/v1") + "spec: {}\n",
        of("DestinationRule", "networking.istio.io/v1") + "spec: {host: a}\n",
        of("ServiceBinding", "mm.ibm.istio.io/v1") + "spec: {}\n",
    ];
    let folders = TestFolders::with_reviews();
    for kind in kinds {
        for (name, space, field) in [
            ("../x", "shop", "metadata.name: "),
            ("a/b", "shop", "metadata.name: "),
            ("x", "../..", "metadata.namespace: "),
            ("x", "/etc", "metadata.namespace: "),
            ("x", "a.b", "metadata.namespace: "),
        ] {
            folders.write_file("in/x.yaml", kind.replace("NAME", name).replace("SPACE", space));
            let output = folders.run("validate -f in/x.yaml");
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                output.status.code() == Some(1) && message.contains(field),
                "{name} {space}: {message}\n{kind}"
            );
        }
    }
}

/// Emcee does not manage a folder that is a link, whatever it contains.
#[test]
fn nothing_behind_a_link_is_written_or_removed() {
    let folders = TestFolders::with_reviews();
    folders.write_file("precious/Service-old.yaml", format!("{HEADER}kind: Service\n"));
    fs::create_dir_all(folders.path("out")).expect("a folder");
    for link in ["default", "flat", "status"] {
        symlink(folders.path("precious"), folders.path("out").join(link)).expect("a link");
    }
    let before = files_outside(&folders);
    let output = folders.run("run --dir in --out out --once");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        message
            .contains("out/default/Service-reviews.yaml exists and is not managed by Emcee; not overwritten"),
        "{message}"
    );
    assert_eq!(output.status.code(), Some(1), "{message}");
    folders.remove_file("in/reviews.yaml");
    folders.run("run --dir in --out out --once");
    assert_eq!(files_outside(&folders), before);
}

/// A folder is replaced by a link while Emcee runs.
#[test]
fn a_folder_that_is_replaced_by_a_link_is_not_followed() {
    let folders = TestFolders::with_reviews();
    let mut program = folders.start();
    program.wait_for("created VirtualService");
    fs::rename(folders.path("out/default"), folders.path("precious")).expect("a rename");
    symlink(folders.path("precious"), folders.path("out/default")).expect("a link");
    program.wait_for("not overwritten");
    let before = files_outside(&folders);
    folders.write_file("in/reviews.yaml", binding("reviews").replace("9080", "9081"));
    folders.write_file("in/marker.yaml", exposed_service("marker", "x", ""));
    program.wait_for("Service marker/x");
    folders.remove_file("in/reviews.yaml");
    folders.write_file("in/flat.yaml", crate::process::FLAT.replace("flat", "flatter"));
    folders.wait_for("out/status/flatter/MeshFedConfig-flatter.yaml", "Accepted");
    assert_eq!(files_outside(&folders), before);
}

/// Pseudo-random numbers, the same in each run.
struct RandomNumbers(u64);

impl RandomNumbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("a number below a usize")
    }

    /// Returns a valid name in most cases, and otherwise a text that contains parts of paths.
    fn name(&mut self) -> String {
        const PARTS: [&str; 14] =
            ["a", "b", "status", "default", "x1", "..", "/", "../..", "\0", ".", "ä", "_", "\\", "/tmp"];
        let parts = if self.below(4) > 0 { 5 } else { PARTS.len() };
        let count = 1 + self.below(3);
        (0..count).map(|_| PARTS[self.below(parts)]).collect()
    }

    /// Returns an object with such names: an exposed Service, a binding or an exposition.
    fn object(&mut self) -> serde_json::Value {
        let (name, namespace) = (self.name(), self.name());
        let metadata =
            serde_json::json!({"name": name, "namespace": namespace, "labels": {"emcee.io/expose": "flat"}});
        let fed = serde_json::json!({"fed-config": "flat"});
        if self.below(2) == 0 {
            let ports = [80, 81, 82].map(|port| serde_json::json!({"name": self.name(), "port": port}));
            return serde_json::json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata,
                "spec": {"selector": {"app": "a"}, "ports": ports}});
        }
        let (kind, name, alias) =
            (["ServiceBinding", "ServiceExposition"][self.below(2)], self.name(), self.name());
        let mut spec =
            serde_json::json!({"name": name, "alias": alias, "port": 80, "mesh_fed_config_selector": fed});
        if kind == "ServiceBinding" {
            spec["endpoints"] = serde_json::json!(["203.0.113.12:15443"]);
        }
        serde_json::json!({"apiVersion": "mm.ibm.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec})
    }
}

/// Property test with real folders: for any names of objects, only files in OUT are written, replaced or removed.
#[test]
fn no_names_of_objects_change_anything_outside() {
    let folders = TestFolders::with_reviews();
    folders.write_file(
        "evil/ServiceExposition-a-auto-exposed.yaml",
        format!("{HEADER}kind: ServiceExposition\n"),
    );
    folders.write_file("default/Service-a.yaml", format!("{HEADER}kind: Service\n"));
    folders.write_file("out/deep/er/out/.keep", "");
    let before = files_outside(&folders);
    let of =
        emcee::run::file_mode::FileModeDirs { dir: folders.path("in"), out: folders.path("out/deep/er/out") };
    let settings = emcee_core::inputs::TranslationSettings {
        coverage: emcee_core::inputs::InputCoverage::Partial,
        ..emcee_core::inputs::TranslationSettings::default()
    };
    let (mut numbers, mut written) = (RandomNumbers(0x9e37_79b9_7f4a_7c15), 0);
    let (mut out, mut err) = (std::io::sink(), std::io::sink());
    let mut console = emcee::console::Console::new(&mut out, &mut err);
    for start in 0..5 {
        let mut mode = emcee::run::file_mode::FileMode::open(of.clone(), settings.clone()).expect("folders");
        for round in 0..20 {
            let objects: Vec<_> = (0..20).map(|_| numbers.object().to_string()).collect();
            folders.write_file("in/objects.yaml", objects.join("\n---\n"));
            mode.poll(true, &mut console).expect("no fatal error");
            assert_eq!(files_outside(&folders), before, "start {start} round {round}: {objects:#?}");
            let files: Vec<_> = folders.files().into_keys().collect();
            assert!(files.iter().all(|file| file.starts_with("deep/er/out")), "{files:?}");
            written += files.len();
        }
    }
    assert!(written > 1_000, "{written}");
}
