//! `emcee certs`: a CA for a relationship, and a Secret for each of its meshes.
//!
//! ```text
//!  CertsArgs ─► request ─┐
//!                        ├─► work (issue, secret) ─► folder, written whole ─► report
//!  folder, read whole ───┘
//! ```
//! Only `folder` touches files; time comes in as an argument. A run either leaves the folder as it was or
//! complete: everything is made and staged under temporary names before the first file gets its own.

mod error;
mod folder;
mod issue;
mod names;
mod report;
mod request;
mod secret;
mod work;

use std::{io::Write, path::PathBuf};

use clap::{Args, ValueEnum};
use time::OffsetDateTime;

pub use error::CertsError;

use folder::Folder;
use request::Request;

const EXAMPLES: &str = "\
Examples:
  A CA for relationship blue, and a Secret for each of two meshes:
    emcee certs --relationship blue -o blue/ \\
      --mesh m1=m1.blue.example --mesh m2=m2.blue.example

  A third mesh later; the first two are left as they are:
    emcee certs --relationship blue -o blue/ --mesh m3=m3.blue.example

  A new certificate for m1, with the names, labels and namespace it has:
    emcee certs --relationship blue -o blue/ --rotate m1

  For a tls_context_selector that differs between the meshes:
    emcee certs --relationship limited-trust -o limited-trust/ \\
      --mesh c1=c1.example --mesh c2=c2.example --label mesh=limited-trust \\
      --label c1:secret=cluster1 --label c2:secret=cluster2

DIR holds ca.crt, ca.key and MESH.yaml; one folder per relationship.
Each MESH.yaml goes to that mesh's cluster, ca.key to none: it signs new
meshes and is kept where you keep such keys.";

/// Make the certificates of a relationship: one CA, and a kubernetes.io/tls Secret for each mesh.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct CertsArgs {
    /// The relationship the CA is for; `spec.relationship` of its `MeshFedConfigs`.
    #[arg(long, value_name = "NAME")]
    pub relationship: String,

    /// A mesh and the DNS names that its peers list in `subject_alt_names`.
    ///
    /// A mesh that has a Secret in DIR already is left as it is.
    #[arg(long = "mesh", value_name = "MESH=DNS[,DNS…]")]
    pub meshes: Vec<String>,

    /// The relationship's folder; a CA that is in it is used again.
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,

    /// A label for the Secrets, or for one mesh's, as `tls_context_selector` asks for it.
    ///
    /// They carry `relationship=<NAME>` anyway; the same key replaces it.
    #[arg(long = "label", value_name = "[MESH:]KEY=VALUE")]
    pub labels: Vec<String>,

    /// A SPIFFE ID for a mesh's certificate, beside its DNS names.
    #[arg(long, value_name = "MESH=URI")]
    pub spiffe: Vec<String>,

    /// Give a mesh that has a Secret a new key and certificate.
    ///
    /// What is not said again (names, SPIFFE ID, labels, namespace) stays.
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

    /// The kind of the new keys.
    ///
    /// RSA is not offered because the cryptography built in (ring) cannot make RSA keys, Ed25519 because Envoy
    /// refuses it in handshakes. An RSA CA of your own in DIR is used.
    #[arg(long, value_enum, value_name = "TYPE", default_value_t)]
    pub key_type: KeyType,
}

/// Kinds of key that Envoy accepts and that can be made here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KeyType {
    /// Accepted everywhere.
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

/// Make what is asked for in its folder, and say on `out` what was made and what to do with it.
pub fn run(args: &CertsArgs, out: &mut dyn Write) -> Result<(), CertsError> {
    run_at(args, OffsetDateTime::now_utc(), out)
}

/// [`run`] at a moment of the caller's choice.
pub fn run_at(args: &CertsArgs, now: OffsetDateTime, out: &mut dyn Write) -> Result<(), CertsError> {
    // Certificates count in seconds; a fraction would make a CA outlive itself by a part of one.
    let now = now.replace_nanosecond(0).unwrap_or(now);
    let request = Request::parse(args)?;
    let folder = Folder::new(&args.output);
    let found = folder.read()?;
    let work = work::plan(&request, &folder, &found, now)?;
    if !work.files.is_empty() {
        folder.write(&work.files)?;
    }
    report::report(&request, &folder, &found, &work, out).map_err(CertsError::Output)
}
