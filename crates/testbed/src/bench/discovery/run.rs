//! Runs both servers with their subscribers, at the same time.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::child::Child;
use super::{Options, Outcome, Phase, Side, Size};
use crate::bench::usage::{memory, processor_time};
use crate::progress::say;

/// File descriptors that a process needs in addition to its sockets.
const FILES: usize = 100;

/// Measures each size in turn.
pub fn measure(options: &Options) -> Result<Vec<Outcome>> {
    options.sizes.iter().map(|size| outcome(options, *size)).collect()
}

fn outcome(options: &Options, size: Size) -> Result<Outcome> {
    allow_files(size.subscribers + FILES)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("credentials.json");
    let file = file.to_str().context("the name of the temporary folder is not UTF-8")?;
    Child::start(&options.program, "certificates", &[file, &size.subscribers.to_string()])?.end()?;
    say(format_args!("{} services to {} subscribers: Emcee …", size.services, size.subscribers));
    let (mut emcee, mut ours) = Pair::start(&options.program, "server", file, size, options.idle)?;
    say(format_args!("  all synced in {:.1} s; tonic …", ours.sync.elapsed.as_secs_f64()));
    let (mut bare, mut yardstick) = Pair::start(&options.program, "broadcast", file, size, options.idle)?;
    say(format_args!("  in {:.1} s; {} changes …", yardstick.sync.elapsed.as_secs_f64(), options.changes));
    for number in 1..=options.changes {
        ours.changes.push(emcee.change(number)?);
        yardstick.changes.push(bare.change(number)?);
    }
    // Only Emcee tracks what a subscriber has. Without the other server, its subscribers have the machine to themselves.
    drop(bare);
    say(format_args!("  all reconnect …"));
    let reconnect = emcee.all("reconnect")?;
    let afterwards = emcee.change(options.changes + 1)?;
    Ok(Outcome { size, emcee: ours, bare: yardstick, reconnect, afterwards })
}

/// A server and its subscribers.
struct Pair {
    /// Declared before the server, so that they are dropped first: for them, a server that ends is an error.
    subscribers: Child,
    server: Child,
    size: Size,
}

impl Pair {
    fn start(
        program: &Path,
        role: &'static str,
        file: &str,
        size: Size,
        idle: Duration,
    ) -> Result<(Self, Side)> {
        let services = size.services.to_string();
        let mut server = Child::start(program, role, &[file, &services])?;
        let address = server.hear("ready")?;
        let subscribers = Child::start(program, "subscribers", &[file, &services, &address])?;
        let before = memory(server.pid())?;
        let mut pair = Self { subscribers, server, size };
        let sync = pair.all("sync")?;
        let wanted = size.services * size.subscribers;
        ensure!(sync.resources == wanted, "{role}: {} resources arrived, not {wanted}", sync.resources);
        std::thread::sleep(idle);
        let idle = memory(pair.server.pid())?;
        Ok((pair, Side { before, sync, idle, changes: Vec::new() }))
    }

    /// Has all subscribers run a command, and waits until the last one is done.
    fn all(&mut self, what: &str) -> Result<Phase> {
        let used = processor_time(&[self.server.pid()]);
        self.subscribers.tell(what)?;
        let begun = self.subscribers.moment("begun")?;
        let (done, resources) = self.subscribers.done()?;
        let processor = processor_time(&[self.server.pid()]).saturating_sub(used);
        Ok(Phase { elapsed: done.since(begun)?, processor, resources })
    }

    /// Changes one service, and waits until all subscribers have received it once.
    fn change(&mut self, number: u16) -> Result<Phase> {
        let used = processor_time(&[self.server.pid()]);
        self.server.tell(&format!("change {number}"))?;
        let changed = self.server.moment("changed")?;
        let (done, resources) = self.subscribers.done()?;
        let wanted = self.size.subscribers;
        ensure!(resources == wanted, "{resources} resources arrived with one change, not {wanted}");
        let processor = processor_time(&[self.server.pid()]).saturating_sub(used);
        Ok(Phase { elapsed: done.since(changed)?, processor, resources })
    }
}

/// Raises the limit of open files for this process and its children.
fn allow_files(count: usize) -> Result<()> {
    let (limit, count) = (getrlimit(Resource::Nofile), count as u64);
    if limit.current.is_some_and(|current| current < count) {
        let raised = Rlimit { current: Some(count), ..limit };
        setrlimit(Resource::Nofile, raised)
            .with_context(|| format!("{count} open files are not allowed here; see `ulimit -Hn`"))?;
    }
    Ok(())
}
