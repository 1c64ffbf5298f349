//! What is wrong with a kubeconfig, in words that name the file and the fix.

use std::io;
use std::path::Path;

use anyhow::{anyhow, bail};
use kube::config::{Kubeconfig, KubeconfigError};

use crate::catalogue::selection::suggest_names;

/// Returns the address of the API server of a context.
pub(super) fn server_of(kubeconfig: &Kubeconfig, context: &str) -> Option<String> {
    let named = kubeconfig.contexts.iter().find(|named| named.name == context)?;
    let cluster = &named.context.as_ref()?.cluster;
    let named = kubeconfig.clusters.iter().find(|named| named.name == *cluster)?;
    named.cluster.as_ref()?.server.clone()
}

/// Checks that the wanted context, or the current one, exists.
///
/// # Errors
/// It does not; the message lists those that do.
pub(super) fn check_context(
    kubeconfig: &Kubeconfig,
    wanted: Option<&str>,
    path: Option<&Path>,
) -> anyhow::Result<()> {
    let names: Vec<_> = kubeconfig.contexts.iter().map(|named| named.name.clone()).collect();
    let file = describe_path(path);
    let Some(context) = wanted.or(kubeconfig.current_context.as_deref()).filter(|name| !name.is_empty())
    else {
        bail!("{file} has no current context (--context NAME; there are: {})", names.join(", "));
    };
    if names.is_empty() {
        bail!("{file} has no contexts (name another kubeconfig with --kubeconfig)");
    }
    if !names.iter().any(|name| name == context) {
        bail!("{file} has no context {context:?} ({})", suggest_names(context, &names));
    }
    Ok(())
}

/// Describes why a kubeconfig cannot be used.
pub(super) fn describe_error(error: &KubeconfigError, path: Option<&Path>) -> anyhow::Error {
    let file = describe_path(path);
    match error {
        KubeconfigError::ReadConfig(cause, read) if cause.kind() == io::ErrorKind::NotFound => {
            if path.is_some() {
                anyhow!("the kubeconfig {} does not exist", read.display())
            } else {
                anyhow!(
                    "no cluster: this is not a pod, and the kubeconfig {} does not exist (set --kubeconfig or KUBECONFIG)",
                    read.display()
                )
            }
        }
        KubeconfigError::FindPath => {
            anyhow!(
                "no cluster: this is not a pod, and there is no kubeconfig (set --kubeconfig or KUBECONFIG)"
            )
        }
        KubeconfigError::ReadConfig(cause, read) => {
            anyhow!("the kubeconfig {} cannot be read: {}", read.display(), plain_io_error(cause))
        }
        // The text of the parser spans several lines; its first line has the place.
        KubeconfigError::Parse(cause) => {
            let text = cause.to_string();
            let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            anyhow!("{file} is not a valid kubeconfig: {}", first.trim())
        }
        KubeconfigError::LoadContext(context) => anyhow!("{file} has no context {context:?}"),
        KubeconfigError::LoadClusterOfContext(cluster) => {
            anyhow!("{file}: the context names the cluster {cluster:?}, which is not among its clusters")
        }
        KubeconfigError::MissingClusterUrl => anyhow!("{file}: the cluster of the context has no server"),
        KubeconfigError::ParseClusterUrl(_) => {
            anyhow!("{file}: the server of the cluster is not a URL (such as https://203.0.113.7:6443)")
        }
        KubeconfigError::LoadCertificateAuthority(cause) => {
            anyhow!("{file}: the certificate authority of the cluster cannot be read: {cause}")
        }
        KubeconfigError::LoadClientCertificate(cause) => {
            anyhow!("{file}: the client certificate of the user cannot be read: {cause}")
        }
        KubeconfigError::LoadClientKey(cause) => {
            anyhow!("{file}: the client key of the user cannot be read: {cause}")
        }
        other => anyhow!("{file} cannot be used: {other}"),
    }
}

fn describe_path(path: Option<&Path>) -> String {
    match path {
        Some(path) => format!("the kubeconfig {}", path.display()),
        None => match std::env::var("KUBECONFIG") {
            Ok(files) if !files.is_empty() => format!("the kubeconfig {files} (KUBECONFIG)"),
            _ => "the kubeconfig ~/.kube/config".to_owned(),
        },
    }
}

/// Returns the text of an error of the operating system without its number.
fn plain_io_error(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
