//! What can go wrong, in words for the person at the keyboard: what it is about, what is wrong, what to do.

use std::{io, path::PathBuf};

use jiff::Timestamp;
use thiserror::Error;

/// Why `emcee certs` wrote nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CertsError {
    /// Everything that is wrong with what was asked for, a line each.
    #[error("{}", lines(.0))]
    Refused(Vec<CertsError>),
    /// An argument that cannot be what it is meant to be.
    #[error("{option} {value:?}: {problem}")]
    Argument {
        /// The option as typed, `--mesh`.
        option: &'static str,
        /// What was given to it.
        value: String,
        /// What is wrong, and what is allowed.
        problem: String,
    },
    /// A name that another mesh's certificate carries already: peers could not tell the two apart.
    #[error("--mesh {mesh:?}: {name} is in the certificate of mesh {owner:?} ({}); each mesh needs names of its own", .path.display())]
    NameTaken {
        /// The mesh that asks.
        mesh: String,
        /// The name it asks for.
        name: String,
        /// The mesh that has it.
        owner: String,
        /// That mesh's file.
        path: PathBuf,
    },
    /// `--rotate` of a mesh without a Secret.
    #[error("--rotate {mesh:?}: there is no {} to rotate; to add the mesh: --mesh {mesh}=NAME", .path.display())]
    NothingToRotate {
        /// The mesh named.
        mesh: String,
        /// The file that is missing.
        path: PathBuf,
    },
    /// A mesh's file is something else.
    #[error("{} is not a kubernetes.io/tls Secret written by emcee certs; move it away, or name the mesh {mesh:?} differently", .path.display())]
    NotOurSecret {
        /// The mesh named.
        mesh: String,
        /// The file in its place.
        path: PathBuf,
    },
    /// Secrets without the CA that issued them: a new CA would cut their meshes off.
    #[error(
        "{} is there but ca.crt and ca.key are not: put them back, or start in an empty folder (a new CA cuts off every mesh of the old one)",
        .path.display()
    )]
    CaMissing {
        /// A Secret that was issued before.
        path: PathBuf,
    },
    /// ca.crt without ca.key.
    #[error("{} is there but ca.key is not: bring the key from where it is kept, or start in an empty folder", .path.display())]
    CaKeyMissing {
        /// The CA's certificate.
        path: PathBuf,
    },
    /// ca.key without ca.crt.
    #[error("{} is there but ca.crt is not: put it back (each mesh's Secret has it), or remove the key to start anew", .path.display())]
    CaCertificateMissing {
        /// The CA's key.
        path: PathBuf,
    },
    /// A CA file that does not hold what its name says.
    #[error("{}: {problem}", .path.display())]
    CaUnreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The two are not a pair.
    #[error("{} is not the key of {}: put back the pair that belongs together", .key.display(), .certificate.display())]
    CaKeyMismatch {
        /// ca.key.
        key: PathBuf,
        /// ca.crt.
        certificate: PathBuf,
    },
    /// The folder is another relationship's.
    #[error("{} is the CA of relationship {found:?}, not of {relationship:?}; give each relationship a folder of its own", .path.display())]
    CaOfOtherRelationship {
        /// ca.crt.
        path: PathBuf,
        /// Whose CA it is.
        found: String,
        /// What was asked for.
        relationship: String,
    },
    /// The CA's time is over.
    #[error(
        "{} expired at {not_after}; start in an empty folder and give every mesh its new Secret",
        .path.display()
    )]
    CaExpired {
        /// ca.crt.
        path: PathBuf,
        /// When it ended.
        not_after: Timestamp,
    },
    /// The CA's time has not come, or the clock is wrong.
    #[error("{} is valid only from {not_before}; is this machine's clock right?", .path.display())]
    CaNotYetValid {
        /// ca.crt.
        path: PathBuf,
        /// When it begins.
        not_before: Timestamp,
    },
    /// A certificate must not outlive its CA.
    #[error("{} expires at {not_after}, before a certificate of {validity}; ask for less: --validity {}d", .path.display(), .days)]
    CaExpiresBeforeLeaf {
        /// ca.crt.
        path: PathBuf,
        /// When the CA ends.
        not_after: Timestamp,
        /// What was asked for.
        validity: String,
        /// Whole days that are left.
        days: i64,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// Read, create, write.
        action: &'static str,
        /// What.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The summary could not be written. The files are in place.
    #[error("cannot write the summary: {0}")]
    Output(#[source] io::Error),
    /// The certificate library refused.
    #[error("cannot make a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// The YAML library refused.
    #[error("cannot write the Secret as YAML: {0}")]
    Yaml(#[source] Box<serde_saphyr::ser_error::Error>),
}

impl CertsError {
    /// None, one as it is, or several as one.
    pub(super) fn all(mut refusals: Vec<Self>) -> Result<(), Self> {
        match refusals.len() {
            0 => Ok(()),
            1 => Err(refusals.remove(0)),
            _ => Err(Self::Refused(refusals)),
        }
    }
}

fn lines(errors: &[CertsError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
