//! Continuous traffic during a disturbance.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use emcee_testbed::Mesh;

use super::users::APPS;
use crate::workloads::{ask, call_once};

/// Sends calls one after the other, until it is ended or dropped.
pub(crate) struct Traffic {
    end: Arc<AtomicBool>,
    caller: Option<JoinHandle<CallResults>>,
}

#[derive(Default)]
struct CallResults {
    answers: usize,
    failures: Vec<String>,
}

impl Traffic {
    /// Starts calls from a mesh's client to a service, after a first call has succeeded.
    pub(crate) fn start(mesh: &Mesh, to: &'static str) -> Result<Self> {
        ask(mesh, APPS, &["http", to])?;
        let end = Arc::new(AtomicBool::new(false));
        let (mesh, ended) = (mesh.clone(), Arc::clone(&end));
        let caller = std::thread::spawn(move || {
            let (mut called, start) = (CallResults::default(), Instant::now());
            while !ended.load(Ordering::Relaxed) {
                called.call(&mesh, to, start);
            }
            called
        });
        Ok(Self { end, caller: Some(caller) })
    }

    /// Lets the traffic continue until then.
    pub(crate) fn continue_until(&self, then: Instant) -> Result<()> {
        std::thread::sleep(then.saturating_duration_since(Instant::now()));
        let goes_on = self.caller.as_ref().is_some_and(|caller| !caller.is_finished());
        ensure!(goes_on, "the traffic has ended");
        Ok(())
    }

    /// Ends the traffic. Fails if a call failed, or if there was none.
    pub(crate) fn end(mut self) -> Result<()> {
        self.end.store(true, Ordering::Relaxed);
        let caller = self.caller.take().context("the traffic has already ended")?;
        let CallResults { answers, failures } = caller.join().map_err(|_| anyhow!("the caller panicked"))?;
        let all = answers + failures.len();
        ensure!(failures.is_empty(), "{} of {all} calls failed: {failures:?}", failures.len());
        ensure!(answers > 0, "there was no call");
        Ok(())
    }
}

impl CallResults {
    fn call(&mut self, mesh: &Mesh, to: &str, start: Instant) {
        match call_once(mesh, APPS, &["http", to]) {
            Ok(output) if output.code == 0 => self.answers += 1,
            other => self.failures.push(format!("after {:?}: {other:?}", start.elapsed())),
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
    }
}
