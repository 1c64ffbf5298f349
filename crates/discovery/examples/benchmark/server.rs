//! Emcee's server, configured as in `emcee run`.

use std::future::pending;
use std::sync::Arc;

use anyhow::Result;
use emcee_discovery::server::{ServerLimits, SharedCache, XdsServer};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::announcements::announce_service;
use crate::credentials::Credentials;
use crate::line_protocol::{parse_change, print_line, run_commands, unix_nanos};

pub(crate) fn run(credentials: &Credentials, services: usize) -> Result<()> {
    let cache = Arc::new(SharedCache::new());
    for index in 0..services {
        cache.try_update(|cache| announce_service(cache, index, 0))?;
    }
    cache.mark_synced();
    let (_open, relationships) = watch::channel(credentials.server_relationships()?);
    let server = XdsServer::new(Arc::clone(&cache), relationships, ServerLimits::default(), Arc::default());
    let runtime = Runtime::new()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(async move { server.serve(listener, pending()).await });
    print_line(format_args!("ready {address}"));
    run_commands(|line| {
        let (number, cache) = (parse_change(line)?, Arc::clone(&cache));
        // On a worker of the runtime, as in Emcee, where a task makes each change.
        let changed = runtime.spawn(async move {
            let at = unix_nanos();
            cache.try_update(|cache| announce_service(cache, usize::from(number) % services, number))?;
            anyhow::Ok(at)
        });
        let at = runtime.block_on(changed)??;
        print_line(format_args!("changed {at}"));
        Ok(())
    })
}
