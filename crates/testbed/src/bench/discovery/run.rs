//! Runs both servers with their subscribers, at the same time.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::child::BenchProcess;
use super::{DiscoveryBenchOptions, DiscoveryOutcome, DiscoverySize, PhaseOutcome, ServerOutcome};
use crate::bench::usage::{memory_usage, processor_time};
use crate::progress::print_progress;

/// File descriptors that a process needs in addition to its sockets.
const EXTRA_FILES: usize = 100;

/// Measures each size in turn.
pub fn measure(options: &DiscoveryBenchOptions) -> Result<Vec<DiscoveryOutcome>> {
    options.sizes.iter().map(|size| measure_size(options, *size)).collect()
}

fn measure_size(options: &DiscoveryBenchOptions, size: DiscoverySize) -> Result<DiscoveryOutcome> {
    raise_file_limit(size.subscribers + EXTRA_FILES)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("credentials.json");
    let file = file.to_str().context("the name of the temporary folder is not UTF-8")?;
    BenchProcess::start(&options.program, "certificates", &[file, &size.subscribers.to_string()])?
        .wait_for_exit()?;
    print_progress(format_args!("{} services to {} subscribers: Emcee …", size.services, size.subscribers));
    let (mut emcee, mut ours) =
        ServerWithSubscribers::start(&options.program, "server", file, size, options.idle)?;
    print_progress(format_args!("  all synced in {:.1} s; tonic …", ours.sync.elapsed.as_secs_f64()));
    let (mut bare, mut yardstick) =
        ServerWithSubscribers::start(&options.program, "broadcast", file, size, options.idle)?;
    print_progress(format_args!(
        "  in {:.1} s; {} changes …",
        yardstick.sync.elapsed.as_secs_f64(),
        options.changes
    ));
    for number in 1..=options.changes {
        ours.changes.push(emcee.time_change(number)?);
        yardstick.changes.push(bare.time_change(number)?);
    }
    // Only Emcee tracks what a subscriber has. Without the other server, its subscribers have the machine to themselves.
    drop(bare);
    print_progress(format_args!("  all reconnect …"));
    let reconnect = emcee.run_on_subscribers("reconnect")?;
    let afterwards = emcee.time_change(options.changes + 1)?;
    Ok(DiscoveryOutcome { size, emcee: ours, bare: yardstick, reconnect, afterwards })
}

/// A server and its subscribers.
struct ServerWithSubscribers {
    /// Declared before the server, so that they are dropped first: for them, a server that ends is an error.
    subscribers: BenchProcess,
    server: BenchProcess,
    size: DiscoverySize,
}

impl ServerWithSubscribers {
    fn start(
        program: &Path,
        role: &'static str,
        file: &str,
        size: DiscoverySize,
        idle: Duration,
    ) -> Result<(Self, ServerOutcome)> {
        let services = size.services.to_string();
        let mut server = BenchProcess::start(program, role, &[file, &services])?;
        let address = server.read_reply("ready")?;
        let subscribers = BenchProcess::start(program, "subscribers", &[file, &services, &address])?;
        let before = memory_usage(server.pid())?;
        let mut pair = Self { subscribers, server, size };
        let sync = pair.run_on_subscribers("sync")?;
        let expected = size.services * size.subscribers;
        ensure!(sync.resources == expected, "{role}: {} resources arrived, not {expected}", sync.resources);
        std::thread::sleep(idle);
        let idle = memory_usage(pair.server.pid())?;
        Ok((pair, ServerOutcome { before, sync, idle, changes: Vec::new() }))
    }

    /// Has all subscribers run a command, and waits until the last one is done.
    fn run_on_subscribers(&mut self, what: &str) -> Result<PhaseOutcome> {
        let used = processor_time(&[self.server.pid()]);
        self.subscribers.send_line(what)?;
        let begun = self.subscribers.read_moment("begun")?;
        let (done, resources) = self.subscribers.read_done()?;
        let processor = processor_time(&[self.server.pid()]).saturating_sub(used);
        Ok(PhaseOutcome { elapsed: done.since(begun)?, processor, resources })
    }

    /// Changes one service, and waits until all subscribers have received it once.
    fn time_change(&mut self, number: u16) -> Result<PhaseOutcome> {
        let used = processor_time(&[self.server.pid()]);
        self.server.send_line(&format!("change {number}"))?;
        let changed = self.server.read_moment("changed")?;
        let (done, resources) = self.subscribers.read_done()?;
        let expected = self.size.subscribers;
        ensure!(resources == expected, "{resources} resources arrived with one change, not {expected}");
        let processor = processor_time(&[self.server.pid()]).saturating_sub(used);
        Ok(PhaseOutcome { elapsed: done.since(changed)?, processor, resources })
    }
}

/// Raises the limit of open files for this process and its children.
fn raise_file_limit(count: usize) -> Result<()> {
    let (limit, count) = (getrlimit(Resource::Nofile), count as u64);
    if limit.current.is_some_and(|current| current < count) {
        let raised = Rlimit { current: Some(count), ..limit };
        setrlimit(Resource::Nofile, raised)
            .with_context(|| format!("{count} open files are not allowed here; see `ulimit -Hn`"))?;
    }
    Ok(())
}
