//! Checks objects with Istio's own tools.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Mesh, parse_documents};

impl Mesh {
    /// Runs `istioctl validate`. Fails if Istio does not accept an object of the YAML text.
    pub fn validate(&self, yaml: &str) -> Result<()> {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
        std::fs::write(file.path(), yaml)?;
        let done = self
            .istioctl_command()
            .arg("validate")
            .arg("-f")
            .arg(file.path())
            .output()
            .context("cannot start istioctl")?;
        let stderr = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "istioctl validate: {}", stderr.trim());
        Ok(())
    }

    /// Runs `istioctl analyze`. Returns its messages about objects in these namespaces, except those with a code in
    /// `allowed`. It analyzes the whole cluster, because it reports what it has not read as missing.
    pub fn analyze(&self, namespaces: &[&str], allowed: &[&str]) -> Result<Vec<String>> {
        let options = ["analyze", "--all-namespaces", "--output", "json", "--kubeconfig"];
        let done = self
            .istioctl_command()
            .args(options)
            .arg(self.kubeconfig())
            .output()
            .context("cannot start istioctl")?;
        let text = String::from_utf8_lossy(&done.stdout);
        let all = parse_documents(&text)?.into_iter().next().unwrap_or_default();
        let all = all.as_array().cloned().unwrap_or_default();
        let other = all.iter().filter(|one| {
            let origin = one["origin"].as_str().unwrap_or_default();
            namespaces.iter().any(|namespace| is_in_namespace(origin, namespace))
                && !allowed.contains(&one["code"].as_str().unwrap_or_default())
        });
        Ok(other.map(ToString::to_string).collect())
    }

    fn istioctl_command(&self) -> Command {
        Command::new(self.0.setup.binaries.path("istioctl"))
    }
}

/// An origin is `Kind namespace/name`, or `Kind name` for a kind without namespaces.
fn is_in_namespace(origin: &str, namespace: &str) -> bool {
    let name = origin.rsplit(' ').next().unwrap_or_default();
    name.split('/').next() == Some(namespace)
}

#[cfg(test)]
mod tests {
    use super::is_in_namespace;

    #[test]
    fn origins_name_their_namespace() {
        assert!(is_in_namespace("VirtualService bound/hola", "bound"));
        assert!(is_in_namespace("Namespace bound", "bound"));
        assert!(!is_in_namespace("VirtualService bound/hola", "hola"));
    }
}
