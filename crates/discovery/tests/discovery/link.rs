//! Server and client, and a connection that loses messages in transit when it breaks. Only bytes are transferred.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use emcee_core::catalogue::Announcement;
use emcee_discovery::PeerRef;
use emcee_discovery::delta::cache::ResourceCache;
use emcee_discovery::delta::client_stream::{AnnouncementEvent, DeltaClient, DeltaClientSettings};
use emcee_discovery::delta::server_stream::{DeltaServerStream, DeltaStreamLimits};
use emcee_discovery::wire::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use prost::Message;

/// The client rejects announcements with this port.
pub(crate) const REJECTED_PORT: u16 = 666;

/// The client of one peer, and its stream while it is connected.
pub(crate) struct Link {
    peer: PeerRef,
    pub(crate) client: DeltaClient,
    pub(crate) stream: Option<LinkStream>,
    pub(crate) now: Instant,
    /// Whether announcements with [`REJECTED_PORT`] are rejected.
    pub(crate) is_strict: bool,
    /// Every byte that the client has received.
    pub(crate) received_bytes: Vec<u8>,
    /// Number of resources that the client has received.
    pub(crate) received_resources: usize,
}

pub(crate) struct LinkStream {
    pub(crate) server_stream: DeltaServerStream,
    requests: VecDeque<Vec<u8>>,
    responses: VecDeque<Vec<u8>>,
}

pub(crate) fn validate_port(announcement: &Announcement, is_strict: bool) -> Result<(), String> {
    if is_strict && announcement.port == REJECTED_PORT {
        Err(format!("port {REJECTED_PORT} is not wanted"))
    } else {
        Ok(())
    }
}

impl Link {
    pub(crate) fn new(relationship: &str, peer: &str) -> Self {
        let now = Instant::now();
        Self {
            peer: PeerRef::new(relationship, peer),
            client: DeltaClient::new(DeltaClientSettings::default(), now),
            stream: None,
            now,
            is_strict: true,
            received_bytes: Vec::new(),
            received_resources: 0,
        }
    }

    pub(crate) fn connect(&mut self) {
        self.disconnect();
        let first = self.client.start_stream().encode_to_vec();
        let session = DeltaServerStream::new(self.peer.clone(), DeltaStreamLimits::default());
        self.stream =
            Some(LinkStream { server_stream: session, requests: [first].into(), responses: VecDeque::new() });
    }

    pub(crate) fn disconnect(&mut self) {
        if self.stream.take().is_some() {
            self.client.end_stream(self.now);
        }
    }

    /// Sends one response of the server, if it has one. An error ends the stream.
    pub(crate) fn send_response(&mut self, cache: &ResourceCache) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        match stream.server_stream.next_response(cache) {
            Ok(None) => false,
            Ok(Some(response)) => {
                stream.responses.push_back(response.encode_to_vec());
                true
            }
            Err(_) => {
                self.disconnect();
                true
            }
        }
    }

    /// Delivers one request to the server. Returns whether there was one.
    pub(crate) fn deliver_request(&mut self, cache: &ResourceCache) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let Some(bytes) = stream.requests.pop_front() else { return false };
        let request = DeltaDiscoveryRequest::decode(&*bytes).expect("an encoded message");
        stream.server_stream.handle_request(&request, cache).expect("a valid request");
        true
    }

    /// Delivers one response to the client. Returns its events, or `None` if there was no response.
    pub(crate) fn deliver_response(&mut self) -> Option<Vec<AnnouncementEvent>> {
        let stream = self.stream.as_mut()?;
        let bytes = stream.responses.pop_front()?;
        self.received_bytes.extend(&bytes);
        let response = DeltaDiscoveryResponse::decode(&*bytes).expect("an encoded message");
        self.received_resources += response.resources.len();
        let is_strict = self.is_strict;
        let validate = move |announcement: &Announcement| validate_port(announcement, is_strict);
        let (events, answer) =
            self.client.handle_response(response, &validate, self.now).expect("a valid response");
        stream.requests.push_back(answer.encode_to_vec());
        Some(events)
    }

    /// Changes which announcements the client accepts.
    pub(crate) fn revalidate(&mut self, is_strict: bool) -> Vec<AnnouncementEvent> {
        self.is_strict = is_strict;
        let (events, again) = self.client.revalidate(&|announcement| validate_port(announcement, is_strict));
        if let Some(stream) = self.stream.as_mut().filter(|_| !again.is_empty()) {
            stream.requests.push_back(DeltaClient::refetch_request(&again).encode_to_vec());
        }
        events
    }

    pub(crate) fn advance_time(&mut self, time: Duration) -> Vec<AnnouncementEvent> {
        self.now += time;
        self.client.process_timers(self.now)
    }

    /// Delivers all messages until neither side has anything to send.
    pub(crate) fn run_until_idle(&mut self, cache: &ResourceCache) -> Vec<AnnouncementEvent> {
        let mut events = Vec::new();
        loop {
            if self.stream.is_none() {
                self.connect();
            }
            let mut is_quiet = !self.deliver_request(cache);
            is_quiet &= !self.send_response(cache);
            if let Some(more) = self.deliver_response() {
                is_quiet = false;
                events.extend(more);
            }
            if is_quiet {
                return events;
            }
        }
    }

    pub(crate) fn announcements(&self) -> Vec<Announcement> {
        self.client.announcements().collect()
    }

    /// Returns whether the client has received these bytes in any message.
    pub(crate) fn has_received(&self, text: &str) -> bool {
        self.received_bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }
}
