//! Attacks on the real program from the network. Probes are answered, changes of another relationship arrive, and
//! memory stays limited. Attackers and Emcee run on different processors if there are two.
//!
//! The short form runs with all tests, and checks what does not depend on the load of the machine. `cargo xtask proof
//! attacks` runs the long form with the release build, checks everything, and writes docs/proofs/attacks.md.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "shared helpers are test code too, but clippy recognises only the tests themselves"
)]

#[path = "attacks/attackers.rs"]
mod attackers;
#[path = "attacks/measure.rs"]
mod measure;
#[path = "attacks/stage.rs"]
mod stage;

use std::env;
use std::fmt::Write as _;
use std::time::Duration;

use measure::{Measurement, measure};
use stage::{Stage, Target};

/// Default probe timeout of a kubelet.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_MEMORY_MIB: u64 = 256;
/// Delays below this are noise of the machine.
const NOISE_DELAY: Duration = Duration::from_millis(25);

struct Attack {
    name: &'static str,
    role: &'static str,
    target: Target,
}

/// Attacks of clients without a certificate that an audit found.
const ATTACKS: [Attack; 4] = [
    Attack {
        name: "half a request on each of 1,600 sockets of the probe port",
        role: "probes",
        target: Target::Emcee,
    },
    Attack { name: "ClientHellos to blue's discovery", role: "hellos", target: Target::Emcee },
    Attack { name: "chains of 151 certificates to blue's discovery", role: "chains", target: Target::Emcee },
    Attack { name: "reviews of 2.8 MB with 42,000 unknown fields", role: "reviews", target: Target::Webhook },
];

/// Measures without the attack and with it.
fn measure_both(attack: &Attack, time: Duration) -> [Measurement; 2] {
    let stage = Stage::new(attack.target);
    let quiet = measure(&stage, time, None);
    let loud = measure(&stage, time, Some(attack.role));
    println!("{}\n  without: {quiet}\n  with:    {loud}", attack.name);
    [quiet, loud]
}

#[test]
fn probes_are_answered_and_memory_is_limited_under_each_attack() {
    for attack in &ATTACKS {
        let [_, loud] = measure_both(attack, Duration::from_secs(2));
        assert!(loud.memory_mib < MAX_MEMORY_MIB, "{}: {loud}", attack.name);
        // Without optimization, and under other load, a probe may be late, but it is answered.
        assert!(loud.probes > 0 && loud.unanswered == 0, "{}: {loud}", attack.name);
        assert!(attack.target == Target::Webhook || !loud.delays.is_empty(), "{}: {loud}", attack.name);
    }
}

#[test]
#[ignore = "cargo xtask proof attacks"]
fn proof() {
    let seconds = env::var("EMCEE_PROOF_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let mut page = String::from(
        "| attack | rate | slowest `/live` without, with | change → delivery p99 without, with | most memory |\n|---|---|---|---|---|\n",
    );
    let mut failures = Vec::new();
    for attack in &ATTACKS {
        let [quiet, loud] = measure_both(attack, Duration::from_secs(seconds));
        let delivered = match attack.target {
            Target::Webhook => "–".to_owned(),
            Target::Emcee => format!("{:.1?}, {:.1?}", quiet.p99(), loud.p99()),
        };
        let row = format!(
            "| {} | {}/s | {:.1?}, {:.1?} | {delivered} | {} MiB |",
            attack.name,
            loud.rate(),
            quiet.slowest,
            loud.slowest,
            loud.memory_mib
        );
        writeln!(page, "{row}").unwrap();
        let holds = [
            loud.slowest < PROBE_TIMEOUT && loud.unanswered == 0,
            loud.p99() < 2 * quiet.p99().max(NOISE_DELAY),
            loud.memory_mib < MAX_MEMORY_MIB,
        ];
        if holds.contains(&false) {
            failures.push(format!("{row} {holds:?}"));
        }
    }
    println!("{page}");
    if let Some(file) = env::var_os("EMCEE_PROOF_TABLE") {
        std::fs::write(file, page).unwrap();
    }
    assert!(failures.is_empty(), "probes, delivery, memory: {failures:#?}");
}

/// Entry point of the processes that the tests start.
#[test]
#[ignore = "started by the others"]
fn role() {
    match env::var("EMCEE_ROLE").unwrap_or_default().as_str() {
        "webhook" => stage::serve_webhook(),
        role => attackers::run_attack(role),
    }
}
