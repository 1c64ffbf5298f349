//! A thread whose sockets and child processes are in a network namespace.

use std::fs::File;
use std::future::Future;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

use super::NetworkNamespace;

/// A single-threaded runtime inside a namespace. Threads that it starts are inside too.
#[derive(Debug)]
pub struct NamespaceRuntime {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl NamespaceRuntime {
    /// Starts the thread in this namespace.
    pub fn start(namespace: &NetworkNamespace) -> Result<Self> {
        let file =
            File::open(namespace.path()).with_context(|| format!("no namespace {}", namespace.name()))?;
        let (stop, stopped) = oneshot::channel();
        let (ready, entered) = mpsc::channel();
        let thread = std::thread::Builder::new().name(namespace.name().to_owned());
        let thread = thread.spawn(move || run_until_stopped(&file, &ready, stopped))?;
        let handle = entered.recv().context("the namespace's thread ended at once")??;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Handle for spawning tasks inside the namespace.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs a future inside and waits for it. Do not call it from inside: it would wait forever.
    pub fn run<F, T>(&self, future: F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        let (answer, answered) = mpsc::channel();
        self.handle.spawn(async move {
            let _ = answer.send(future.await);
        });
        answered.recv().context("the bed was stopped in the meantime")?
    }

    /// Like [`run`](Self::run), but on all processors, so that the measuring side is not the slow one.
    pub fn run_multi_threaded<F, T>(&self, future: F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        let worker = self.run(async move {
            // A thread starts in the namespace of the thread that spawns it.
            let work = move || Builder::new_multi_thread().enable_all().build()?.block_on(future);
            Ok(std::thread::spawn(work))
        })?;
        worker.join().map_err(|_| anyhow::anyhow!("the work panicked: see above"))?
    }
}

fn run_until_stopped(namespace: &File, ready: &mpsc::Sender<Result<Handle>>, stopped: oneshot::Receiver<()>) {
    let runtime = enter_namespace(namespace);
    let _ = ready
        .send(runtime.as_ref().map(|runtime| runtime.handle().clone()).map_err(|e| anyhow::anyhow!("{e:#}")));
    if let Ok(runtime) = runtime {
        let _ = runtime.block_on(stopped);
    }
}

fn enter_namespace(namespace: &File) -> Result<Runtime> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("cannot enter the namespace (are you root?)")?;
    Ok(Builder::new_current_thread().enable_all().build()?)
}

impl Drop for NamespaceRuntime {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
