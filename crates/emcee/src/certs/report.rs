//! Writes the summary of a run: which files are new or unchanged, and the next steps.

use std::io::{self, Write};

use super::{
    folder::{Folder, Found},
    issue::timestamp,
    request::Request,
    work::{Done, Fate, Work},
};

pub(super) fn report(
    request: &Request,
    folder: &Folder,
    found: &Found,
    work: &Work,
    out: &mut dyn Write,
) -> io::Result<()> {
    let relationship = &request.relationship;
    let (certificate, key) = (folder.file("ca.crt"), folder.file("ca.key"));
    let ca = if work.ca_is_new { "new" } else { "reused" };
    let until = timestamp(work.ca_not_after);
    writeln!(out, "{}: {ca} CA of relationship {relationship}, until {until}", certificate.display())?;
    writeln!(
        out,
        "{}: {ca}; keep it out of the clusters: anyone who has it can impersonate any mesh of {relationship}",
        key.display()
    )?;
    if let Some(mode) = found.ca_key_open {
        writeln!(out, "warning: {} has mode {mode:04o}: others can read it; chmod 600", key.display())?;
    }
    for done in &work.meshes {
        mesh(folder, done, out)?;
    }
    work.meshes.iter().filter(|done| done.fate != Fate::Kept).try_for_each(|done| next(folder, done, out))
}

fn mesh(folder: &Folder, done: &Done, out: &mut dyn Write) -> io::Result<()> {
    let fate = match done.fate {
        Fate::New => "new",
        Fate::Rotated => "rotated",
        Fate::Kept => "left as it is",
    };
    let names = done.names.join(", ");
    let until = timestamp(done.not_after);
    writeln!(out, "{}: {fate}, {names}, until {until}", folder.secret(&done.mesh).display())?;
    for remark in &done.remarks {
        writeln!(
            out,
            "warning: {}: {remark}; --rotate {} replaces it",
            folder.secret(&done.mesh).display(),
            done.mesh
        )?;
    }
    Ok(())
}

fn next(folder: &Folder, done: &Done, out: &mut dyn Write) -> io::Result<()> {
    let path = folder.secret(&done.mesh);
    let (mesh, namespace) = (&done.mesh, &done.namespace);
    writeln!(
        out,
        "next, in the cluster of {mesh}, where namespace {namespace} must exist: kubectl apply -f {}",
        path.display()
    )
}
