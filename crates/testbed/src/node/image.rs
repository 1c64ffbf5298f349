//! Images: names for programs on this machine.

use std::collections::BTreeMap;
use std::path::Path;

use crate::toolchain::Binaries;

/// Image of the sample server.
pub const SERVER: &str = "emcee-testbed/server";
/// Image of the sample client, in which tests run commands with `exec`.
pub const CLIENT: &str = "emcee-testbed/client";

/// The images that pods of a bed can use.
#[derive(Debug, Clone)]
pub struct Images(BTreeMap<String, Image>);

/// What runs for an image.
#[derive(Debug, Clone)]
struct Image {
    /// Command of a container that has no command itself.
    entrypoint: Vec<String>,
    /// Files to put into the container's root: source on this machine, path in the image.
    files: Vec<(String, String)>,
}

impl Images {
    /// Istio's proxy image and the sample images. `testbed` is the path of this program, which runs the samples.
    #[must_use]
    pub fn new(binaries: &Binaries, testbed: &str) -> Self {
        let sample = |verb: &str| vec![testbed.to_owned(), "workload".to_owned(), verb.to_owned()];
        let mut images = Self(BTreeMap::new());
        images.0.insert("proxyv2".to_owned(), Image::proxy(binaries));
        images.insert(SERVER, sample("serve"));
        images.insert(CLIENT, sample("wait"));
        images
    }

    /// Adds an image that runs this command: a program on this machine, with arguments.
    pub fn insert(&mut self, name: &str, command: Vec<String>) {
        self.0.insert(name.to_owned(), Image::from_program(command));
    }

    /// The command of an image, by the image's name with or without registry and tag.
    #[must_use]
    pub fn entrypoint(&self, image: &str) -> Option<&[String]> {
        self.get(image).map(|image| image.entrypoint.as_slice())
    }

    /// Files to put into the container's root: source on this machine, path in the container.
    #[must_use]
    pub fn files(&self, image: &str) -> Vec<(String, String)> {
        self.get(image).map(|image| image.files.clone()).unwrap_or_default()
    }

    fn get(&self, image: &str) -> Option<&Image> {
        let plain = without_tag(image);
        let last = plain.rsplit('/').next().unwrap_or(plain);
        self.0.get(plain).or_else(|| self.0.get(last))
    }
}

impl Image {
    fn proxy(binaries: &Binaries) -> Self {
        let files = [
            ("pilot-agent", "/usr/local/bin/pilot-agent"),
            ("envoy", "/usr/local/bin/envoy"),
            ("envoy_bootstrap.json", "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json"),
        ];
        Self {
            entrypoint: vec!["/usr/local/bin/pilot-agent".to_owned()],
            files: files.map(|(name, path)| (binaries.command(name), path.to_owned())).to_vec(),
        }
    }

    /// The program is also available at its path on this machine, which is the name that `exec` uses. That path may be on
    /// another file system than the root's, which the container does not see. And the container's user may not be allowed
    /// to enter the folders there.
    fn from_program(mut command: Vec<String>) -> Self {
        let mut files = Vec::new();
        if let Some(program) = command.first_mut() {
            let name = Path::new(program.as_str()).file_name().unwrap_or_default();
            let within = Path::new("/usr/local/bin").join(name).display().to_string();
            files.extend([program.clone(), within.clone()].map(|target| (program.clone(), target)));
            *program = within;
        }
        Self { entrypoint: command, files }
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
    use super::*;

    #[test]
    fn a_program_is_mounted_where_any_user_can_run_it() {
        let mut images = Images(BTreeMap::new());
        images.insert("emcee", ["/private/target/emcee", "run"].map(str::to_owned).to_vec());
        let program = "/usr/local/bin/emcee".to_owned();
        assert_eq!(images.entrypoint("emcee:1"), Some(&[program.clone(), "run".to_owned()][..]));
        assert!(images.files("emcee:1").contains(&("/private/target/emcee".to_owned(), program)));
    }

    #[test]
    fn a_registry_port_is_not_a_tag() {
        assert_eq!(without_tag("local/proxyv2:dev"), "local/proxyv2");
        assert_eq!(without_tag("registry:5000/proxyv2"), "registry:5000/proxyv2");
        assert_eq!(without_tag("a/b:1@sha256:00"), "a/b");
    }
}
