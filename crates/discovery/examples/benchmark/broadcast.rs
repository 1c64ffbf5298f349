//! Baseline of the benchmark: a tonic server that knows nothing but bytes and sends everyone the same.
//!
//! The bytes are those of Emcee's server stream, taken from it without a socket. TLS is Emcee's, too.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use emcee_discovery::PeerRef;
use emcee_discovery::delta::cache::ResourceCache;
use emcee_discovery::delta::server_stream::{DeltaServerStream, DeltaStreamLimits};
use emcee_discovery::transport::tls::{TlsRelationships, accept};
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

use crate::announcements::announce_service;
use crate::credentials::{Credentials, RELATIONSHIP};
use crate::line_protocol::{parse_change, print_line, run_commands, unix_nanos};

/// Maximum number of changes that a subscriber may lag behind.
const MAX_LAG: usize = 64;

pub(crate) fn run(credentials: &Credentials, services: usize) -> Result<()> {
    let mut source = ResponseSource::new(services)?;
    let (changes, _) = broadcast::channel(MAX_LAG);
    let station = Broadcaster { initial_responses: source.pending_responses()?.into(), changes };
    let runtime = Runtime::new()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(serve(listener, credentials.server_relationships()?, station.clone()));
    print_line(format_args!("ready {address}"));
    let source = Arc::new(Mutex::new(source));
    run_commands(|line| {
        let (number, source, station) = (parse_change(line)?, Arc::clone(&source), station.clone());
        let announced = runtime.spawn(async move {
            let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
            let at = unix_nanos();
            let responses = source.apply_change(usize::from(number) % services, number)?;
            for response in responses {
                station.changes.send(response).context("there are no subscribers")?;
            }
            anyhow::Ok(at)
        });
        let at = runtime.block_on(announced)??;
        print_line(format_args!("changed {at}"));
        Ok(())
    })
}

/// Produces the responses to send.
struct ResponseSource {
    cache: ResourceCache,
    stream: DeltaServerStream,
}

impl ResponseSource {
    fn new(services: usize) -> Result<Self> {
        let mut cache = ResourceCache::default();
        for index in 0..services {
            let _no_streams_yet = announce_service(&mut cache, index, 0)?;
        }
        let mut session =
            DeltaServerStream::new(PeerRef::new(RELATIONSHIP, "anybody"), DeltaStreamLimits::default());
        session.handle_request(&delta_request(""), &cache)?;
        Ok(Self { cache, stream: session })
    }

    fn apply_change(&mut self, index: usize, number: u16) -> Result<Vec<Bytes>> {
        let _changed_views = announce_service(&mut self.cache, index, number)?;
        self.pending_responses()
    }

    fn pending_responses(&mut self) -> Result<Vec<Bytes>> {
        let mut responses = Vec::new();
        while let Some(response) = self.stream.next_response(&self.cache)? {
            responses.push(response.encode_to_vec().into());
            self.stream.handle_request(&delta_request(&response.nonce), &self.cache)?;
        }
        Ok(responses)
    }
}

/// Builds the first request, for all resources, or with a nonce the ACK of a response.
fn delta_request(nonce: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: ENDPOINT_SLICE.to_owned(),
        response_nonce: nonce.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

/// What a subscriber receives: first the current state, then the changes.
#[derive(Clone)]
struct Broadcaster {
    initial_responses: Arc<[Bytes]>,
    changes: broadcast::Sender<Bytes>,
}

impl Broadcaster {
    fn response_stream(&self) -> impl Stream<Item = Result<Bytes, Status>> + Send + use<> {
        let (first, count) = (Arc::clone(&self.initial_responses), self.initial_responses.len());
        let first = stream::iter((0..count).map(move |index| Ok(first[index].clone())));
        let changes = stream::unfold(self.changes.subscribe(), |mut changes| async move {
            let next = changes.recv().await.map_err(|error| Status::aborted(error.to_string()));
            Some((next, changes))
        });
        first.chain(changes)
    }

    fn subscribe(&self, answers: Streaming<()>) -> BoxStream<'static, Result<Bytes, Status>> {
        // ACKs are read and discarded. Unread, they would fill the flow-control window.
        tokio::spawn(discard_acks(answers));
        self.response_stream().boxed()
    }
}

async fn discard_acks(mut answers: Streaming<()>) {
    while let Ok(Some(())) = answers.message().await {}
}

async fn serve(
    listener: TcpListener,
    relationships: Arc<TlsRelationships>,
    station: Broadcaster,
) -> Result<()> {
    let service = service_fn(move |request| {
        let station = station.clone();
        async move {
            let method = service_fn(move |request: Request<Streaming<()>>| {
                let programme = station.subscribe(request.into_inner());
                async { Ok(Response::new(programme)) }
            });
            let answer = tonic::server::Grpc::new(PassthroughCodec).streaming(method, request).await;
            Ok::<_, Infallible>(answer)
        }
    });
    let accepted = accept_peers(listener, relationships);
    Ok(tonic::transport::Server::builder().serve_with_incoming(service, accepted).await?)
}

/// Accepts connections and yields those whose clients have authenticated as peers.
fn accept_peers(
    listener: TcpListener,
    relationships: Arc<TlsRelationships>,
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
struct PassthroughCodec;

impl Codec for PassthroughCodec {
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

impl Encoder for PassthroughCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for PassthroughCodec {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        from.advance(from.remaining());
        Ok(Some(()))
    }
}
