//! Certificates that gateways must no longer accept.

use anyhow::{Result, ensure};
use emcee_testbed::cluster::Authority;
use emcee_testbed::{Bed, Mesh};
use serde_json::json;

use super::world::{WEB, World, exposition_of, gateway_name, relationship_of, relationship_secret};
use crate::workloads::{ask, client_pod, command};

const CALL: [&str; 2] = ["http", "blue-hello.web:5000"];

/// m2 revokes the certificate of m1. Another certificate of the same name, which is not revoked, is accepted.
pub(crate) fn revoked_certificate_is_refused(bed: &Bed) -> Result<()> {
    let World { m1, m2, authority, own, .. } = World::shared(bed)?;
    let stolen = authority.issue("m1", None, &["m1.example"], &[])?;
    m1.apply(&relationship_secret(&authority, &stolen, None))?;
    ask(&m1, WEB, &CALL)?;
    let crl = authority.issue_crl(&[&stolen])?;
    m2.apply(&relationship_secret(&authority, &own, Some(&crl)))?;
    // Existing connections continue with the old certificate, so the gateway restarts.
    m1.restart("blue", &gateway_name(&m1, "blue", "egress")?)?;
    wait_until_refused(&m1)?;
    relationship_of("blue").wait(&m2, "CertificateValid", "CertificateValid")?;

    m1.apply(&relationship_secret(&authority, &authority.issue("m1", None, &["m1.example"], &[])?, None))?;
    m1.restart("blue", &gateway_name(&m1, "blue", "egress")?)?;
    ask(&m1, WEB, &CALL).map(drop)
}

/// The objects in place stay, including the revocation, and the condition reports that the newest version is not in use.
pub(crate) fn bad_crl_is_reported(bed: &Bed) -> Result<()> {
    let World { m1, m2, authority, own, .. } = World::shared(bed)?;
    m2.apply(&relationship_secret(&authority, &own, Some(&authority.issue_crl(&[])?)))?;
    relationship_of("blue").wait(&m2, "CertificateValid", "CertificateValid")?;
    m2.apply(&relationship_secret(&authority, &own, Some("garbage")))?;
    let condition = relationship_of("blue").wait(&m2, "CertificateValid", "CertificateInvalid")?;
    ensure!(condition["message"].as_str().is_some_and(|words| words.contains("data.ca.crl")), "{condition}");
    relationship_of("blue").wait(&m2, "Programmed", "Programmed")?;
    m2.apply(&relationship_secret(&authority, &own, Some(&authority.issue_crl(&[])?)))?;
    relationship_of("blue").wait(&m2, "CertificateValid", "CertificateValid")?;
    ask(&m1, WEB, &CALL).map(drop)
}

/// The CA in `rel-cacert` would accept certificates of its own, and shut out the rightful peer.
pub(crate) fn shadowing_secret_closes_the_relationship(bed: &Bed) -> Result<()> {
    let World { m1, m2, .. } = World::shared(bed)?;
    ask(&m1, WEB, &CALL)?;
    let ca = Authority::root("retired")?.identity().certificate;
    let shadow = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "rel-cacert", "namespace": "blue"},
        "stringData": {"ca.crt": ca},
    });
    m2.apply(&shadow.to_string())?;
    relationship_of("blue").wait(&m2, "CertificateValid", "ShadowedCA")?;
    relationship_of("blue").wait(&m2, "Programmed", "ShadowedCA")?;
    exposition_of("blue").wait(&m2, "Programmed", "RelationshipNotReady")?;
    wait_until_refused(&m1)?;
    m2.delete(&shadow.to_string())?;
    relationship_of("blue").wait(&m2, "CertificateValid", "CertificateValid")?;
    exposition_of("blue").wait(&m2, "Programmed", "Programmed").map(drop)
}

fn wait_until_refused(mesh: &Mesh) -> Result<()> {
    let short = [&CALL[..], &["--within", "3"]].concat();
    mesh.eventually(&client_pod(WEB), &command(&short), |output| output.stderr.contains("503")).map(drop)
}
