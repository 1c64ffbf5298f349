//! Emcee without a cluster: a folder of resources in, a folder of objects and statuses out.
//!
//! ```text
//!  DIR ──► manifest ──► follower (last good versions) ──► emcee-core ──► plan ──► out ──► OUT
//! ```
//! The folder is polled by content, as Kubernetes' volumes swap links under a file's name, which watches miss.
//!
//! What discovery tells comes in between looks, and what it has to know goes out after each change. The folder of
//! statuses is its memory: from it a restart knows what peers announced.

mod disk;
mod follower;
mod given;
mod health;
mod out;
mod place;
mod trouble;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use emcee_core::catalogue::{Listing, Published};
use emcee_core::inputs::{Change, Settings};
use emcee_core::plan::Object;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use crate::console::Console;
use crate::discovery::Ends;
use crate::manifest;
use follower::Follower;
use health::FolderHealth;
use out::OutFolder;

/// What to follow, and where to write.
#[derive(Clone, Debug)]
pub struct Folders {
    /// The folder of resources.
    pub dir: PathBuf,
    /// The folder of objects and statuses.
    pub out: PathBuf,
}

/// A folder followed into another.
pub struct Standalone {
    folders: Folders,
    follower: Follower,
    out: OutFolder,
    seen: Option<u64>,
    applied: Option<u64>,
    discovery: Option<DiscoveryEnds>,
    views: watch::Sender<View>,
}

/// What is known and wanted.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Whether the folder has been read.
    pub is_complete: bool,
    /// What is offered, each way.
    pub listing: Vec<Listing>,
    /// The objects, in the order of applying.
    pub objects: Vec<Object>,
}

/// This side of what discovery is told, and tells.
struct DiscoveryEnds {
    publish: mpsc::UnboundedSender<Vec<Published>>,
    said: mpsc::Receiver<Vec<Change>>,
}

/// Batches of news of peers that wait.
const SAID: usize = 64;

impl Standalone {
    /// Opens the folders. Nothing is written yet.
    ///
    /// # Errors
    /// DIR is no folder, OUT cannot be made or lies in DIR.
    pub fn open(folders: Folders, settings: Settings) -> io::Result<Self> {
        if !folders.dir.is_dir() {
            return Err(io::Error::other(format!("{} is not a folder (--dir)", folders.dir.display())));
        }
        let dir = folders.dir.canonicalize()?;
        let lies_in_dir = |out: &Path| out.starts_with(&dir);
        let message = format!(
            "{} lies in {}, and would be read as input (choose another --out)",
            folders.out.display(),
            folders.dir.display()
        );
        if lies_in_dir(&std::path::absolute(&folders.out)?) {
            return Err(io::Error::other(message));
        }
        fs::create_dir_all(&folders.out).map_err(|error| {
            io::Error::new(error.kind(), format!("{} cannot be made: {error} (--out)", folders.out.display()))
        })?;
        if lies_in_dir(&folders.out.canonicalize()?) {
            return Err(io::Error::other(message));
        }
        let out = OutFolder::open(&folders.out);
        let follower = Follower::new(settings);
        Ok(Self {
            folders,
            follower,
            out,
            seen: None,
            applied: None,
            discovery: None,
            views: watch::channel(View::default()).0,
        })
    }

    /// What is known and wanted, as it changes.
    pub fn views(&self) -> watch::Receiver<View> {
        self.views.subscribe()
    }

    /// What the admin port shows.
    pub(crate) fn health(&self) -> FolderHealth {
        FolderHealth::new(self.views())
    }

    /// The ends of discovery, which is told of everything from the first look on.
    pub(crate) fn discovery(&mut self) -> Ends {
        let (publish, published) = mpsc::unbounded_channel();
        let (say, said) = mpsc::channel(SAID);
        self.discovery = Some(DiscoveryEnds { publish, said });
        Ends { published, say, follows: watch::channel(true).1 }
    }

    /// Whether anything is refused now, or somebody else's file is in the way.
    pub fn is_refused(&self) -> bool {
        self.follower.is_refused() || self.out.has_refusals()
    }

    /// Whether a file or folder could not be written, removed or read at the last look.
    pub fn has_failures(&self) -> bool {
        self.out.has_failures()
    }

    /// Looks at the folder once. A new content is taken in when it has stood for two looks, so that a file that is
    /// being written is not read half; `at_once` takes it in now.
    pub fn look(&mut self, at_once: bool, console: &mut Console<'_>) -> io::Result<()> {
        let content = manifest::fingerprint(std::slice::from_ref(&self.folders.dir));
        let settled = at_once || self.seen == Some(content);
        self.seen = Some(content);
        let fresh = settled && self.applied != Some(content);
        if fresh {
            let mut reading = manifest::read(std::slice::from_ref(&self.folders.dir), io::empty());
            self.out.remind(&mut reading);
            self.follower.follow(&reading, console)?;
            self.applied = Some(content);
        }
        let is_news = self.follower.set_time(Timestamp::now()) || fresh;
        self.write(is_news, console)
    }

    /// Takes in what peers say.
    fn hear(&mut self, changes: Vec<Change>, console: &mut Console<'_>) -> io::Result<()> {
        self.follower.hear(changes, console)?;
        self.write(true, console)
    }

    /// Makes the folder what it should be. News changes what that is, and discovery is told of them first.
    fn write(&mut self, is_news: bool, console: &mut Console<'_>) -> io::Result<()> {
        if is_news {
            self.out.plan(&self.follower)?;
            self.spend();
        }
        self.out.write(&self.follower, console)
    }

    /// Tells discovery, and who looks in, what has changed.
    fn spend(&mut self) {
        let translation = self.follower.translation();
        if self.views.receiver_count() > 0 {
            let objects = translation.objects();
            self.views.send_replace(View { is_complete: true, listing: translation.listing(), objects });
        }
        let published = self.follower.published();
        if let Some(discovery) = &self.discovery {
            // Where it has ended, the process is about to.
            let _ended = discovery.publish.send(published);
        }
    }

    /// Looks at the folder again and again, until `end` comes.
    pub async fn run(
        &mut self,
        every: Duration,
        end: impl Future<Output = ()>,
        console: &mut Console<'_>,
    ) -> io::Result<()> {
        self.look(true, console)?;
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tokio::pin!(end);
        loop {
            let news = async {
                tokio::select! {
                    changes = said(&mut self.discovery) => Some(changes),
                    _ = ticks.tick() => None,
                }
            };
            // The end first: peers can say something at every turn.
            let news = tokio::select! {
                biased;
                () = &mut end => return Ok(()),
                news = news => news,
            };
            let done = match news {
                Some(changes) => self.hear(changes, console),
                None => self.look(false, console),
            };
            if let Err(error) = done {
                console.refusal(format_args!("emcee: {error} (tried again)"))?;
            }
        }
    }
}

/// The next of what peers say; never, without discovery.
async fn said(discovery: &mut Option<DiscoveryEnds>) -> Vec<Change> {
    let Some(discovery) = discovery else { return std::future::pending().await };
    match discovery.said.recv().await {
        Some(changes) => changes,
        None => std::future::pending().await,
    }
}
