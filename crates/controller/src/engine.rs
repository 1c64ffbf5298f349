//! The pipeline without I/O: facts in, writes out.

use std::collections::HashSet;
use std::time::Instant;

use emcee_core::catalogue::Published;
use emcee_core::inputs::Change;
use emcee_core::plan::Object;
use emcee_core::translate::Unit;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::apply::{Desk, Fault, Ticket, Write, Written};
use crate::health::Offers;
use crate::metrics::Metrics;
use crate::observe::fact::Fact;
use crate::options::Options;
use crate::report::{Report, Reports, Transition};
use crate::translate::Model;

/// How far the time may move before certificates are judged again, in seconds.
const HOUR: i64 = 3600;

/// The pipeline without I/O.
pub(crate) struct Engine {
    model: Model,
    /// Facts that came before everything had been seen once.
    early: Vec<Fact>,
    started: bool,
    /// What discovery has not been told yet.
    unpublished: Vec<Published>,
    /// Where istiod gets its objects over MCP: whether they may have changed since they were last shown.
    unshown: Option<bool>,
    /// What the replica that writes has to write.
    writing: Option<Writing>,
    metrics: Metrics,
}

struct Writing {
    desk: Desk,
    reports: Reports,
    open: bool,
    statuses_turn: bool,
}

/// What a write is for; to be given back with its outcome.
#[derive(Debug)]
pub(crate) enum Task {
    Object(Ticket),
    Status(Report),
}

impl Engine {
    pub(crate) fn new(options: &Options, metrics: Metrics) -> Self {
        Self {
            model: Model::new(options),
            early: Vec::new(),
            started: false,
            unpublished: Vec::new(),
            unshown: options.mcp.then_some(false),
            writing: None,
            metrics,
        }
    }

    /// Every watch of inputs has answered once: what has not been seen does not exist.
    pub(crate) fn start(&mut self) {
        self.started = true;
        // Also if there is nothing: istiod waits until it has heard that.
        if let Some(unshown) = &mut self.unshown {
            *unshown = true;
        }
        let early = std::mem::take(&mut self.early);
        self.see(early);
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started
    }

    /// This replica is the one that writes: what is in the cluster is to be learned from now on.
    pub(crate) fn begin_writing(&mut self) {
        let reports = Reports::new(self.metrics.clone());
        let mut writing =
            Writing { desk: Desk::new(self.unshown.is_some()), reports, open: false, statuses_turn: false };
        self.metrics.set_leader(true);
        let units: Vec<Unit> = self.model.translation().units().cloned().collect();
        writing.desk.plan(&self.model, &units);
        self.writing = Some(writing);
    }

    /// What is in the cluster has been seen.
    pub(crate) fn open(&mut self) {
        let Some(writing) = &mut self.writing else { return };
        writing.open = true;
        writing.desk.open(&self.model);
        writing.desk.tell_of_strays(&self.model);
        writing.reports.ask(self.model.resources().map(|(unit, _)| unit.clone()));
    }

    /// Another replica may write from now on.
    pub(crate) fn end_writing(&mut self) {
        self.writing = None;
        self.metrics.set_leader(false);
        self.metrics.forget_resources();
    }

    /// Takes in what was seen.
    pub(crate) fn see(&mut self, facts: Vec<Fact>) {
        if !self.started {
            self.early.extend(facts);
            return;
        }
        let (mut ran, mut changes) = (Vec::new(), Vec::new());
        let mut live = Vec::new();
        let mut touched = HashSet::new();
        for fact in facts {
            match fact {
                Fact::Input(change) => changes.push(change),
                Fact::Resource(resource) => {
                    let unit = resource.unit.clone();
                    let uid = self.model.resource(&unit).map(|known| known.uid.clone());
                    changes.extend(self.model.note(*resource));
                    let renewed = uid != self.model.resource(&unit).map(|known| known.uid.clone());
                    touched.insert((unit, renewed));
                }
                Fact::ResourceGone(unit) => {
                    changes.extend(self.model.forget(&unit));
                    touched.insert((unit, true));
                }
                Fact::RootHash(hash) => {
                    ran.extend(self.model.set_settings(|settings| settings.root_hash = hash));
                }
                Fact::MeshTrust(trust) => ran.extend(self.model.set_mesh_trust(trust)),
                fact @ (Fact::Live(_) | Fact::LiveGone(_) | Fact::Listing(_) | Fact::Listed(_)) => {
                    live.push(fact);
                }
            }
        }
        if !changes.is_empty() {
            ran.extend(self.model.update(changes));
        }
        // Objects name the UID of their owner, which the core does not know.
        ran.extend(touched.iter().filter(|(_, renewed)| *renewed).map(|(unit, _)| unit.clone()));
        ran.sort_unstable();
        ran.dedup();
        self.spread(&ran, touched.into_iter().map(|(unit, _)| unit).collect(), live);
    }

    /// Takes in what peers say.
    pub(crate) fn hear(&mut self, changes: Vec<Change>) {
        self.see(changes.into_iter().map(Fact::Input).collect());
    }

    /// What discovery is to be told. Each is given once.
    pub(crate) fn published(&mut self) -> Vec<Published> {
        std::mem::take(&mut self.unpublished)
    }

    /// All objects for istiod, if they may have changed since they were last asked for.
    pub(crate) fn changed_objects(&mut self) -> Option<Vec<Object>> {
        let changed = self.unshown.as_mut().filter(|unshown| **unshown)?;
        *changed = false;
        let objects = self.model.translation().objects().into_iter();
        Some(objects.filter(|object| object.kind().is_istio()).collect())
    }

    fn spread(&mut self, ran: &[Unit], touched: Vec<Unit>, live: Vec<Fact>) {
        self.unpublished.extend(self.model.translation().published(ran));
        if let Some(unshown) = &mut self.unshown {
            *unshown |= !ran.is_empty();
        }
        self.show_certificates(ran);
        let Some(writing) = &mut self.writing else { return };
        let mut concerned = HashSet::new();
        for fact in live {
            match fact {
                Fact::Live(live) => concerned.extend(writing.desk.see(&self.model, &live)),
                Fact::LiveGone(id) => concerned.extend(writing.desk.miss(&self.model, &id)),
                Fact::Listing(list) => writing.desk.begin_list(&list),
                Fact::Listed(list) => concerned.extend(writing.desk.end_list(&self.model, &list)),
                _ => {}
            }
        }
        concerned.extend(writing.desk.plan(&self.model, ran));
        for unit in touched {
            writing.desk.look_at_finalizer(&self.model, &unit);
            concerned.insert(unit);
        }
        if writing.open {
            writing.reports.ask(concerned);
        }
    }

    /// Every replica does: whether one leads is nothing to a certificate.
    fn show_certificates(&self, ran: &[Unit]) {
        for unit in ran {
            if let Unit::MeshFedConfig(key) = unit {
                self.metrics.set_certificate(key, self.model.translation().certificate_end(key));
            }
        }
    }

    /// Certificates are judged again as time goes by.
    pub(crate) fn set_time(&mut self, now: Timestamp) {
        if (now.as_second() - self.model.settings().now.as_second()).abs() >= HOUR {
            let ran = self.model.set_settings(|settings| settings.now = now);
            self.spread(&ran, Vec::new(), Vec::new());
        }
    }

    /// The next thing to write, if there is one that may be written now.
    pub(crate) fn next(&mut self, now: Instant) -> Option<(Task, Write)> {
        let Writing { desk, reports, statuses_turn, open: true } = self.writing.as_mut()? else {
            return None;
        };
        let model = &self.model;
        let object =
            |desk: &mut Desk| desk.next(model, now).map(|(ticket, write)| (Task::Object(ticket), write));
        let status = |reports: &mut Reports, desk: &Desk| {
            reports.next(model, desk, now).map(|(report, write)| (Task::Status(report), write))
        };
        // Neither waits for all of the other.
        *statuses_turn = !*statuses_turn;
        if *statuses_turn {
            status(reports, desk).or_else(|| object(desk))
        } else {
            object(desk).or_else(|| status(reports, desk))
        }
    }

    /// What is to be told to people, beside what comes of writes. Each is given once.
    pub(crate) fn transitions(&mut self) -> Vec<Transition> {
        self.writing.as_mut().map(|writing| writing.reports.transitions()).unwrap_or_default()
    }

    /// What came of a write. Says what is to be told to people.
    pub(crate) fn done(
        &mut self,
        task: Task,
        outcome: Result<Written, Fault>,
        now: Instant,
    ) -> Option<Transition> {
        let outcome = outcome.map(|written| self.learn(written));
        let writing = self.writing.as_mut()?;
        match task {
            Task::Object(ticket) => {
                let concerned = writing.desk.done(&self.model, ticket, outcome, now);
                writing.reports.ask(concerned);
                None
            }
            Task::Status(report) => {
                writing.reports.done(&self.model, &report, &outcome, now);
                report.transition.filter(|_| outcome.is_ok())
            }
        }
    }

    /// An answer with a user's resource is news of it like any other, so that the next comparison is with what is there.
    fn learn(&mut self, written: Written) -> Written {
        match written {
            Written::Resource(resource) if self.model.resource(&resource.unit).is_some() => {
                self.see(vec![Fact::Resource(resource)]);
                Written::Done
            }
            written => written,
        }
    }

    /// When something that failed is to be tried again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let writing = self.writing.as_ref()?;
        writing.desk.deadline().into_iter().chain(writing.reports.deadline()).min()
    }

    /// What is known and wanted, for people. Secrets' contents are left out.
    pub(crate) fn dump(&self) -> Value {
        let translation = self.model.translation();
        let resources = self.model.resources().filter_map(|(unit, known)| {
            let standing = self.writing.as_ref().map(|writing| format!("{:?}", writing.desk.standing(&self.model, unit)));
            Some(json!({"resource": unit.resource()?.to_string(), "status": known.said.kept(), "objects": standing}))
        });
        let settings = translation.inputs().settings();
        json!({
            "settings": {
                "trust_domain": settings.trust_domain,
                "trust_domain_aliases": settings.trust_domain_aliases,
                "cluster_domain": settings.cluster_domain,
                "root_namespace": settings.root_namespace,
                "revision": settings.revision,
                "gateway_namespaces": settings.gateway_namespaces,
            },
            "writes": self.writing.is_some(),
            "waiting": self.waiting(),
            "resources": resources.collect::<Vec<_>>(),
            "objects": translation.objects().iter().map(Object::for_people).collect::<Vec<_>>(),
        })
    }

    /// What is offered each way; none before everything has been seen once.
    pub(crate) fn offers(&self) -> Option<Offers> {
        let listings = || self.model.translation().listing();
        self.started.then(|| Offers { follows: self.writing.is_some(), listings: listings() })
    }

    /// How many writes wait.
    pub(crate) fn waiting(&self) -> usize {
        self.writing.as_ref().map_or(0, |writing| writing.desk.waiting() + writing.reports.waiting())
    }
}
