//! Baseline of the benchmark: a tonic server that knows nothing but bytes and sends everyone the same.
//!
//! The bytes are those of Emcee's server stream, taken from it without a socket. TLS is Emcee's, too.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use emcee_discovery::Audience;
use emcee_discovery::session::{Limits, Session};
use emcee_discovery::shelf::Shelf;
use emcee_discovery::tls::{Relationships, accept};
use emcee_discovery::wire::{DeltaDiscoveryRequest, ENDPOINT_SLICE};
use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};
use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _, Bytes};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, mpsc};
use tokio_rustls::server::TlsStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Response, Status, Streaming};
use tower::service_fn;

use crate::credentials::{Credentials, RELATIONSHIP};
use crate::lines::{change, now, obey, say};
use crate::offers::offer;

/// Maximum number of changes that a subscriber may lag behind.
const BEHIND: usize = 64;

pub(crate) fn run(credentials: &Credentials, services: usize) -> Result<()> {
    let mut source = Source::new(services)?;
    let (changes, _) = broadcast::channel(BEHIND);
    let station = Station { first: source.responses()?.into(), changes };
    let runtime = Runtime::new()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(serve(listener, credentials.of_server()?, station.clone()));
    say(format_args!("ready {address}"));
    let source = Arc::new(Mutex::new(source));
    obey(|line| {
        let (number, source, station) = (change(line)?, Arc::clone(&source), station.clone());
        let announced = runtime.spawn(async move {
            let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
            let at = now();
            let responses = source.change(usize::from(number) % services, number)?;
            for response in responses {
                station.changes.send(response).context("there are no subscribers")?;
            }
            anyhow::Ok(at)
        });
        let at = runtime.block_on(announced)??;
        say(format_args!("changed {at}"));
        Ok(())
    })
}

/// Produces the responses to send.
struct Source {
    shelf: Shelf,
    session: Session,
}

impl Source {
    fn new(services: usize) -> Result<Self> {
        let mut cache = Shelf::default();
        for index in 0..services {
            let _no_streams_yet = offer(&mut cache, index, 0)?;
        }
        let mut session = Session::new(Audience::new(RELATIONSHIP, "anybody"), Limits::default());
        session.receive(&request(""), &cache)?;
        Ok(Self { shelf: cache, session })
    }

    fn change(&mut self, index: usize, number: u16) -> Result<Vec<Bytes>> {
        let _changed_views = offer(&mut self.shelf, index, number)?;
        self.responses()
    }

    fn responses(&mut self) -> Result<Vec<Bytes>> {
        let mut responses = Vec::new();
        while let Some(response) = self.session.next(&self.shelf)? {
            responses.push(response.encode_to_vec().into());
            self.session.receive(&request(&response.nonce), &self.shelf)?;
        }
        Ok(responses)
    }
}

/// Builds the first request, for all resources, or with a nonce the ACK of a response.
fn request(nonce: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: ENDPOINT_SLICE.to_owned(),
        response_nonce: nonce.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

/// What a subscriber receives: first the current state, then the changes.
#[derive(Clone)]
struct Station {
    first: Arc<[Bytes]>,
    changes: broadcast::Sender<Bytes>,
}

impl Station {
    fn programme(&self) -> impl Stream<Item = Result<Bytes, Status>> + Send + use<> {
        let (first, count) = (Arc::clone(&self.first), self.first.len());
        let first = stream::iter((0..count).map(move |index| Ok(first[index].clone())));
        let changes = stream::unfold(self.changes.subscribe(), |mut changes| async move {
            let next = changes.recv().await.map_err(|error| Status::aborted(error.to_string()));
            Some((next, changes))
        });
        first.chain(changes)
    }

    fn subscribe(&self, answers: Streaming<()>) -> BoxStream<'static, Result<Bytes, Status>> {
        // ACKs are read and discarded. Unread, they would fill the flow-control window.
        tokio::spawn(forget(answers));
        self.programme().boxed()
    }
}

async fn forget(mut answers: Streaming<()>) {
    while let Ok(Some(())) = answers.message().await {}
}

async fn serve(listener: TcpListener, relationships: Arc<Relationships>, station: Station) -> Result<()> {
    let service = service_fn(move |request| {
        let station = station.clone();
        async move {
            let method = service_fn(move |request: Request<Streaming<()>>| {
                let programme = station.subscribe(request.into_inner());
                async { Ok(Response::new(programme)) }
            });
            let answer = tonic::server::Grpc::new(Untouched).streaming(method, request).await;
            Ok::<_, Infallible>(answer)
        }
    });
    let accepted = handshakes(listener, relationships);
    Ok(tonic::transport::Server::builder().serve_with_incoming(service, accepted).await?)
}

/// Accepts connections and yields those whose clients have authenticated as peers.
fn handshakes(
    listener: TcpListener,
    relationships: Arc<Relationships>,
) -> impl Stream<Item = Result<TlsStream<TcpStream>>> {
    let (sender, accepted) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (relationships, sender) = (Arc::clone(&relationships), sender.clone());
            tokio::spawn(async move {
                stream.set_nodelay(true)?;
                let (stream, _) = accept(stream, &relationships).await?;
                sender.send(stream).await.context("the server has ended")
            });
        }
    });
    stream::unfold(accepted, |mut accepted| async { Some((Ok(accepted.recv().await?), accepted)) })
}

/// Codec that passes bytes through unchanged. Messages of clients are discarded.
#[derive(Clone, Copy)]
struct Untouched;

impl Codec for Untouched {
    type Encode = Bytes;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Untouched {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Untouched {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        from.advance(from.remaining());
        Ok(Some(()))
    }
}
