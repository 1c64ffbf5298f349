//! The root file system of a container: this machine's root with a layer over it that is removed with the process.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::Node;

/// Writes the script that creates the root file system and then executes the container's program. Returns its path.
///
/// All mounts are in a mount namespace of the process, so they end with it.
pub(super) fn write_script(node: &Node, pod: &Pod, container: &Container, folder: &Path) -> Result<PathBuf> {
    let layer = folder.join(format!("{}.layer", container.name));
    fs::create_dir_all(&layer)?;
    let text = compose_script(node, pod, container, folder, &layer);
    let path = folder.join(format!("{}.sh", container.name));
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Composes the script. Targets are created and mounted from inside the new root: from outside, an absolute link in it,
/// such as `/var/run`, would point to folders of this machine.
fn compose_script(node: &Node, pod: &Pod, container: &Container, folder: &Path, layer: &Path) -> String {
    let root = layer.join("root").display().to_string();
    let mut text = mount_overlay(layer, &root);
    for name in ["hosts", "resolv.conf"] {
        let _ = writeln!(text, "rm -f {root}/etc/{name}; cp {}/{name} {root}/etc/{name}", folder.display());
    }
    let mut within = String::new();
    for (number, (source, target)) in mount_sources(node, container, folder).into_iter().enumerate() {
        text.push_str(&bind_mount(&source, &format!("{root}/.bed/{number}")));
        within.push_str(&bind_mount(&format!("/.bed/{number}"), &target));
    }
    let user = container_user(pod, container);
    let workdir = container.working_dir.as_deref().unwrap_or("/");
    let _ = writeln!(text, "chroot {root} sh -ec {}", shell_quote(&within));
    let _ = writeln!(
        text,
        "exec chroot --userspec={user}:{user} --groups= {root} env -C {} \"$@\"",
        shell_quote(workdir)
    );
    text
}

/// What is mounted into the root: files of the image, then volumes. Each pair is source and target.
fn mount_sources(node: &Node, container: &Container, folder: &Path) -> Vec<(String, String)> {
    let mut all = node.images.files(container.image.as_deref().unwrap_or_default());
    for mount in container.volume_mounts.iter().flatten() {
        let mut source = folder.join("volumes").join(&mount.name);
        source.extend(mount.sub_path.as_deref());
        all.push((source.display().to_string(), mount.mount_path.clone()));
    }
    all
}

fn mount_overlay(layer: &Path, root: &str) -> String {
    let layer = layer.display();
    let mut text = format!(
        "set -e\nmount -t tmpfs tmpfs {layer}\nmkdir {layer}/upper {layer}/work {root}\n\
         mount -t overlay overlay -o lowerdir=/,upperdir={layer}/upper,workdir={layer}/work {root}\nmkdir {root}/.bed\n"
    );
    for kernel in ["proc", "sys", "dev"] {
        let _ = writeln!(text, "mount --rbind /{kernel} {root}/{kernel}");
    }
    text
}

/// Commands that mount a folder on a folder, or a file on a file.
fn bind_mount(source: &str, target: &str) -> String {
    let (source, target) = (shell_quote(source), shell_quote(target));
    format!(
        "if [ -d {source} ]; then mkdir -p {target}; else mkdir -p \"$(dirname {target})\"; touch {target}; fi\n\
         mount --bind {source} {target}\n"
    )
}

/// The user of a container; root by default.
fn container_user(pod: &Pod, container: &Container) -> i64 {
    let own = container.security_context.as_ref().and_then(|context| context.run_as_user);
    let of_pod = || pod.spec.as_ref()?.security_context.as_ref()?.run_as_user;
    own.or_else(of_pod).unwrap_or(0)
}

fn shell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::shell_quote;

    #[test]
    fn quotes_in_a_path_are_escaped() {
        assert_eq!(shell_quote("a b"), "'a b'");
        assert_eq!(shell_quote("it's"), r"'it'\''s'");
    }
}
