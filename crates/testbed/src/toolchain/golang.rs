//! The Go modules and the commands built from them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A Go module of ours. It pins commands of upstream, or contains a command itself.
#[derive(Debug)]
pub(super) struct GoModule {
    pub(super) name: &'static str,
    pub(super) go_mod: &'static str,
    pub(super) go_sum: &'static str,
    /// Name and text of its only source file.
    pub(super) source: (&'static str, &'static str),
    pub(super) commands: &'static [GoCommand],
    /// A data file from a module: that module, the file's path in it, and its name in the cache.
    data: Option<(&'static str, &'static str, &'static str)>,
}

/// A command, its build tags and its linker flags.
#[derive(Debug)]
pub(super) struct GoCommand {
    package: &'static str,
    tags: &'static str,
    link: &'static str,
}

/// Without a version, clients cannot parse the version that the server reports.
const KUBE_VERSION: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.1 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36";
const STRIPPED: &str = "-s -w";

const fn kube_command(package: &'static str) -> GoCommand {
    GoCommand { package, tags: "", link: KUBE_VERSION }
}

const fn stripped_command(package: &'static str, tags: &'static str) -> GoCommand {
    GoCommand { package, tags, link: STRIPPED }
}

pub(super) const MODULES: &[GoModule] = &[
    GoModule {
        name: "istio",
        go_mod: include_str!("../../go/istio/go.mod"),
        go_sum: include_str!("../../go/istio/go.sum"),
        source: ("tools.go", include_str!("../../go/istio/tools.go")),
        commands: &[
            stripped_command("istio.io/istio/istioctl/cmd/istioctl", "vtprotobuf,disable_pgv"),
            stripped_command("istio.io/istio/pilot/cmd/pilot-discovery", "vtprotobuf,disable_pgv"),
            stripped_command(
                "istio.io/istio/pilot/cmd/pilot-agent",
                "agent,disable_pgv,grpcnotrace,retrynotrace",
            ),
        ],
        data: Some(("istio.io/istio", "tools/packaging/common/envoy_bootstrap.json", "envoy_bootstrap.json")),
    },
    GoModule {
        name: "kube",
        go_mod: include_str!("../../go/kube/go.mod"),
        go_sum: include_str!("../../go/kube/go.sum"),
        source: ("tools.go", include_str!("../../go/kube/tools.go")),
        commands: &[
            kube_command("k8s.io/kubernetes/cmd/kube-apiserver"),
            kube_command("k8s.io/kubernetes/cmd/kube-controller-manager"),
            kube_command("k8s.io/kubernetes/cmd/kubectl"),
        ],
        data: None,
    },
    GoModule {
        name: "discovery-client",
        go_mod: include_str!("../../go/discovery-client/go.mod"),
        go_sum: include_str!("../../go/discovery-client/go.sum"),
        source: ("main.go", include_str!("../../go/discovery-client/main.go")),
        commands: &[stripped_command("emcee.io/testbed/discovery-client", "")],
        data: None,
    },
];

impl GoModule {
    /// Names of the files that this module adds to the cache.
    pub(super) fn files(&self) -> impl Iterator<Item = &'static str> + use<> {
        let data = self.data.map(|(_, _, name)| name);
        self.commands.iter().map(GoCommand::name).chain(data)
    }

    /// Writes the module's own files to a folder for the build.
    pub(super) fn write_sources(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        for (name, text) in [("go.mod", self.go_mod), ("go.sum", self.go_sum), self.source] {
            std::fs::write(folder.join(name), text)
                .with_context(|| format!("cannot write {}", folder.display()))?;
        }
        Ok(())
    }

    /// Path of the data file called `name` in Go's module cache; `None` if this module has no such file.
    pub(super) fn data_path(&self, folder: &Path, name: &str) -> Result<Option<PathBuf>> {
        let Some((module, path, _)) = self.data.filter(|(_, _, target)| *target == name) else {
            return Ok(None);
        };
        let done =
            Command::new("go").args(["list", "-m", "-f", "{{.Dir}}", module]).current_dir(folder).output()?;
        ensure!(
            done.status.success(),
            "go cannot find {module}: {}",
            String::from_utf8_lossy(&done.stderr).trim()
        );
        Ok(Some(Path::new(String::from_utf8_lossy(&done.stdout).trim()).join(path)))
    }
}

impl GoCommand {
    pub(super) fn name(&self) -> &'static str {
        self.package.rsplit('/').next().unwrap_or(self.package)
    }

    /// Builds the command into `target`.
    pub(super) fn build(&self, folder: &Path, target: &Path) -> Result<()> {
        let mut go = Command::new("go");
        go.args(["build", "-buildvcs=false", "-tags", self.tags, "-ldflags", self.link, "-o"]);
        let done = go.arg(target).arg(self.package).env("CGO_ENABLED", "0").current_dir(folder).output();
        let done = done.context("cannot start go; see `emcee-testbed doctor`")?;
        let stderr = String::from_utf8_lossy(&done.stderr);
        let last = stderr.lines().last().unwrap_or_default();
        ensure!(
            done.status.success(),
            "cannot build {}: {last} (is the Go module proxy reachable?)",
            self.name()
        );
        Ok(())
    }
}
