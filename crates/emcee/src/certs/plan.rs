//! Plans which files to write, from the request and the contents of the folder. The only side effect is the
//! randomness of keys.

use time::OffsetDateTime;

use super::{
    CertsError,
    folder::{CertsFolder, FolderContents, NewFile},
    issue::{CertificateAuthority, CertificateSubject, UnusableCa, to_timestamp},
    request::{CertsRequest, MeshRequest, SecretLabels},
    secret::{MeshSecret, NewSecret},
};

/// Result of planning a run: the files to write, and the data for the summary.
pub(super) struct CertsPlan {
    pub(super) files: Vec<NewFile>,
    pub(super) ca_is_new: bool,
    pub(super) ca_not_after: OffsetDateTime,
    pub(super) meshes: Vec<MeshOutcome>,
}

/// Result for one mesh.
pub(super) struct MeshOutcome {
    pub(super) mesh: String,
    pub(super) action: FileAction,
    pub(super) names: Vec<String>,
    pub(super) not_after: OffsetDateTime,
    pub(super) namespace: String,
    /// Warnings about a Secret that does not change.
    pub(super) warnings: Vec<&'static str>,
}

/// What happens to the file of a mesh.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FileAction {
    New,
    Rotated,
    Unchanged,
}

/// Specification of one certificate, from the arguments and, in a rotation, from the old Secret.
struct CertificateSpec<'a> {
    mesh: &'a str,
    names: Vec<String>,
    spiffe: Option<String>,
    labels: SecretLabels,
    namespace: String,
    rotates: bool,
}

/// Plans a run. Creates all keys and certificates, but writes nothing.
pub(super) fn build(
    request: &CertsRequest,
    folder: &CertsFolder,
    found: &FolderContents,
    now: OffsetDateTime,
) -> Result<CertsPlan, CertsError> {
    // Report all conflicts before keys are generated.
    CertsError::refuse_if_any(find_conflicts(request, folder, found))?;
    let (authority, mut files) = load_or_create_ca(request, folder, found, now)?;
    let mut meshes = Vec::new();
    for (mesh, wish) in &request.meshes {
        let existing = found.secrets.get(mesh);
        if let Some(kept) = existing.filter(|_| !wish.rotate) {
            meshes.push(unchanged_outcome(mesh, wish, kept, &authority, now));
            continue;
        }
        let spec = CertificateSpec::new(request, mesh, wish, existing);
        let (file, done) = spec.issue_secret(request, &authority, now)?;
        files.push(file);
        meshes.push(done);
    }
    Ok(CertsPlan {
        files,
        ca_is_new: found.ca_certificate.is_none(),
        ca_not_after: authority.not_after,
        meshes,
    })
}

/// Finds conflicts between the request and the contents of the folder.
fn find_conflicts(request: &CertsRequest, folder: &CertsFolder, found: &FolderContents) -> Vec<CertsError> {
    let mut conflicts = Vec::new();
    for (mesh, wish) in &request.meshes {
        if found.foreign_files.contains(mesh) {
            conflicts.push(CertsError::NotOurSecret { mesh: mesh.clone(), path: folder.secret_path(mesh) });
        } else if wish.rotate && !found.secrets.contains_key(mesh) {
            conflicts
                .push(CertsError::NothingToRotate { mesh: mesh.clone(), path: folder.secret_path(mesh) });
        }
        conflicts.extend(find_taken_names(request, folder, found, mesh, wish));
    }
    conflicts.extend(find_missing_ca_files(request, folder, found));
    conflicts
}

/// Finds a CA with a missing file, or Secrets without their CA.
fn find_missing_ca_files(
    request: &CertsRequest,
    folder: &CertsFolder,
    found: &FolderContents,
) -> Option<CertsError> {
    match (&found.ca_certificate, &found.ca_key) {
        (Some(_), Some(_)) => None,
        (Some(_), None) => Some(CertsError::CaKeyMissing { path: folder.file_path("ca.crt") }),
        (None, Some(_)) => Some(CertsError::CaCertificateMissing { path: folder.file_path("ca.key") }),
        (None, None) => {
            // Secrets without a CA come from a lost one. A new CA would not be trusted by their meshes.
            let orphan = found.secrets.keys().next();
            orphan
                .map(|mesh| CertsError::CaMissing { path: folder.secret_path(mesh) })
                .or_else(|| find_excessive_validity(request))
        }
    }
}

/// Checks that certificates do not outlive a new CA.
fn find_excessive_validity(request: &CertsRequest) -> Option<CertsError> {
    (request.validity.length > request.ca_validity.length).then(|| CertsError::Argument {
        option: "--validity",
        value: request.validity.typed.clone(),
        problem: format!(
            "is longer than --ca-validity {}; a certificate must not outlive its CA",
            request.ca_validity.typed
        ),
    })
}

/// Finds names in a new certificate that an unchanged Secret of another mesh also contains.
fn find_taken_names(
    request: &CertsRequest,
    folder: &CertsFolder,
    found: &FolderContents,
    mesh: &str,
    wish: &MeshRequest,
) -> Vec<CertsError> {
    if found.secrets.contains_key(mesh) && !wish.rotate {
        return Vec::new();
    }
    // A rotation with new names frees the old names of its mesh.
    let stays = |owner: &&String| {
        let replaced = request.meshes.get(*owner).is_some_and(|w| w.rotate && w.names.is_some());
        owner.as_str() != mesh && !replaced
    };
    let others = found.secrets.iter().filter(|(owner, _)| stays(owner));
    let wished: Vec<&String> = wish.names.iter().flatten().chain(&wish.spiffe).collect();
    others
        .flat_map(|(owner, secret)| secret.names.iter().chain(&secret.uris).map(move |name| (owner, name)))
        .filter(|(_, name)| wished.contains(name))
        .map(|(owner, name)| CertsError::NameTaken {
            mesh: mesh.to_owned(),
            name: name.clone(),
            owner: owner.clone(),
            path: folder.secret_path(owner),
        })
        .collect()
}

/// Loads the CA of the folder, or creates a CA. Returns the files of a new CA.
fn load_or_create_ca(
    request: &CertsRequest,
    folder: &CertsFolder,
    found: &FolderContents,
    now: OffsetDateTime,
) -> Result<(CertificateAuthority, Vec<NewFile>), CertsError> {
    if let (Some(bundle), Some(key)) = (&found.ca_certificate, &found.ca_key) {
        let authority = CertificateAuthority::from_pem(&request.relationship, bundle, key)
            .map_err(|reason| ca_error(reason, request, folder))?;
        // A run that issues no certificate succeeds with an expired CA.
        if request.meshes.iter().any(|(mesh, wish)| wish.rotate || !found.secrets.contains_key(mesh)) {
            check_ca_validity(&authority, request, folder, now)?;
        }
        return Ok((authority, Vec::new()));
    }
    let authority = CertificateAuthority::generate(
        &request.relationship,
        request.key_type,
        request.ca_validity.length,
        now,
    )?;
    let file =
        |name: &str, content, public| NewFile { name: name.to_owned(), content, public, replaces: false };
    // The key first: it is the only one of the two files that cannot be restored from the Secrets.
    let files =
        vec![file("ca.key", authority.key_pem(), false), file("ca.crt", authority.bundle.clone(), true)];
    Ok((authority, files))
}

fn ca_error(reason: UnusableCa, request: &CertsRequest, folder: &CertsFolder) -> CertsError {
    let (certificate, key) = (folder.file_path("ca.crt"), folder.file_path("ca.key"));
    match reason {
        UnusableCa::Certificate(problem) => CertsError::CaUnreadable { path: certificate, problem },
        UnusableCa::Key(problem) => CertsError::CaUnreadable { path: key, problem },
        UnusableCa::Mismatch => CertsError::CaKeyMismatch { key, certificate },
        UnusableCa::OtherRelationship(found) => {
            let relationship = request.relationship.clone();
            CertsError::CaOfOtherRelationship { path: certificate, found, relationship }
        }
    }
}

/// Checks that new certificates are valid only while the CA is valid.
fn check_ca_validity(
    authority: &CertificateAuthority,
    request: &CertsRequest,
    folder: &CertsFolder,
    now: OffsetDateTime,
) -> Result<(), CertsError> {
    let path = folder.file_path("ca.crt");
    let not_after = to_timestamp(authority.not_after);
    if now < authority.not_before {
        return Err(CertsError::CaNotYetValid { path, not_before: to_timestamp(authority.not_before) });
    }
    if now >= authority.not_after {
        return Err(CertsError::CaExpired { path, not_after });
    }
    if now + request.validity.length > authority.not_after {
        let days = (authority.not_after - now).whole_days();
        return Err(CertsError::CaExpiresBeforeLeaf {
            path,
            not_after,
            validity: request.validity.typed.clone(),
            days,
        });
    }
    Ok(())
}

fn unchanged_outcome(
    mesh: &str,
    wish: &MeshRequest,
    kept: &MeshSecret,
    authority: &CertificateAuthority,
    now: OffsetDateTime,
) -> MeshOutcome {
    let differs = wish.names.as_ref().is_some_and(|names| *names != kept.names)
        || wish.spiffe.as_ref().is_some_and(|id| !kept.uris.contains(id));
    let remarks = [
        (differs, "its names differ from those asked for"),
        (kept.not_after <= now, "it has expired"),
        (kept.bundle != authority.bundle, "its ca.crt is not the one of this folder"),
    ];
    MeshOutcome {
        mesh: mesh.to_owned(),
        action: FileAction::Unchanged,
        names: kept.names.iter().chain(&kept.uris).cloned().collect(),
        not_after: kept.not_after,
        namespace: kept.namespace.clone().unwrap_or_default(),
        warnings: remarks.into_iter().filter_map(|(applies, remark)| applies.then_some(remark)).collect(),
    }
}

impl<'a> CertificateSpec<'a> {
    /// Combines the request with the old Secret. The request takes precedence.
    fn new(request: &CertsRequest, mesh: &'a str, wish: &MeshRequest, old: Option<&MeshSecret>) -> Self {
        let default = || SecretLabels::from([("relationship".to_owned(), request.relationship.clone())]);
        let mut labels = old.map_or_else(default, |old| old.labels.clone());
        // Later labels override earlier ones: old or default, for all meshes, for this mesh.
        labels.extend(request.labels.clone());
        labels.extend(wish.labels.clone());
        let old_namespace = || old.and_then(|old| old.namespace.clone());
        Self {
            mesh,
            names: wish.names.clone().or_else(|| old.map(|old| old.names.clone())).unwrap_or_default(),
            spiffe: wish.spiffe.clone().or_else(|| old.and_then(|old| old.uris.first().cloned())),
            labels,
            namespace: request
                .namespace
                .clone()
                .or_else(old_namespace)
                .unwrap_or_else(|| request.relationship.clone()),
            rotates: old.is_some(),
        }
    }

    fn issue_secret(
        self,
        request: &CertsRequest,
        authority: &CertificateAuthority,
        now: OffsetDateTime,
    ) -> Result<(NewFile, MeshOutcome), CertsError> {
        let Self { mesh, names, spiffe, labels, namespace, rotates } = self;
        let spiffe = spiffe.as_deref();
        let subject = CertificateSubject { relationship: &request.relationship, mesh, names: &names, spiffe };
        let issued = authority.issue(&subject, request.key_type, request.validity.length, now)?;
        let content = NewSecret {
            relationship: &request.relationship,
            mesh,
            namespace: &namespace,
            labels: &labels,
            names: &names,
            spiffe,
            issued: &issued,
            bundle: &authority.bundle,
        }
        .to_yaml()?;
        let all_names = names.iter().cloned().chain(spiffe.map(str::to_owned)).collect();
        let done = MeshOutcome {
            mesh: mesh.to_owned(),
            action: if rotates { FileAction::Rotated } else { FileAction::New },
            names: all_names,
            not_after: issued.not_after,
            namespace,
            warnings: Vec::new(),
        };
        Ok((NewFile { name: format!("{mesh}.yaml"), content, public: false, replaces: rotates }, done))
    }
}
