//! Loads this mesh's certificate for a relationship, from a file or a cluster.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use emcee_core::inputs::{Credential, DEFAULT_DOMAIN};
use emcee_core::names;
use emcee_discovery::transport::tls::TlsIdentity;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use super::SourceArgs;
use crate::cli::common_args;
use crate::cluster::read::block_on;
use crate::console::Console;
use crate::inputs::DocumentInputs;

/// Loads certificate, key and CA. Prints the reason and returns `None` if they cannot be used.
pub(super) fn load_identity(
    place: &str,
    source: &SourceArgs,
    console: &mut Console<'_>,
) -> anyhow::Result<Option<TlsIdentity>> {
    match place.split_once('/') {
        // `NAMESPACE/NAME` looks like a path; an existing file takes precedence.
        Some((namespace, name)) if !Path::new(place).exists() && is_secret_key(namespace, name) => {
            let credential = credential_from_cluster(namespace, name, source)?;
            let problem = credential.problem_at(Timestamp::now());
            let problem = problem.map(|(field, words)| format!("Secret {place}: {field}: {words}"));
            parse_identity(&credential, problem, console)
        }
        _ => identity_from_file(place, console),
    }
}

/// Returns whether the two parts can be namespace and name of a Secret.
fn is_secret_key(namespace: &str, name: &str) -> bool {
    names::is_dns_label(namespace) && names::is_dns_name(name)
}

/// Reads a Secret from the cluster.
fn credential_from_cluster(namespace: &str, name: &str, source: &SourceArgs) -> anyhow::Result<Credential> {
    let secret = block_on(async {
        let client = source.cluster_client().await?;
        let secrets: Api<Secret> = Api::namespaced(client, namespace);
        let found = secrets.get_opt(name).await;
        found.with_context(|| format!("failed to read Secret {namespace}/{name}"))
    })
    .map_err(|error| source.name_target(error))?;
    let Some(secret) = secret else {
        bail!("there is neither a file {namespace}/{name}, nor a Secret {namespace}/{name} in the cluster")
    };
    Credential::from_secret(&secret)
        .with_context(|| format!("Secret {namespace}/{name} is not of type kubernetes.io/tls"))
}

/// Reads the only TLS Secret in a file.
fn identity_from_file(place: &str, console: &mut Console<'_>) -> anyhow::Result<Option<TlsIdentity>> {
    let Some(reading) = common_args::read_files(&[PathBuf::from(place)], console)? else {
        bail!("the certificate of the relationship cannot be read (--secret FILE, or NAMESPACE/NAME)")
    };
    let mut problems = reading.problems.clone();
    // Ignore other documents, so that a file with a whole mesh can be used.
    let secrets: Vec<_> = reading.documents.into_iter().filter(|it| it.kind == "Secret").collect();
    let mut inputs = DocumentInputs::from_documents(&secrets, DEFAULT_DOMAIN);
    problems.append(&mut inputs.refusals);
    for problem in &problems {
        console.print_error(problem)?;
    }
    if !problems.is_empty() {
        return Ok(None);
    }
    match inputs.credentials.as_slice() {
        [(document, credential)] => {
            let problem = credential.problem_at(Timestamp::now());
            let problem = problem.map(|(field, words)| document.problem_at(Some(&field), words));
            parse_identity(credential, problem, console)
        }
        [] => bail!("{place}: contains no Secret of type kubernetes.io/tls"),
        several => bail!("{place}: contains {} Secrets (exactly one is needed)", several.len()),
    }
}

/// Parses the key material, unless `problem` rules it out already.
fn parse_identity(
    credential: &Credential,
    problem: Option<impl Display>,
    console: &mut Console<'_>,
) -> anyhow::Result<Option<TlsIdentity>> {
    if let Some(problem) = problem {
        console.print_error(problem)?;
        return Ok(None);
    }
    match TlsIdentity::parse(&credential.material) {
        Ok(material) => Ok(Some(material)),
        Err(error) => {
            console.print_error(format_args!("Secret {}: {error}", credential.key))?;
            Ok(None)
        }
    }
}
