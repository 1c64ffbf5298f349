//! Arguments that several commands share: files, and settings of the mesh.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use emcee_core::inputs::{DEFAULT_DOMAIN, DEFAULT_ROOT_NAMESPACE, InputCoverage, TranslationSettings};
use emcee_core::plan::{GeneratedKind, GeneratedObject};
use emcee_yaml::LoadedManifests;
use jiff::{SignedDuration, Timestamp};

use crate::console::Console;

/// Argument that names the files of a mesh.
#[derive(Args, Clone, Debug)]
pub(super) struct FileArgs {
    /// YAML or JSON files, folders (including subfolders), or `-` for stdin
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true, num_args = 1..)]
    filename: Vec<PathBuf>,
}

impl FileArgs {
    /// Reads the files, as [`read_files`] does.
    ///
    /// # Errors
    /// The console cannot be written.
    pub(super) fn read_documents(&self, console: &mut Console<'_>) -> io::Result<Option<LoadedManifests>> {
        read_files(&self.filename, console)
    }
}

/// Reads files. Prints an error for each unreadable file, and returns `None` if there are any.
///
/// # Errors
/// The console cannot be written.
pub(super) fn read_files(
    paths: &[PathBuf],
    console: &mut Console<'_>,
) -> io::Result<Option<LoadedManifests>> {
    let reading = emcee_yaml::read_paths(paths, io::stdin().lock());
    for unreadable in &reading.unreadable {
        console.print_error(format_args!("emcee: {unreadable}"))?;
    }
    if reading.unreadable.is_empty() && reading.documents.is_empty() && reading.problems.is_empty() {
        console.print_note("emcee: no objects found (in folders, only *.yaml, *.yml and *.json are read)")?;
    }
    Ok(reading.unreadable.is_empty().then_some(reading))
}

/// Settings of the mesh that a controller finds out in its cluster, and that other commands cannot know.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Mesh settings")]
pub(crate) struct MeshSettings {
    /// Trust domain of this mesh. Without this flag, Istio's default is assumed: cluster.local
    #[arg(long, value_name = "DOMAIN", value_parser = dns_name)]
    trust_domain: Option<String>,

    /// Trust domains whose workloads this mesh accepts like its own: trustDomainAliases of Istio's mesh configuration
    #[arg(long, value_name = "DOMAIN,…", value_delimiter = ',', value_parser = dns_name)]
    trust_domain_aliases: Option<Vec<String>>,

    /// DNS domain of the cluster
    #[arg(long, value_name = "DOMAIN", default_value = DEFAULT_DOMAIN, value_parser = dns_name)]
    cluster_domain: String,

    /// Istio's root namespace, whose configuration applies to the whole mesh
    #[arg(long, value_name = "NAMESPACE", default_value = DEFAULT_ROOT_NAMESPACE, value_parser = dns_label)]
    root_namespace: String,

    /// Istio's revision, for the gateways that Emcee creates
    #[arg(long, value_name = "REVISION", value_parser = dns_label)]
    revision: Option<String>,

    /// Additional namespaces with your own gateways, which may receive a relationship's configuration and keys
    #[arg(long, value_name = "NAMESPACE,…", value_delimiter = ',', value_parser = dns_label)]
    gateway_namespaces: Vec<String>,
}

impl MeshSettings {
    /// Warns that the trust domain was assumed, if objects depend on it: with a wrong one, policies deny every caller.
    ///
    /// # Errors
    /// The console cannot be written.
    pub(super) fn warn_assumed_trust_domain(
        &self,
        objects: &[GeneratedObject],
        console: &mut Console<'_>,
    ) -> io::Result<()> {
        let settings = self.to_settings();
        if self.trust_domain.is_none()
            && objects.iter().any(|o| o.kind() == GeneratedKind::AuthorizationPolicy)
        {
            console.print_warning(format_args!(
                "assumed: the trust domain of this mesh is {} (--trust-domain)",
                settings.trust_domain
            ))?;
        }
        Ok(())
    }

    /// Returns the trust domain. `None` if it is not given.
    pub(crate) fn trust_domain(&self) -> Option<&str> {
        self.trust_domain.as_deref()
    }

    /// Returns the aliases of the trust domain. `None` if they are not given.
    pub(crate) fn trust_domain_aliases(&self) -> Option<&[String]> {
        self.trust_domain_aliases.as_deref()
    }

    /// Returns the additional namespaces for gateways.
    pub(crate) fn gateway_namespaces(&self) -> &[String] {
        &self.gateway_namespaces
    }

    /// Converts the arguments to settings of a translation, with defaults for missing ones.
    pub(crate) fn to_settings(&self) -> TranslationSettings {
        TranslationSettings {
            trust_domain: self
                .trust_domain
                .clone()
                .unwrap_or_else(|| TranslationSettings::default().trust_domain),
            trust_domain_aliases: self.trust_domain_aliases.clone().unwrap_or_default(),
            cluster_domain: self.cluster_domain.clone(),
            root_namespace: self.root_namespace.clone(),
            revision: self.revision.clone(),
            gateway_namespaces: self.gateway_namespaces.clone(),
            // Files rarely contain the whole mesh: a missing object leads to an assumption instead of an error.
            coverage: InputCoverage::Partial,
            now: Timestamp::now(),
            ..TranslationSettings::default()
        }
    }
}

/// Parses a DNS name of a flag.
fn dns_name(text: &str) -> Result<String, &'static str> {
    if emcee_core::names::is_dns_name(text) {
        Ok(text.to_owned())
    } else {
        Err("not a DNS name in lower case")
    }
}

/// Parses a DNS label of a flag, such as a namespace.
pub(super) fn dns_label(text: &str) -> Result<String, &'static str> {
    if emcee_core::names::is_dns_label(text) {
        Ok(text.to_owned())
    } else {
        Err("not a DNS label (a-z, 0-9 and `-`)")
    }
}

/// Parses a namespace, or `*` for all.
pub(super) fn namespace_or_all(text: &str) -> Result<String, &'static str> {
    if text == "*" { Ok(text.to_owned()) } else { dns_label(text) }
}

/// Parses a duration of a flag, such as `60s` or `1h30m`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let time: SignedDuration = text.parse().map_err(|_| "not a time such as 60s or 2m".to_owned())?;
    Duration::try_from(time).map_err(|_| "must not be negative".to_owned())
}
