//! The end of the process when it is asked to end: in order if it can, and in any case in time.

use std::io::Write as _;
use std::process::exit;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::warn;

/// How long the process may take to end. Kubernetes kills it after 30 s.
const PATIENCE: Duration = Duration::from_secs(25);
/// How long what talks to peers may take to end.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(10);
/// How long blocking work that nobody waits for may hold the end up.
const LAST_WORK: Duration = Duration::from_secs(1);

/// SIGTERM and Ctrl-C.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Comes when the process is asked to end, by SIGTERM or Ctrl-C. From then on it has [`PATIENCE`]; a second signal ends
/// it at once.
///
/// A thread of its own listens, as all others may be busy or hang.
pub(crate) fn ended() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let (tell, told) = oneshot::channel();
    let (ready, listens) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        match listening() {
            Ok((runtime, signals)) => {
                // Whoever asked waits for it.
                let _waits = ready.send(Ok(()));
                runtime.block_on(watch(signals, tell));
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    })?;
    listens.recv().context("the thread of the signals has ended")??;
    // Where the other end is gone, the process ends itself.
    Ok(async move { drop(told.await) })
}

fn listening() -> anyhow::Result<(Runtime, Signals)> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = runtime.block_on(async { Signals::listen() })?;
    Ok((runtime, signals))
}

async fn watch(mut signals: Signals, tell: oneshot::Sender<()>) {
    signals.next().await;
    drop(tell);
    let why = tokio::select! {
        () = signals.next() => "a second signal came".to_owned(),
        () = tokio::time::sleep(PATIENCE) => {
            format!("{} s have passed since it was asked to end", PATIENCE.as_secs())
        }
    };
    say(format!("emcee: {why}: it ends at once, whatever is under way\n"));
    exit(2);
}

/// Not through the console, and from a thread that nobody has to wait for: what hangs may hold both.
fn say(line: String) {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let written = std::io::stderr().write_all(line.as_bytes());
        // Nobody waits any more, or the process is gone.
        let _late = tell.send(written);
    });
    // Where it cannot be said, the exit code still tells.
    let _unsaid = told.recv_timeout(LAST_WORK);
}

/// Waits for a task of the end, and not for long.
pub(crate) async fn in_time(task: tokio::task::JoinHandle<()>, patience: Duration) -> anyhow::Result<()> {
    let abort = task.abort_handle();
    match tokio::time::timeout(patience, task).await {
        Ok(ended) => Ok(ended?),
        Err(_) => {
            abort.abort();
            warn!("discovery did not end within {} s, and is cut off", patience.as_secs());
            Ok(())
        }
    }
}

/// Runs to the end of `work`, and does not wait for more than it: a lookup of a name can hang.
pub(crate) fn run<T>(runtime: Runtime, work: impl Future<Output = T>) -> T {
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_WORK);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_never_ends_is_cut_off() {
        let (dropped, gone) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let _held = dropped;
            std::future::pending::<()>().await;
        });
        in_time(task, Duration::from_millis(1)).await.expect("it is no error");
        assert!(gone.await.is_err(), "it is gone");
    }
}
