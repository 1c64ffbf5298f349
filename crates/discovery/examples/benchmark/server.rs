//! Emcee's server, configured as in `emcee run`.

use std::future::pending;
use std::sync::Arc;

use anyhow::Result;
use emcee_discovery::server::{Announcer, Limits, Server};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::credentials::Credentials;
use crate::lines::{change, now, obey, say};
use crate::offers::offer;

pub(crate) fn run(credentials: &Credentials, services: usize) -> Result<()> {
    let cache = Arc::new(Announcer::new());
    for index in 0..services {
        cache.try_change(|cache| offer(cache, index, 0))?;
    }
    cache.synced();
    let (_open, relationships) = watch::channel(credentials.of_server()?);
    let server = Server::new(Arc::clone(&cache), relationships, Limits::default());
    let runtime = Runtime::new()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(async move { server.serve(listener, pending()).await });
    say(format_args!("ready {address}"));
    obey(|line| {
        let (number, cache) = (change(line)?, Arc::clone(&cache));
        // On a worker of the runtime, as in Emcee, where a task makes each change.
        let changed = runtime.spawn(async move {
            let at = now();
            cache.try_change(|cache| offer(cache, usize::from(number) % services, number))?;
            anyhow::Ok(at)
        });
        let at = runtime.block_on(changed)??;
        say(format_args!("changed {at}"));
        Ok(())
    })
}
