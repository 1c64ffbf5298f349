//! Accept loop of all ports, and their graceful shutdown.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// Delay after `accept` fails, which it does for instance when no file descriptors are left.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(200);

/// Listener that serves each connection in a task.
#[derive(Debug)]
pub struct ConnectionListener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    drain_timeout: Duration,
}

impl ConnectionListener {
    /// Creates a listener without a limit of connections. At shutdown the connections have `drain_timeout` to end.
    pub fn new(listener: TcpListener, drain_timeout: Duration) -> Self {
        Self { listener, permits: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)), drain_timeout }
    }

    /// Limits the open connections. Others wait in the listener's backlog.
    #[must_use]
    pub fn with_max_connections(self, count: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(count)), ..self }
    }

    /// Accepts connections until `end` completes, and runs `serve` for each. Its last argument changes or closes when
    /// the connection has to end.
    ///
    /// Returns when all connections have ended, at the latest after the drain timeout, which aborts the others.
    pub async fn serve<F>(
        self,
        end: impl Future<Output = ()>,
        mut serve: impl FnMut(TcpStream, SocketAddr, watch::Receiver<()>) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (until_end, ending) = watch::channel(());
        let mut connections = JoinSet::new();
        let mut end = pin!(end);
        loop {
            tokio::select! {
                // Without `biased`, all branches have a chance under a flood of connections.
                () = &mut end => break,
                // Removes finished tasks, so that the set does not grow with every connection ever made.
                Some(_) = connections.join_next() => {}
                Some((stream, client, permit)) = self.accept() => {
                    // Boxed, because the block below would otherwise have room for this future twice, before and
                    // during its `await`.
                    let connection = Box::pin(serve(stream, client, ending.clone()));
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                    // All other tasks that are ready run before the next connection is accepted. Otherwise a burst of
                    // hundreds of connections would delay the established ones.
                    yield_now().await;
                }
            }
        }
        // The listener is closed first, so that new clients are refused instead of waiting. Dropping the sender wakes
        // every connection.
        drop((self.listener, until_end));
        let last = async { while connections.join_next().await.is_some() {} };
        if timeout(self.drain_timeout, last).await.is_err() {
            debug!("drain timeout expired; closing the remaining connections");
        }
    }

    /// Waits for a permit, then for a connection. `None` only if the semaphore has been closed, which never happens.
    async fn accept(&self) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        // The permit comes first: at the limit, new connections stay in the backlog instead of being accepted.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        loop {
            match self.listener.accept().await {
                Ok((stream, client)) => return Some((stream, client, permit)),
                // The client closed the connection before it was accepted. That is no error of this side.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    warn!(%error, "failed to accept a connection; retrying");
                    sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    async fn bind() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Yields until `accepted` reaches `count`. Returns how many connections were accepted between two turns of this
    /// task, at most.
    async fn count_between_turns(accepted: Arc<AtomicUsize>, count: usize) -> usize {
        let (mut last, mut most) = (0, 0);
        while last < count {
            yield_now().await;
            let now = accepted.load(Ordering::Relaxed);
            most = most.max(now - last);
            last = now;
        }
        most
    }

    #[tokio::test]
    async fn other_tasks_run_between_two_connections_of_a_burst() {
        const BURST: usize = 50;
        let (listener, address) = bind().await;
        let mut clients = Vec::new();
        for _ in 0..BURST {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        let accepted = Arc::<AtomicUsize>::default();
        let counter = tokio::spawn(count_between_turns(Arc::clone(&accepted), BURST));
        let most = Arc::new(AtomicUsize::new(0));
        let end = async { most.store(counter.await.unwrap(), Ordering::Relaxed) };
        let serve = ConnectionListener::new(listener, Duration::ZERO).serve(end, |_, _, _| {
            accepted.fetch_add(1, Ordering::Relaxed);
            pending()
        });
        timeout(Duration::from_mins(1), serve).await.unwrap();
        // Two, if one task runs last in a round and the other first in the next.
        let most = most.load(Ordering::Relaxed);
        assert!((1..=2).contains(&most), "{most}");
    }

    #[tokio::test]
    async fn at_the_limit_a_connection_waits_for_the_end_of_another() {
        let (listener, address) = bind().await;
        let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
        let listener = ConnectionListener::new(listener, Duration::ZERO).with_max_connections(1);
        tokio::spawn(listener.serve(pending(), move |mut stream, client, _| {
            let served = served.clone();
            async move {
                served.send(("begin", client)).unwrap();
                // Ends when the client closes the connection.
                let _end = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                served.send(("end", client)).unwrap();
            }
        }));
        let first = TcpStream::connect(address).await.unwrap();
        let second = TcpStream::connect(address).await.unwrap();
        let [one, two] = [&first, &second].map(|stream| stream.local_addr().unwrap());
        assert_eq!(order.recv().await, Some(("begin", one)));
        drop(first);
        assert_eq!(order.recv().await, Some(("end", one)));
        assert_eq!(order.recv().await, Some(("begin", two)));
    }

    #[tokio::test]
    async fn the_end_reaches_the_connections_and_is_awaited() {
        let (listener, address) = bind().await;
        let (begun, after_begin) = tokio::sync::oneshot::channel();
        let mut begun = Some(begun);
        let (drained, after_drain) = tokio::sync::oneshot::channel();
        let mut drained = Some(drained);
        let _client = TcpStream::connect(address).await.unwrap();
        let end = async { after_begin.await.unwrap() };
        ConnectionListener::new(listener, Duration::from_mins(1))
            .serve(end, |_, _, mut ending| {
                let (begun, drained) = (begun.take().unwrap(), drained.take().unwrap());
                async move {
                    begun.send(()).unwrap();
                    let _closed = ending.changed().await;
                    drained.send(()).unwrap();
                }
            })
            .await;
        assert_eq!(after_drain.await, Ok(()));
    }
}
