//! Meshes with different trust domains.

use std::fs;

use anyhow::{Context, Result, ensure};
use emcee_testbed::{Bed, Mesh};
use serde_json::{Value, json};

use super::world::{WEB, World, relationship_of};
use crate::resource::until;
use crate::workloads::{ask, client_pod, command};

const CALL: [&str; 2] = ["http", "pass-hello.web:5000"];

/// m2's sidecars refuse callers of m1, and m2 reports why, until m1's trust domain is an alias of m2's own.
pub(crate) fn callers_need_an_alias(bed: &Bed) -> Result<()> {
    let World { m1, m2, .. } = World::shared(bed)?;
    let condition = relationship_of("pass").wait(&m2, "TrustDomainNotAccepted", "TrustDomainNotAccepted")?;
    let words = condition["message"].as_str().unwrap_or_default();
    ensure!(words.contains("`trustDomainAliases: [cluster.local]`"), "{words}");
    let short = [&CALL[..], &["--within", "3"]].concat();
    m1.eventually(&client_pod(WEB), &command(&short), |output| output.stderr.contains("503"))?;

    set_trust_domain_aliases(&m2, &["cluster.local"])?;
    let kind = ("mm.ibm.istio.io/v1", "MeshFedConfig");
    until(&m2, kind, ("pass", "pass"), "the condition is still reported", |object| {
        let conditions = object.map(|object| object["status"]["conditions"].to_string());
        conditions.is_some_and(|conditions| !conditions.contains("TrustDomainNotAccepted"))
    })?;
    let answer = ask(&m1, WEB, &CALL)?;
    let caller = answer["caller"].as_str().unwrap_or_default();
    ensure!(caller.contains("URI=spiffe://cluster.local/ns/web/sa/sleep"), "{answer}");
    Ok(())
}

/// Sets the aliases for istiod, which reads a file here, and in the ConfigMap, as a cluster has it.
fn set_trust_domain_aliases(mesh: &Mesh, aliases: &[&str]) -> Result<()> {
    let path = mesh.folder().join("istiod/mesh.yaml");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    config["trustDomainAliases"] = json!(aliases);
    let mut map =
        mesh.get("v1", "ConfigMap", "istio-system", "istio")?.context("the mesh has no configuration")?;
    map["data"]["mesh"] = config.to_string().into();
    let text = config.to_string();
    mesh.without_istiod(move || {
        // If this fails, no call succeeds, which the test notices.
        let _ = fs::write(path, text);
    })?;
    let metadata = json!({"name": "istio", "namespace": "istio-system"});
    mesh.apply(
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": map["data"]})
            .to_string(),
    )
}
