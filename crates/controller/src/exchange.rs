//! What the controller and whatever talks to other processes (discovery, MCP) tell each other.
//!
//! The controller never waits for the other side, and the other side's news comes in like that of a watch.

use emcee_core::catalogue::Published;
use emcee_core::inputs::Change;
use emcee_core::plan::Object;
use tokio::sync::{mpsc, watch};

/// The controller's end.
pub(crate) struct Exchange {
    published: mpsc::UnboundedSender<Vec<Published>>,
    said: mpsc::Receiver<Vec<Change>>,
    objects: watch::Sender<Vec<Object>>,
}

/// The other end.
pub struct Counterpart {
    /// What is to be known of relationships and of what is offered: all of it once everything has been seen, and then what
    /// has changed.
    pub published: mpsc::UnboundedReceiver<Vec<Published>>,
    /// What peers say.
    pub say: mpsc::Sender<Vec<Change>>,
    /// All objects of Istio's kinds, where they go to istiod over MCP; else none.
    pub objects: watch::Receiver<Vec<Object>>,
}

/// Batches of news that wait. More come from one peer's reconnect than a controller needs at once.
const SAID: usize = 64;

pub(crate) fn exchange() -> (Exchange, Counterpart) {
    let (publish, published) = mpsc::unbounded_channel();
    let (say, said) = mpsc::channel(SAID);
    let (objects, seen) = watch::channel(Vec::new());
    (Exchange { published: publish, said, objects }, Counterpart { published, say, objects: seen })
}

impl Exchange {
    pub(crate) fn publish(&self, news: Vec<Published>) {
        if !news.is_empty() {
            // Where nobody listens, nobody wants to know.
            let _nobody_listens = self.published.send(news);
        }
    }

    pub(crate) fn show(&self, objects: Vec<Object>) {
        self.objects.send_replace(objects);
    }

    /// The next batch of news; none ever, once the other end is gone.
    pub(crate) async fn hear(&mut self) -> Vec<Change> {
        match self.said.recv().await {
            Some(changes) => changes,
            None => std::future::pending().await,
        }
    }
}
