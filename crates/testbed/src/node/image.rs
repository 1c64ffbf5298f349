//! Images are names of programs on this machine.

use std::collections::BTreeMap;

use crate::toolchain::Binaries;

/// The image of our sample server.
pub const SERVER: &str = "emcee-testbed/server";
/// The image of our sample client, which waits to be told what to do by `exec`.
pub const CLIENT: &str = "emcee-testbed/client";

/// What to run when a container names an image and no command.
#[derive(Debug, Clone)]
pub struct Images {
    entrypoints: BTreeMap<String, Vec<String>>,
    /// What lies in Istio's proxy image: source on this machine, path in the image.
    proxy_files: Vec<(String, String)>,
}

impl Images {
    /// Istio's proxy image and our own samples, which `testbed` (the path of this program) serves.
    #[must_use]
    pub fn new(binaries: &Binaries, testbed: &str) -> Self {
        let sample = |verb: &str| vec![testbed.to_owned(), "workload".to_owned(), verb.to_owned()];
        let proxy = vec!["/usr/local/bin/pilot-agent".to_owned()];
        let entrypoints = [("proxyv2", proxy), (SERVER, sample("serve")), (CLIENT, sample("wait"))];
        let files = [
            ("pilot-agent", "/usr/local/bin/pilot-agent"),
            ("envoy", "/usr/local/bin/envoy"),
            ("envoy_bootstrap.json", "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json"),
        ];
        Self {
            entrypoints: entrypoints.into_iter().map(|(name, command)| (name.to_owned(), command)).collect(),
            proxy_files: files.map(|(name, path)| (binaries.command(name), path.to_owned())).to_vec(),
        }
    }

    /// Adds an image.
    pub fn insert(&mut self, name: &str, command: Vec<String>) {
        self.entrypoints.insert(name.to_owned(), command);
    }

    /// The program of an image, by its name with or without registry and tag.
    #[must_use]
    pub fn entrypoint(&self, image: &str) -> Option<&[String]> {
        let plain = without_tag(image);
        let last = plain.rsplit('/').next().unwrap_or(plain);
        self.entrypoints.get(plain).or_else(|| self.entrypoints.get(last)).map(Vec::as_slice)
    }

    /// Files to put into the container's root: source, target.
    #[must_use]
    pub fn files(&self, image: &str) -> Vec<(String, String)> {
        if without_tag(image).ends_with("proxyv2") {
            return self.proxy_files.clone();
        }
        // The program may lie on a file system that is not the root's, which the container does not see.
        let program = self.entrypoint(image).and_then(<[String]>::first);
        program.map(|path| (path.clone(), path.clone())).into_iter().collect()
    }
}

fn without_tag(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    match name.rsplit_once(':') {
        Some((plain, tag)) if !tag.contains('/') => plain,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::without_tag;

    #[test]
    fn a_port_of_a_registry_is_no_tag() {
        assert_eq!(without_tag("local/proxyv2:dev"), "local/proxyv2");
        assert_eq!(without_tag("registry:5000/proxyv2"), "registry:5000/proxyv2");
        assert_eq!(without_tag("a/b:1@sha256:00"), "a/b");
    }
}
