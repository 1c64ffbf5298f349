//! `emcee certs`: creates a CA for a relationship and a Secret for each of its meshes.
//!
//! ```text
//!  CertsArgs ─► request ─┐
//!                        ├─► plan (issue, secret) ─► folder, all files written ─► report
//!  folder contents ──────┘
//! ```
//! Only `folder` accesses files, and the time is an argument. A run either completes the folder or leaves it
//! unchanged: all files are created under temporary names before the first one gets its final name. The exception is
//! an I/O error between two rotations: the first one then remains.

mod error;
mod folder;
mod issue;
mod names;
mod plan;
mod report;
mod request;
mod secret;

use std::{io::Write, path::PathBuf};

use clap::{Args, ValueEnum};
use time::OffsetDateTime;

pub use error::CertsError;

use folder::CertsFolder;
use request::CertsRequest;

const EXAMPLES: &str = "\
Examples:
  A CA for relationship blue, and a Secret for each of two meshes:
    emcee certs --relationship blue -o blue/ \\
      --mesh m1=m1.blue.example --mesh m2=m2.blue.example

  Add a third mesh later; the first two do not change:
    emcee certs --relationship blue -o blue/ --mesh m3=m3.blue.example

  A new certificate for m1, with the same names, labels and namespace:
    emcee certs --relationship blue -o blue/ --rotate m1

  For a tls_context_selector that differs between the meshes:
    emcee certs --relationship limited-trust -o limited-trust/ \\
      --mesh c1=c1.example --mesh c2=c2.example --label mesh=limited-trust \\
      --label c1:secret=cluster1 --label c2:secret=cluster2

DIR contains ca.crt, ca.key and MESH.yaml; use one folder per relationship.
Apply each MESH.yaml in the cluster of its mesh. Keep ca.key out of all
clusters: it signs the certificates of new meshes. Store it securely.";

/// Create the certificates of a relationship: a CA, and a kubernetes.io/tls Secret for each mesh.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct CertsArgs {
    /// The relationship of the CA; `spec.relationship` of its `MeshFedConfigs`.
    #[arg(long, value_name = "NAME")]
    pub relationship: String,

    /// A mesh and the DNS names that its peers list in `subject_alt_names`.
    ///
    /// A mesh that already has a Secret in DIR is left as it is.
    #[arg(long = "mesh", value_name = "MESH=DNS[,DNS…]")]
    pub meshes: Vec<String>,

    /// The relationship's folder; if it contains a CA, that CA is used again.
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,

    /// A label for all Secrets or for one mesh's Secret, as `tls_context_selector` requires it.
    ///
    /// Secrets have the label `relationship=<NAME>` by default; a label with the same key replaces it.
    #[arg(long = "label", value_name = "[MESH:]KEY=VALUE")]
    pub labels: Vec<String>,

    /// A SPIFFE ID for a mesh's certificate, in addition to its DNS names.
    #[arg(long, value_name = "MESH=URI")]
    pub spiffe: Vec<String>,

    /// Replace the key and certificate of a mesh that has a Secret.
    ///
    /// Names, SPIFFE ID, labels and namespace stay the same unless you give new ones.
    #[arg(long, value_name = "MESH")]
    pub rotate: Vec<String>,

    /// The namespace of the `MeshFedConfig` [default: the relationship's name].
    #[arg(long, value_name = "NS")]
    pub namespace: Option<String>,

    /// How long a mesh's certificate is valid: a number and d, h or m.
    #[arg(long, value_name = "PERIOD", default_value = "365d")]
    pub validity: String,

    /// How long a new CA is valid.
    #[arg(long, value_name = "PERIOD", default_value = "3650d")]
    pub ca_validity: String,

    /// The type of new keys.
    ///
    /// RSA is not available because the built-in cryptography (ring) cannot generate RSA keys, and Ed25519 because
    /// Envoy refuses it in handshakes. You can use your own RSA CA in DIR.
    #[arg(long, value_enum, value_name = "TYPE", default_value_t)]
    pub key_type: KeyType,
}

/// Types of key that Envoy accepts and that `emcee certs` can generate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KeyType {
    /// Accepted by all versions.
    #[default]
    EcdsaP256,
    /// Needs Envoy 1.33 or newer (Istio 1.25).
    EcdsaP384,
}

impl KeyType {
    fn algorithm(self) -> &'static rcgen::SignatureAlgorithm {
        match self {
            Self::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        }
    }
}

/// Creates the requested certificates in their folder, and writes a summary and the next steps to `out`.
pub fn run(args: &CertsArgs, out: &mut dyn Write) -> Result<(), CertsError> {
    run_at(args, OffsetDateTime::now_utc(), out)
}

/// Does the same as [`run`], with the time as an argument.
pub fn run_at(args: &CertsArgs, now: OffsetDateTime, out: &mut dyn Write) -> Result<(), CertsError> {
    // Times in certificates have whole seconds. With a fraction, the CA read from a file would expire before the CA
    // in memory.
    let now = now.replace_nanosecond(0).unwrap_or(now);
    let request = CertsRequest::from_args(args)?;
    let folder = CertsFolder::new(&args.output);
    let found = folder.read_contents()?;
    let work = plan::build(&request, &folder, &found, now)?;
    if !work.files.is_empty() {
        folder.write_files(&work.files)?;
    }
    report::write_report(&request, &folder, &found, &work, out).map_err(CertsError::Output)
}
