//! Shutdown of the process: graceful if possible, and always within [`SHUTDOWN_TIMEOUT`].

use std::io::Write as _;
use std::process::exit;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::warn;

/// Longest time from the first signal to the exit of the process. Kubernetes sends SIGKILL after 30 s.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(25);
/// Longest time that discovery gets to close the streams of its peers.
pub(crate) const DISCOVERY_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that abandoned blocking work may delay the exit.
const BLOCKING_WORK_TIMEOUT: Duration = Duration::from_secs(1);

/// Handlers for SIGTERM and Ctrl-C (SIGINT).
struct ShutdownSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl ShutdownSignals {
    fn register() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?,
        })
    }

    async fn wait_for_signal(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Returns a future that resolves when SIGTERM or Ctrl-C asks the process to shut down.
///
/// From that moment the process has [`SHUTDOWN_TIMEOUT`] to exit; a second signal makes it exit immediately. Both are
/// enforced by a separate thread, because every other thread may be busy or blocked.
///
/// # Errors
/// The thread cannot be started, or the signal handlers cannot be installed.
pub(crate) fn shutdown_requested() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let (sender, receiver) = oneshot::channel();
    let (ready, listens) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        match start_signal_runtime() {
            Ok((runtime, signals)) => {
                // The caller waits for this message below, so the receiver still exists.
                let _waits = ready.send(Ok(()));
                runtime.block_on(watch_signals(signals, sender));
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    })?;
    // Wait for the handlers: a signal that arrives after this function returns must not use the default action.
    listens.recv().context("the signal thread has stopped")??;
    // `watch_signals` sends no value. Dropping the sender resolves the receiver, with an error that means "shut down".
    Ok(async move { drop(receiver.await) })
}

fn start_signal_runtime() -> anyhow::Result<(Runtime, ShutdownSignals)> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = runtime.block_on(async { ShutdownSignals::register() })?;
    Ok((runtime, signals))
}

async fn watch_signals(mut signals: ShutdownSignals, sender: oneshot::Sender<()>) {
    signals.wait_for_signal().await;
    // Start the graceful shutdown: the receiver in `shutdown_requested` resolves now.
    drop(sender);
    let why = tokio::select! {
        () = signals.wait_for_signal() => "received a second signal".to_owned(),
        () = tokio::time::sleep(SHUTDOWN_TIMEOUT) => {
            format!("shutdown took longer than {} s", SHUTDOWN_TIMEOUT.as_secs())
        }
    };
    print_best_effort(format!("emcee: {why}; exiting immediately, unfinished work is lost\n"));
    // Do not run destructors: one of them may be what blocks the shutdown.
    exit(2);
}

/// Writes a line to stderr, but never waits longer than [`BLOCKING_WORK_TIMEOUT`].
///
/// It uses neither the console nor the calling thread, because the work that blocks the shutdown may hold the lock of
/// stderr.
fn print_best_effort(line: String) {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let written = std::io::stderr().write_all(line.as_bytes());
        // Fails if the receiver has timed out already.
        let _late = sender.send(written);
    });
    // If the line cannot be written in time, exit code 2 still reports the forced exit.
    let _unsaid = receiver.recv_timeout(BLOCKING_WORK_TIMEOUT);
}

/// Waits for a task to finish during shutdown, and aborts it after `patience`. An aborted task is not an error.
pub(crate) async fn join_with_timeout(
    task: tokio::task::JoinHandle<()>,
    patience: Duration,
) -> anyhow::Result<()> {
    // `timeout` consumes the handle, and dropping a `JoinHandle` detaches its task instead of stopping it.
    let abort = task.abort_handle();
    match tokio::time::timeout(patience, task).await {
        Ok(ended) => Ok(ended?),
        Err(_) => {
            abort.abort();
            warn!("discovery did not stop within {} s; aborted", patience.as_secs());
            Ok(())
        }
    }
}

/// Runs `work` on the runtime and then drops the runtime, with at most [`BLOCKING_WORK_TIMEOUT`] for leftover blocking
/// work.
pub(crate) fn run_to_completion<T>(runtime: Runtime, work: impl Future<Output = T>) -> T {
    let done = runtime.block_on(work);
    // A plain drop would wait for blocking tasks without limit; `getaddrinfo` for a host name can hang for minutes.
    runtime.shutdown_timeout(BLOCKING_WORK_TIMEOUT);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_does_not_stop_is_aborted() {
        let (dropped, gone) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let _held = dropped;
            std::future::pending::<()>().await;
        });
        join_with_timeout(task, Duration::from_millis(1)).await.expect("an abort is not an error");
        assert!(gone.await.is_err(), "the task was dropped");
    }
}
