//! Writes the summary of a run: which files are new or unchanged, and the next steps.

use std::io::{self, Write};

use super::{
    folder::{CertsFolder, FolderContents},
    issue::to_timestamp,
    plan::{CertsPlan, FileAction, MeshOutcome},
    request::CertsRequest,
};

pub(super) fn write_report(
    request: &CertsRequest,
    folder: &CertsFolder,
    found: &FolderContents,
    work: &CertsPlan,
    out: &mut dyn Write,
) -> io::Result<()> {
    let relationship = &request.relationship;
    let (certificate, key) = (folder.file_path("ca.crt"), folder.file_path("ca.key"));
    let ca = if work.ca_is_new { "new" } else { "reused" };
    let until = to_timestamp(work.ca_not_after);
    writeln!(out, "{}: {ca} CA of relationship {relationship}, until {until}", certificate.display())?;
    writeln!(
        out,
        "{}: {ca}; keep it out of the clusters: anyone who has it can impersonate any mesh of {relationship}",
        key.display()
    )?;
    if let Some(mode) = found.ca_key_open_mode {
        writeln!(out, "warning: {} has mode {mode:04o}: others can read it; chmod 600", key.display())?;
    }
    for done in &work.meshes {
        write_mesh(folder, done, out)?;
    }
    work.meshes
        .iter()
        .filter(|done| done.action != FileAction::Unchanged)
        .try_for_each(|done| write_next_step(folder, done, out))
}

fn write_mesh(folder: &CertsFolder, done: &MeshOutcome, out: &mut dyn Write) -> io::Result<()> {
    let action = match done.action {
        FileAction::New => "new",
        FileAction::Rotated => "rotated",
        FileAction::Unchanged => "left as it is",
    };
    let names = done.names.join(", ");
    let until = to_timestamp(done.not_after);
    writeln!(out, "{}: {action}, {names}, until {until}", folder.secret_path(&done.mesh).display())?;
    for remark in &done.warnings {
        writeln!(
            out,
            "warning: {}: {remark}; --rotate {} replaces it",
            folder.secret_path(&done.mesh).display(),
            done.mesh
        )?;
    }
    Ok(())
}

fn write_next_step(folder: &CertsFolder, done: &MeshOutcome, out: &mut dyn Write) -> io::Result<()> {
    let path = folder.secret_path(&done.mesh);
    let (mesh, namespace) = (&done.mesh, &done.namespace);
    writeln!(
        out,
        "next, in the cluster of {mesh}, where namespace {namespace} must exist: kubectl apply -f {}",
        path.display()
    )
}
