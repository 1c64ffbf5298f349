//! If any generated DestinationRule is missing, the result is an error and never plaintext.

use anyhow::{Context, Result, ensure};
use emcee_testbed::{Bed, Mesh};
use serde_json::Value;

use super::users::{Style, WEB};
use super::workloads::{call, call_once, client, client_pod, command};
use super::world::{SINK, World};

/// A route to the remote service, as a caller uses it.
struct RemoteRoute {
    binding: &'static str,
    protocol: &'static str,
    port: u16,
}

impl RemoteRoute {
    fn address(&self, style: &Style) -> String {
        format!("{}-{}.{WEB}:{}", style.name, self.binding, self.port)
    }

    /// Whether a caller's output is that of a missing rule.
    fn is_refusal(&self, stderr: &str) -> bool {
        if self.protocol == "http" { stderr.contains("503") } else { is_closed(stderr) }
    }
}

fn is_closed(stderr: &str) -> bool {
    ["hung up", "reset", "Broken pipe"].iter().any(|word| stderr.contains(word))
}

const SINK_ROUTES: [RemoteRoute; 2] = [
    RemoteRoute { binding: "sunk", protocol: "http", port: 5000 },
    RemoteRoute { binding: "sunk-echo", protocol: "tcp", port: 9000 },
];
const SERVER_ROUTES: [RemoteRoute; 2] = [
    RemoteRoute { binding: "frail", protocol: "http", port: 5000 },
    RemoteRoute { binding: "frail-echo", protocol: "tcp", port: 9000 },
];

/// A sink replaces the remote service. With all rules it receives TLS; if one rule is missing, it receives nothing.
pub(crate) fn sink_sees_nothing(bed: &Bed, style: &Style) -> Result<()> {
    let world = World::shared(bed)?;
    for way in &SINK_ROUTES {
        let rules = world.generated_rules(style, way.binding)?;
        let expected = if style.is_boundary() { 2 } else { 1 };
        ensure!(rules.len() == expected, "{} rules for {}", rules.len(), way.binding);
        for (mesh, rule) in rules {
            ensure_sink_sees_nothing(&world, style, way, &mesh, &rule)?;
        }
    }
    Ok(())
}

fn ensure_sink_sees_nothing(
    world: &World,
    style: &Style,
    way: &RemoteRoute,
    mesh: &Mesh,
    rule: &Value,
) -> Result<()> {
    let (to, secret) = (way.address(style), format!("secret-{}", style.name));
    let ask = [way.protocol, &to, "--say", &secret, "--within", "2"];
    let name = style.server_name(way.binding);
    let seen =
        || -> Result<usize> { Ok(world.exposing_mesh.log(&format!("{SINK}/sink"))?.matches(&name).count()) };
    let before = seen()?;
    world
        .consuming_mesh
        .eventually(&client_pod(WEB), &command(&ask), |_| seen().is_ok_and(|now| now > before))?;
    mesh.delete(&rule.to_string())?;
    world
        .consuming_mesh
        .eventually(&client_pod(WEB), &command(&ask), |output| way.is_refusal(&output.stderr))?;
    let settled = seen()?;
    // A refusal is immediate, but on a busy machine it may take longer.
    let ask = [way.protocol, &to, "--say", &secret, "--within", "20"];
    for _ in 0..3 {
        let output = world.consuming_mesh.exec(&client_pod(WEB), &command(&ask))?;
        ensure!(way.is_refusal(&output.stderr), "{}: {output:?}", rule["metadata"]["name"]);
    }
    let log = world.exposing_mesh.log(&format!("{SINK}/sink"))?;
    ensure!(seen()? == settled, "the sink is still called: {log}");
    ensure!(!log.contains(&secret) && !log.contains("HTTP/"), "the sink saw a request: {log}");
    mesh.apply(&rule.to_string())
}

/// Each rule in front of a server that would answer, including the rules of the exposing mesh.
pub(crate) fn missing_rule_is_an_error(bed: &Bed, style: &Style) -> Result<()> {
    let world = World::shared(bed)?;
    let caller = format!("fresh-{}", style.name);
    client(&world.consuming_mesh, &caller)?;
    for way in &SERVER_ROUTES {
        for (mesh, rule) in world.generated_rules(style, way.binding)? {
            let to = way.address(style);
            let ask = [way.protocol, &to, "--within", "3"];
            call(&world.consuming_mesh, &caller, &ask)?;
            mesh.delete(&rule.to_string())?;
            // Existing connections of a proxy continue without the rule, so only a new caller shows the effect.
            let refused = world.consuming_mesh.eventually(&client_pod(&caller), &command(&ask), |_| {
                world.consuming_mesh.restart(&caller, "sleep-v1").is_ok()
                    && call_once(&world.consuming_mesh, &caller, &ask)
                        .is_ok_and(|output| way.is_refusal(&output.stderr))
            });
            refused.with_context(|| format!("without {}", rule["metadata"]["name"]))?;
            mesh.apply(&rule.to_string())?;
            call(&world.consuming_mesh, &caller, &ask)?;
        }
    }
    Ok(())
}
