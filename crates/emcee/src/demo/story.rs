//! The steps of the demo, in order. Each step waits for its result, and fails if the result does not appear in time.

use std::time::Duration;

use anyhow::{Context as _, bail};
use emcee_core::catalogue::{CatalogueReport, PeerReport, PeerSyncState};
use emcee_core::plan::GeneratedObject;

use super::scene::{self, plural};
use super::{Mesh, Meshes};
use crate::console::Console;
use crate::standalone::View;

/// Time limit for the result of one step. Each usually takes a second or two.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the steps of the demo, and prints their results.
pub(super) struct Story<'a, 'c, 'o> {
    meshes: &'a mut Meshes,
    console: &'c mut Console<'o>,
}

impl<'a, 'c, 'o> Story<'a, 'c, 'o> {
    pub(super) fn new(meshes: &'a mut Meshes, console: &'c mut Console<'o>) -> Self {
        Self { meshes, console }
    }

    /// Runs all steps.
    ///
    /// # Errors
    /// A step failed. The error names the result that did not appear, and the directories of the mesh.
    pub(super) async fn tell(&mut self) -> anyhow::Result<()> {
        self.say(scene::OPENING)?;
        self.meshes.m1.start()?;
        self.announced().await?;
        self.arrived().await?;
        self.configured().await?;
        self.unlisted().await?;
        let held = self.killed().await?;
        self.returned(&held).await?;
        self.say(scene::END)
    }

    async fn announced(&mut self) -> anyhow::Result<()> {
        self.chapter("What each mesh announces, and to whom")?;
        let m2 = see(&self.meshes.m2, "m2 announces reviews to m1, and not httpbin", |view| {
            names(view, "blue", "m1", offered) == ["reviews"]
        });
        let m4 = see(&self.meshes.m4, "m4 announces ratings to m1", |view| {
            names(view, "yellow", "m1", offered) == ["ratings"]
        });
        // Printed only when both have arrived, so that the table is the same in each run.
        let (m2, m4) = (m2.await?, m4.await?);
        self.say(&scene::offers(&[("m2", &m2), ("m4", &m4)]))?;
        self.say("httpbin of m2 is exposed as well, with directory: false. m1 can call it, but it is not announced.\n")
    }

    async fn arrived(&mut self) -> anyhow::Result<()> {
        self.chapter("What m1 receives")?;
        let view = see(&self.meshes.m1, "m1 uses reviews of m2 and ratings of m4", |view| {
            bound(view, "blue", "m2") == ["reviews"] && bound(view, "yellow", "m4") == ["ratings"]
        });
        let view = view.await?;
        self.say(&scene::arrivals(&view))?;
        self.say(
            "reviews was bound automatically (import: Automatic). ratings was bound by a user: its ServiceBinding contains\n\
             neither endpoints nor identities, as discovery provides them.\n",
        )
    }

    async fn configured(&mut self) -> anyhow::Result<()> {
        self.chapter("The Istio objects in m1")?;
        let view = see(&self.meshes.m1, "m1 has objects for both", |view| {
            has_objects(view, "reviews") && has_objects(view, "ratings")
        });
        let view = view.await?;
        self.say(&scene::objects(&view))?;
        self.say(
            "Applications in m1 call http://reviews:9080 and http://ratings:9080, as if both ran in m1.\n",
        )
    }

    async fn unlisted(&mut self) -> anyhow::Result<()> {
        self.chapter("m2 no longer announces reviews")?;
        self.meshes.m2.edit("directory: true", "directory: false")?;
        let view = see(&self.meshes.m1, "m1 removes reviews", |view| {
            bound(view, "blue", "m2").is_empty()
                && !has_objects(view, "reviews")
                && has_objects(view, "ratings")
        });
        let view = view.await?;
        let left = view.objects.len();
        self.say(&format!(
            "m1 has removed the ServiceBinding for reviews and its objects. ratings is unchanged ({}).\n",
            plural(left, "object")
        ))?;
        // Replaces the first occurrence: that of reviews, which the edit above changed. httpbin's comes later in the
        // file.
        self.meshes.m2.edit("directory: false", "directory: true")?;
        let back = see(&self.meshes.m1, "reviews is back", |view| {
            bound(view, "blue", "m2") == ["reviews"] && has_objects(view, "reviews")
        });
        back.await?;
        self.say("m2 announces reviews again, and m1 binds it again.\n")
    }

    /// Kills m2's Emcee. Returns the objects of m1 afterwards, which the next step compares with.
    async fn killed(&mut self) -> anyhow::Result<Vec<GeneratedObject>> {
        self.chapter("m2's Emcee is killed")?;
        self.meshes.m2.kill();
        let view = see(&self.meshes.m1, "m1 has lost m2, and keeps the objects for reviews", |view| {
            let lost = peer(view, "blue", "m2").is_some_and(|peer| !connected(peer));
            // The other relationship must stay connected.
            let other = peer(view, "yellow", "m4").is_some_and(connected);
            lost && other && bound(view, "blue", "m2") == ["reviews"] && has_objects(view, "reviews")
        });
        let view = view.await?;
        self.say(&scene::peers(&view))?;
        self.say(
            "An unreachable peer is not a withdrawal: all objects for reviews stay in place, and traffic would continue.\n\
             The relationship yellow is not affected.\n",
        )?;
        Ok(view.objects)
    }

    async fn returned(&mut self, held: &[GeneratedObject]) -> anyhow::Result<()> {
        self.chapter("m2's Emcee is back")?;
        self.meshes.m2.start()?;
        let view = see(&self.meshes.m1, "m1 is connected to m2 again", |view| {
            peer(view, "blue", "m2").is_some_and(connected) && view.objects == held
        });
        let view = view.await?;
        self.say(&scene::peers(&view))?;
        self.say("All objects in m1 are unchanged.\n")
    }

    fn chapter(&mut self, title: &str) -> anyhow::Result<()> {
        self.say(&format!("\n== {title}\n\n"))
    }

    fn say(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.console.data(text)?)
    }
}

/// Waits until the view of a mesh satisfies `is`, and returns that view. `what` describes it in the error.
async fn see(mesh: &Mesh, what: &str, is: impl FnMut(&View) -> bool) -> anyhow::Result<View> {
    let mut views = mesh.views();
    let mut is = is;
    // Evaluated on the current view first: a result that is already there does not have to change again.
    let seen = tokio::time::timeout(PATIENCE, views.wait_for(|view| is(view))).await;
    match seen {
        Ok(seen) => Ok(seen.with_context(|| format!("{} has stopped", mesh.name))?.clone()),
        Err(_) => bail!(
            "not observed within {} s: {what} (folders of the mesh: {} and {})",
            PATIENCE.as_secs(),
            mesh.dir.display(),
            mesh.out.display()
        ),
    }
}

fn peer<'v>(view: &'v View, relationship: &str, name: &str) -> Option<&'v PeerReport> {
    let listing: &CatalogueReport =
        view.listing.iter().find(|listing| listing.relationship == relationship)?;
    listing.peers.iter().find(|peer| &*peer.name == name)
}

fn connected(peer: &PeerReport) -> bool {
    peer.state.as_ref().is_some_and(PeerSyncState::is_connected)
}

fn offered(peer: &PeerReport) -> Vec<&str> {
    peer.announced_to_peer.iter().map(|offer| &*offer.key.name).collect()
}

/// Names of those services announced by a peer that at least one ServiceBinding uses.
fn bound<'v>(view: &'v View, relationship: &str, name: &str) -> Vec<&'v str> {
    let used = |peer: &'v PeerReport| {
        let bound = peer.announced_by_peer.iter().filter(|announced| !announced.bindings.is_empty());
        bound.map(|announced| &*announced.announcement.key.name).collect()
    };
    peer(view, relationship, name).map(used).unwrap_or_default()
}

fn names<'v>(
    view: &'v View,
    relationship: &str,
    name: &str,
    of: fn(&'v PeerReport) -> Vec<&'v str>,
) -> Vec<&'v str> {
    peer(view, relationship, name).map(of).unwrap_or_default()
}

/// Whether objects of Istio's kinds exist whose owner has that name.
fn has_objects(view: &View, facade: &str) -> bool {
    view.objects
        .iter()
        .any(|object: &GeneratedObject| object.kind().is_istio() && *object.owner.key.name == *facade)
}

#[cfg(test)]
mod tests;
