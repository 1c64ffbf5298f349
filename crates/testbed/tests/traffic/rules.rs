//! If any generated DestinationRule is missing, the result is an error and never plaintext.

use anyhow::{Context, Result, ensure};
use emcee_testbed::{Bed, Mesh};
use serde_json::Value;

use super::users::{Style, WEB};
use super::workloads::{call, call_once, client, client_pod, command};
use super::world::{SINK, World};

/// A route to the remote service, as a caller uses it.
struct Way {
    binding: &'static str,
    protocol: &'static str,
    port: u16,
}

impl Way {
    fn to(&self, style: &Style) -> String {
        format!("{}-{}.{WEB}:{}", style.name, self.binding, self.port)
    }

    /// Whether a caller's output is that of a missing rule.
    fn is_refusal(&self, said: &str) -> bool {
        if self.protocol == "http" { said.contains("503") } else { is_closed(said) }
    }
}

fn is_closed(said: &str) -> bool {
    ["hung up", "reset", "Broken pipe"].iter().any(|word| said.contains(word))
}

const SUNK: [Way; 2] = [
    Way { binding: "sunk", protocol: "http", port: 5000 },
    Way { binding: "sunk-echo", protocol: "tcp", port: 9000 },
];
const FRAIL: [Way; 2] = [
    Way { binding: "frail", protocol: "http", port: 5000 },
    Way { binding: "frail-echo", protocol: "tcp", port: 9000 },
];

/// A sink replaces the remote service. With all rules it receives TLS; if one rule is missing, it receives nothing.
pub(crate) fn sunk(bed: &Bed, style: &Style) -> Result<()> {
    let world = World::of(bed)?;
    for way in &SUNK {
        let rules = world.rules(style, way.binding)?;
        let expected = if style.is_boundary() { 2 } else { 1 };
        ensure!(rules.len() == expected, "{} rules for {}", rules.len(), way.binding);
        for (mesh, rule) in rules {
            without_reaching_sink(&world, style, way, &mesh, &rule)?;
        }
    }
    Ok(())
}

fn without_reaching_sink(world: &World, style: &Style, way: &Way, mesh: &Mesh, rule: &Value) -> Result<()> {
    let (to, secret) = (way.to(style), format!("secret-{}", style.name));
    let ask = [way.protocol, &to, "--say", &secret, "--within", "2"];
    let name = style.server_name(way.binding);
    let seen = || -> Result<usize> { Ok(world.there.log(&format!("{SINK}/sink"))?.matches(&name).count()) };
    let before = seen()?;
    world.here.eventually(&client_pod(WEB), &command(&ask), |_| seen().is_ok_and(|now| now > before))?;
    mesh.delete(&rule.to_string())?;
    world.here.eventually(&client_pod(WEB), &command(&ask), |output| way.is_refusal(&output.stderr))?;
    let settled = seen()?;
    // A refusal is immediate, but on a busy machine it may take longer.
    let ask = [way.protocol, &to, "--say", &secret, "--within", "20"];
    for _ in 0..3 {
        let output = world.here.exec(&client_pod(WEB), &command(&ask))?;
        ensure!(way.is_refusal(&output.stderr), "{}: {output:?}", rule["metadata"]["name"]);
    }
    let log = world.there.log(&format!("{SINK}/sink"))?;
    ensure!(seen()? == settled, "the sink is still called: {log}");
    ensure!(!log.contains(&secret) && !log.contains("HTTP/"), "the sink saw a request: {log}");
    mesh.apply(&rule.to_string())
}

/// Each rule in front of a server that would answer, including the rules of the exposing mesh.
pub(crate) fn frail(bed: &Bed, style: &Style) -> Result<()> {
    let world = World::of(bed)?;
    let caller = format!("fresh-{}", style.name);
    client(&world.here, &caller)?;
    for way in &FRAIL {
        for (mesh, rule) in world.rules(style, way.binding)? {
            let to = way.to(style);
            let ask = [way.protocol, &to, "--within", "3"];
            call(&world.here, &caller, &ask)?;
            mesh.delete(&rule.to_string())?;
            // Existing connections of a proxy continue without the rule, so only a new caller shows the effect.
            let refused = world.here.eventually(&client_pod(&caller), &command(&ask), |_| {
                world.here.restart(&caller, "sleep-v1").is_ok()
                    && call_once(&world.here, &caller, &ask)
                        .is_ok_and(|output| way.is_refusal(&output.stderr))
            });
            refused.with_context(|| format!("without {}", rule["metadata"]["name"]))?;
            mesh.apply(&rule.to_string())?;
            call(&world.here, &caller, &ask)?;
        }
    }
    Ok(())
}
