//! Certificates that gateways must no longer accept.

use anyhow::{Result, ensure};
use emcee_testbed::cluster::Authority;
use emcee_testbed::{Bed, Mesh};
use serde_json::json;

use super::world::{WEB, World, exposition, gateway, relationship, secret};
use crate::workloads::{ask, client_pod, command};

const CALL: [&str; 2] = ["http", "blue-hello.web:5000"];

/// m2 revokes the certificate of m1. Another certificate of the same name, which is not revoked, is accepted.
pub(crate) fn revoked(bed: &Bed) -> Result<()> {
    let World { m1, m2, authority, own, .. } = World::of(bed)?;
    let stolen = authority.issue("m1", None, &["m1.example"], &[])?;
    m1.apply(&secret(&authority, &stolen, None))?;
    ask(&m1, WEB, &CALL)?;
    let crl = authority.revoke(&[&stolen])?;
    m2.apply(&secret(&authority, &own, Some(&crl)))?;
    // Existing connections continue with the old certificate, so the gateway restarts.
    m1.restart("blue", &gateway(&m1, "blue", "egress")?)?;
    is_refused(&m1)?;
    relationship("blue").wait(&m2, "CertificateValid", "Fine")?;

    m1.apply(&secret(&authority, &authority.issue("m1", None, &["m1.example"], &[])?, None))?;
    m1.restart("blue", &gateway(&m1, "blue", "egress")?)?;
    ask(&m1, WEB, &CALL).map(drop)
}

/// The objects in place stay, including the revocation, and the condition reports that the newest version is not in use.
pub(crate) fn unreadable(bed: &Bed) -> Result<()> {
    let World { m1, m2, authority, own, .. } = World::of(bed)?;
    m2.apply(&secret(&authority, &own, Some(&authority.revoke(&[])?)))?;
    relationship("blue").wait(&m2, "CertificateValid", "Fine")?;
    m2.apply(&secret(&authority, &own, Some("garbage")))?;
    let said = relationship("blue").wait(&m2, "CertificateValid", "CertificateInvalid")?;
    ensure!(said["message"].as_str().is_some_and(|words| words.contains("data.ca.crl")), "{said}");
    relationship("blue").wait(&m2, "Programmed", "Fine")?;
    m2.apply(&secret(&authority, &own, Some(&authority.revoke(&[])?)))?;
    relationship("blue").wait(&m2, "CertificateValid", "Fine")?;
    ask(&m1, WEB, &CALL).map(drop)
}

/// The CA in `rel-cacert` would accept certificates of its own, and shut out the rightful peer.
pub(crate) fn shadowed(bed: &Bed) -> Result<()> {
    let World { m1, m2, .. } = World::of(bed)?;
    ask(&m1, WEB, &CALL)?;
    let ca = Authority::root("retired")?.identity().certificate;
    let shadow = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "rel-cacert", "namespace": "blue"},
        "stringData": {"ca.crt": ca},
    });
    m2.apply(&shadow.to_string())?;
    relationship("blue").wait(&m2, "CertificateValid", "ShadowedCA")?;
    relationship("blue").wait(&m2, "Programmed", "ShadowedCA")?;
    exposition("blue").wait(&m2, "Programmed", "RelationshipNotReady")?;
    is_refused(&m1)?;
    m2.delete(&shadow.to_string())?;
    relationship("blue").wait(&m2, "CertificateValid", "Fine")?;
    exposition("blue").wait(&m2, "Programmed", "Fine").map(drop)
}

fn is_refused(mesh: &Mesh) -> Result<()> {
    let short = [&CALL[..], &["--within", "3"]].concat();
    mesh.eventually(&client_pod(WEB), &command(&short), |output| output.stderr.contains("503")).map(drop)
}
