//! Checks of `deploy/Dockerfile` without a container engine: the content of the image, and the user that runs it.

use std::fs;
use std::path::Path;

/// An instruction and its arguments.
type Instruction = (String, String);

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn read_file(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

/// Returns the instructions of each stage, beginning with its FROM. The first item contains those before the first
/// stage.
fn parse_stages(text: &str) -> Vec<Vec<Instruction>> {
    let lines = text.replace("\\\n", " ");
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut stages = vec![Vec::new()];
    for line in lines {
        let (name, arguments) = line.split_once(' ').expect("an instruction has arguments");
        if name == "FROM" {
            stages.push(Vec::new());
        }
        stages.last_mut().expect("at least one stage").push((name.to_owned(), arguments.trim().to_owned()));
    }
    stages
}

#[test]
fn the_image_contains_one_program_and_does_not_run_as_root() {
    let stages = parse_stages(&read_file("deploy/Dockerfile"));
    let last = stages.last().expect("a stage");
    let names: Vec<_> = last.iter().map(|(name, _)| name.as_str()).collect();
    // No RUN, because the image contains nothing that could run, and no ENV, EXPOSE or VOLUME.
    assert_eq!(names, ["FROM", "COPY", "USER", "ENTRYPOINT"]);
    assert_eq!(last[0].1, "scratch");
    let copied: Vec<_> = last[1].1.split_whitespace().collect();
    let [from, program, to] = copied[..] else { panic!("{copied:?}") };
    assert_eq!((from, to), ("--from=build", "/emcee"));
    assert!(program.ends_with("/x86_64-unknown-linux-musl/release/emcee"), "{program}");
    // Numeric IDs, because the image has no passwd file, and `runAsNonRoot` checks only numeric IDs.
    let ids: Vec<u32> = last[2].1.split(':').map(|id| id.parse().expect("a number")).collect();
    assert!(ids.len() == 2 && ids.iter().all(|id| *id >= 10_000), "{ids:?}");
    // The exec form, because the shell form needs a shell.
    let entry: Vec<String> = serde_json::from_str(&last[3].1).expect("a list");
    assert_eq!(entry, ["/emcee"]);
}

/// The manifests also set a user. It must be the same as that of the image, so that all environments behave alike.
#[test]
fn the_image_and_the_manifests_have_the_same_user() {
    let stages = parse_stages(&read_file("deploy/Dockerfile"));
    let user = stages.last().and_then(|last| last.iter().find(|(name, _)| name == "USER"));
    let user = user.expect("a user").1.clone();
    let manifest = read_file("deploy/helm/emcee/templates/deployment.yaml");
    let id = |field: &str| {
        let line = manifest
            .lines()
            .find_map(|line| line.trim().strip_prefix(&format!("{field}: ")).map(str::to_owned));
        line.expect(field)
    };
    assert_eq!(user, format!("{}:{}", id("runAsUser"), id("runAsGroup")));
}

/// The builder image is a build argument and can be a digest. The default has the toolchain of the repository.
#[test]
fn the_builder_image_is_a_build_argument() {
    let stages = parse_stages(&read_file("deploy/Dockerfile"));
    let [(name, default)] = &stages[0][..] else { panic!("{:?}", stages[0]) };
    assert_eq!(name, "ARG");
    let image = default.strip_prefix("BUILD_IMAGE=").expect("BUILD_IMAGE");
    assert_eq!(stages[1][0], ("FROM".into(), "${BUILD_IMAGE} AS build".into()));
    assert_eq!(stages.len(), 3, "one stage for the build and one for the image");
    let toolchain = read_file("rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).expect("a channel");
    let tag = image.strip_prefix("docker.io/library/rust:").expect("the official image, by its full name");
    let version = tag.split('-').next().expect("a version");
    assert!(channel.trim_matches('"').starts_with(version), "{image} differs from the toolchain {channel}");
    // An unverified digest would be worse than none.
    assert!(!image.contains("@sha256:"), "{image}");
    for page in ["docs/guides/install.md", "deploy/Dockerfile"] {
        assert!(read_file(page).contains("--build-arg BUILD_IMAGE=docker.io/library/rust:"), "{page}");
    }
}
