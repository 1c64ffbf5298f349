//! File mode: runs Emcee without a cluster. Reads a directory of resources, and writes a directory of objects and
//! statuses.
//!
//! ```text
//!  DIR ──► yaml ──► reconcile (last good versions) ──► emcee-core ──► plan ──► output_dir ──► OUT
//! ```
//! The directory is polled, and its content is compared. Kubernetes volumes swap a link above the files, which file
//! watches miss.
//!
//! Changes of peers are applied between two polls, and catalogue updates are published after each change. After a
//! restart, the files of the statuses tell what the peers have announced.

mod declared;
mod disk;
mod health;
mod input_id;
mod output_dir;
mod output_error;
mod output_path;
mod reconcile;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use emcee_core::catalogue::{CatalogueReport, CatalogueUpdate};
use emcee_core::inputs::{InputChange, TranslationSettings};
use emcee_core::plan::GeneratedObject;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use crate::console::Console;
use crate::run::discovery::DiscoveryChannels;
use health::FileModeHealth;
use output_dir::OutputDir;
use reconcile::FileReconciler;

/// Input and output directories of file mode.
#[derive(Clone, Debug)]
pub struct FileModeDirs {
    /// Directory of resources, which is only read.
    pub dir: PathBuf,
    /// Directory of objects and statuses. Must not be inside `dir`.
    pub out: PathBuf,
}

/// Emcee in file mode: keeps the output directory equal to what the resources of the input directory ask for.
pub struct FileMode {
    dirs: FileModeDirs,
    reconciler: FileReconciler,
    output: OutputDir,
    /// Hash of the content at the last poll.
    last_fingerprint: Option<u64>,
    /// Hash of the content that was applied last.
    applied_fingerprint: Option<u64>,
    discovery: Option<FileModeLink>,
    views: watch::Sender<FileModeView>,
}

/// State of file mode, for the admin port and the demo.
#[derive(Clone, Debug, Default)]
pub struct FileModeView {
    /// Whether the input directory has been read once.
    pub is_complete: bool,
    /// Announcements of each relationship, in both directions.
    pub listing: Vec<CatalogueReport>,
    /// Generated objects, in the order of applying.
    pub objects: Vec<GeneratedObject>,
}

/// File mode's side of the channels between it and discovery.
struct FileModeLink {
    updates: mpsc::UnboundedSender<Vec<CatalogueUpdate>>,
    peer_changes: mpsc::Receiver<Vec<InputChange>>,
}

/// Capacity of the queue of peer changes, in batches.
const PEER_CHANGE_QUEUE: usize = 64;

impl FileMode {
    /// Opens the directories, and creates the output directory if needed. Writes nothing else yet.
    ///
    /// # Errors
    /// DIR is not a directory, or OUT cannot be created or is inside DIR.
    pub fn open(folders: FileModeDirs, settings: TranslationSettings) -> io::Result<Self> {
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
        // Checked twice: before OUT is created, and after, when links in its path can be resolved.
        if lies_in_dir(&std::path::absolute(&folders.out)?) {
            return Err(io::Error::other(message));
        }
        fs::create_dir_all(&folders.out).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("{} cannot be created: {error} (--out)", folders.out.display()),
            )
        })?;
        if lies_in_dir(&folders.out.canonicalize()?) {
            return Err(io::Error::other(message));
        }
        let out = OutputDir::open(&folders.out);
        let reconciler = FileReconciler::new(settings);
        Ok(Self {
            dirs: folders,
            reconciler,
            output: out,
            last_fingerprint: None,
            applied_fingerprint: None,
            discovery: None,
            views: watch::channel(FileModeView::default()).0,
        })
    }

    /// Subscribes to the state, which is updated after each change.
    pub fn subscribe_views(&self) -> watch::Receiver<FileModeView> {
        self.views.subscribe()
    }

    /// Health and introspection for the admin port.
    pub(crate) fn health(&self) -> FileModeHealth {
        FileModeHealth::new(self.subscribe_views())
    }

    /// Creates the channels to discovery. Call it before the first poll, so that the first batch is a full snapshot.
    pub(crate) fn connect_discovery(&mut self) -> DiscoveryChannels {
        let (publish, published) = mpsc::unbounded_channel();
        let (say, changes) = mpsc::channel(PEER_CHANGE_QUEUE);
        self.discovery = Some(FileModeLink { updates: publish, peer_changes: changes });
        // There is no leader election in file mode: the value never changes, and stays readable without its sender.
        DiscoveryChannels { updates: published, peer_changes: say, is_subscriber: watch::channel(true).1 }
    }

    /// Whether an input is refused, or an object cannot be written because of its name or a file that Emcee does not
    /// manage.
    pub fn has_refusals(&self) -> bool {
        self.reconciler.has_refusals() || self.output.has_refusals()
    }

    /// Whether a file or directory could not be written, removed or read at the last poll.
    pub fn has_failures(&self) -> bool {
        self.output.has_failures()
    }

    /// Reads the input directory once, and updates the output directory.
    ///
    /// New content is applied when two successive polls find the same, so that a file is not read while it is being
    /// written. With `at_once` it is applied immediately.
    ///
    /// # Errors
    /// The console cannot be written to, or an object cannot be serialized.
    pub fn poll(&mut self, at_once: bool, console: &mut Console<'_>) -> io::Result<()> {
        let content = emcee_yaml::fingerprint(std::slice::from_ref(&self.dirs.dir));
        let settled = at_once || self.last_fingerprint == Some(content);
        self.last_fingerprint = Some(content);
        let fresh = settled && self.applied_fingerprint != Some(content);
        if fresh {
            let mut reading = emcee_yaml::read_paths(std::slice::from_ref(&self.dirs.dir), io::empty());
            // Before the resources are parsed, as the announcement in a binding's status is part of the input.
            self.output.restore_status(&mut reading);
            self.reconciler.reconcile(&reading, console)?;
            self.applied_fingerprint = Some(content);
        }
        // The time can change the result as well: certificates expire. The output is checked at each poll in any case,
        // as somebody may have changed it.
        let is_news = self.reconciler.set_time(Timestamp::now()) || fresh;
        self.write_output(is_news, console)
    }

    /// Applies changes of the peers, and updates the output directory.
    fn apply_peer_changes(&mut self, changes: Vec<InputChange>, console: &mut Console<'_>) -> io::Result<()> {
        self.reconciler.apply_peer_changes(changes, console)?;
        self.write_output(true, console)
    }

    /// Makes the output directory equal to the plan. If `is_news`, first computes the plan again and publishes updates.
    fn write_output(&mut self, is_news: bool, console: &mut Console<'_>) -> io::Result<()> {
        if is_news {
            self.output.update_plan(&self.reconciler)?;
            self.publish_updates();
        }
        self.output.apply(&self.reconciler, console)
    }

    /// Publishes what has changed to discovery and to subscribers of the state.
    fn publish_updates(&mut self) {
        let translation = self.reconciler.translation();
        // Without a subscriber, the objects would be built for nothing.
        if self.views.receiver_count() > 0 {
            let objects = translation.objects();
            self.views.send_replace(FileModeView {
                is_complete: true,
                listing: translation.catalogue_reports(),
                objects,
            });
        }
        let published = self.reconciler.take_catalogue_updates();
        if let Some(discovery) = &self.discovery {
            // An error means that discovery has stopped, and that the process is about to end.
            let _ended = discovery.updates.send(published);
        }
    }

    /// Polls the input directory at the interval `every`, and applies changes of peers, until `end` resolves.
    ///
    /// # Errors
    /// The first poll fails, or the console cannot be written to. Later errors are printed, and the next poll tries
    /// again.
    pub async fn run(
        &mut self,
        every: Duration,
        end: impl Future<Output = ()>,
        console: &mut Console<'_>,
    ) -> io::Result<()> {
        self.poll(true, console)?;
        let mut ticks = tokio::time::interval(every);
        // A slow poll delays the next one: no burst of polls afterwards.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tokio::pin!(end);
        loop {
            let updates = async {
                tokio::select! {
                    changes = next_peer_changes(&mut self.discovery) => Some(changes),
                    _ = ticks.tick() => None,
                }
            };
            // `biased`: peers may have a change ready in each iteration, which must not delay the end.
            let updates = tokio::select! {
                biased;
                () = &mut end => return Ok(()),
                polled = updates => polled,
            };
            let done = match updates {
                Some(changes) => self.apply_peer_changes(changes, console),
                None => self.poll(false, console),
            };
            if let Err(error) = done {
                console.print_error(format_args!("emcee: {error} (tried again)"))?;
            }
        }
    }
}

/// The next changes of peers. Pending forever without discovery, or after discovery has stopped.
async fn next_peer_changes(discovery: &mut Option<FileModeLink>) -> Vec<InputChange> {
    let Some(discovery) = discovery else { return std::future::pending().await };
    match discovery.peer_changes.recv().await {
        Some(changes) => changes,
        None => std::future::pending().await,
    }
}
