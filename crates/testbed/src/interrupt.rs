//! Handles Ctrl-C and SIGTERM during work.

use std::sync::mpsc;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Waits for SIGINT or SIGTERM.
pub async fn wait_for_signal() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Listens for a signal from the moment it is created.
#[derive(Debug)]
pub struct Interrupt {
    events: mpsc::Receiver<InterruptEvent>,
    done: mpsc::Sender<InterruptEvent>,
}

#[derive(Debug, PartialEq, Eq)]
enum InterruptEvent {
    Signalled,
    Done,
}

impl Interrupt {
    /// Starts to listen. From now on a signal no longer ends the process by itself.
    pub fn listen() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (done, events) = mpsc::channel();
        let sender = done.clone();
        std::thread::spawn(move || {
            runtime.block_on(wait_for_signal());
            // The receiver may be gone already.
            let _ = sender.send(InterruptEvent::Signalled);
        });
        Ok(Self { events, done })
    }

    /// Runs `work` until it ends or a signal arrives. After a signal the result is `None`, and `work` is abandoned.
    pub fn run_unless_interrupted<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>> {
        let done = self.done.clone();
        let worker = std::thread::spawn(move || {
            // A panic must send `Done` as well, or the receiver below would wait forever.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let _ = done.send(InterruptEvent::Done);
            result
        });
        if self.events.recv()? == InterruptEvent::Signalled {
            return Ok(None);
        }
        let result = worker.join().ok().and_then(Result::ok);
        result.map(Some).context("the work panicked: see above")
    }

    /// Waits for the signal.
    pub fn wait(&self) -> Result<()> {
        self.events.recv().map(drop).context("no thread listens for signals")
    }
}
