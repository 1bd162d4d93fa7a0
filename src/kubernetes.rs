//! The Kubernetes backend: a pod for every connection, for every program, or a persistent one for every identity.
//!
//! [`guest::Backend::guest`] returns at once. A [`PodTask`] creates the pod, waits for it, writes the identity's files, and
//! ends after the pod is removed, whatever happens in between. The [`Guest`] of a connection only waits for that task and
//! runs programs; when it is dropped, the pod is removed. In mode session every program has such a task.

pub(crate) mod dry_run;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub(crate) mod inspect;

mod api;
mod gateways;
mod pod;
mod pod_guest;
mod session_mode;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

pub(crate) use api::client::{ClientError, Clients};
pub(crate) use pod::reaper::ConnectionCheck;
pub(crate) use pod::task::{DryRunError, PodPlan};

use crate::guest::{self, Arrival, Guest};
use crate::settings::{self, BackendSettings, PodMode};
use crate::shutdown::Tasks;
use crate::telemetry::{Log, codes};
use crate::types::{Diagnosis, DoctorCheck, RunningCheck};
use api::retry::Throttle;
use gateways::GatewayLease;
use pod::PodRequest;
use pod::backend_parts::BackendParts;
use pod::manifest::{ConsoleCommand, Instance, manifest};
use pod::state::PodState;
use pod::task::PodTask;
use pod::watch::Watches;
use pod_guest::PodGuest;
use session_mode::SessionModeGuest;
use std::sync::Arc;

/// The backend; cheap to clone. Its pods are labelled with its id, which is new for every process.
#[derive(Clone)]
pub(crate) struct Backend {
    shared: Arc<BackendParts>,
}

impl Backend {
    /// Makes a backend with `tasks`, which the end of the process waits for. A pod is removed after 30 s if `is_open` says
    /// that its connection is not open, so that it must be true before the connection's guest is made.
    pub(crate) fn new(log: Log, tasks: Tasks, clients: Clients, is_open: ConnectionCheck) -> Self {
        let instance = Instance::random();
        let watches = Watches::new(log, tasks.clone(), instance, is_open);
        Self { shared: Arc::new(BackendParts::new(tasks, clients, instance, watches)) }
    }

    /// Joins the gateways that watch each other at `home`, before the first guest is made. Without it, nobody removes the
    /// pods of a gateway that is killed. Must be called within the runtime.
    pub(crate) fn join(&self, home: settings::GatewayHome, log: Log) {
        let BackendParts { clients, instance, watches, membership, .. } = &*self.shared;
        match clients.get(&home.cluster, home.http.min(home.lease / 3)) {
            Ok(client) => {
                let join = || GatewayLease::start(*instance, home, &client, watches.clone(), log);
                membership.get_or_init(|| Box::new(join()));
            }
            Err(error) => {
                let text = "the gateway cannot keep a Lease: when it is killed, its pods stay";
                log.write(codes::KUBERNETES_LEASE_REFUSED, text, &[("reason", &error.to_string())]);
            }
        }
    }

    /// Reaches the gateways that watch each other as another configuration says. False if they are elsewhere, where only the
    /// next start joins them. Must be called within the runtime.
    pub(crate) fn rejoin(&self, home: Option<settings::GatewayHome>, log: &Log) -> bool {
        match (self.shared.membership.get(), home) {
            (None, None) => true,
            (Some(_), None) => false,
            (None, Some(home)) => {
                self.join(home, log.clone());
                true
            }
            (Some(membership), Some(home)) => {
                let client = self.shared.clients.get(&home.cluster, home.http.min(home.lease / 3));
                client.is_ok_and(|client| membership.renew(&home, &client))
            }
        }
    }

    /// Looks for pods of gateways that are gone, in the namespace of these settings; `ahead` is by how many seconds the API
    /// server's clock is.
    pub(crate) async fn find_orphans(
        &self,
        home: &settings::GatewayHome,
        settings: &settings::KubernetesSettings,
        ahead: i64,
    ) -> Diagnosis {
        let namespace = &settings.pod.namespace;
        let running = RunningCheck::begin(DoctorCheck::Orphans, namespace.as_str());
        let client = match self.shared.clients.get(&home.cluster, settings.timeouts.http) {
            Ok(client) => client,
            Err(error) => return running.skipped(error.to_string(), "mend the connection to the API server first"),
        };
        match gateways::orphans(&client, home, (namespace, ahead)).await {
            Ok(pods) if pods.is_empty() => running.ok("every pod has a gateway"),
            Ok(pods) => {
                let shown = pods.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(" ");
                let text = format!("{} pods belong to gateways that are gone: {shown}", pods.len());
                let fix = format!(
                    "a gateway that runs removes them within two leaseDuration; else: kubectl delete pod -n {namespace} {shown}"
                );
                running.warning(text, fix)
            }
            Err(reason) => {
                let fix = "grant list on pods and on leases.coordination.k8s.io, as deploy/kubernetes.yaml does";
                running.skipped(format!("pods of other gateways cannot be looked for: {reason}"), fix)
            }
        }
    }

    /// Leaves the gateways that watch each other, after the end of all other tasks.
    pub(crate) async fn leave(&self) {
        if let Some(membership) = self.shared.membership.get() {
            membership.leave().await;
        }
    }

    fn request(&self, arrival: Arrival) -> PodRequest {
        let Arrival {
            id: connection,
            remote,
            identity,
            settings: BackendSettings::Kubernetes(mut settings),
            log,
            output,
        } = arrival;
        settings.cluster = self.shared.clients.known(settings.cluster);
        let throttle = Arc::new(Throttle::new(settings.cluster.qps_milli, settings.cluster.burst));
        PodRequest { identity, settings, connection, remote, log, output, instance: self.shared.instance, throttle }
    }
}

impl guest::Backend for Backend {
    /// Requests the pod of a connection at once; programs that have pods of their own request them when they start. Must be
    /// called within the runtime.
    fn guest(&self, arrival: Arrival) -> Arc<dyn Guest> {
        let mut request = self.request(arrival);
        if request.settings.pod.mode == PodMode::Session {
            return Arc::new(SessionModeGuest::new(Arc::clone(&self.shared), request));
        }
        let mut manifest = manifest(&request, ConsoleCommand::Idle);
        let (variables, sensitive) = match &mut manifest {
            Ok(manifest) => (std::mem::take(&mut manifest.variables), manifest.sensitive.clone()),
            Err(_) => Default::default(),
        };
        let variables = match &request.settings.pod.mode {
            PodMode::Persistent { .. } => variables,
            // They are in the pod's spec.
            PodMode::Connection | PodMode::Session => Vec::new(),
        };
        let grace = pod_guest::grace(&request.settings.pod.spec);
        // The manifest has them, and the connection may be a long one.
        (request.settings.pod.metadata, request.settings.pod.spec) = Default::default();
        let (request, pod_state) = (Arc::new(request), Arc::new(PodState::new()));
        let (backend, state) = (Arc::clone(&self.shared), Arc::clone(&pod_state));
        let task = PodTask { backend, request: Arc::clone(&request), pod_state: state };
        self.shared.tasks.spawn(task.run(manifest));
        Arc::new(PodGuest { pod_state, variables, sensitive, grace, request })
    }
}
