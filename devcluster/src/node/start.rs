//! From a container's plan to its first process: the image, the configuration, the start; each with the waiting reasons
//! and events by which a kubelet tells that it cannot.

use crate::faults::ImageFault;
use crate::node::container::{Container, Termination};
use crate::node::environment::{self, ContainerPlace};
use crate::node::image::{self, ImageProblem};
use crate::node::plan::ContainerPlan;
use crate::node::report::ContainerState;
use crate::node::worker::Worker;
use crate::process::sweep::ProcessMark;
use crate::process::{ProgramLaunch, ProgramStreams};
use std::sync::Arc;
use std::time::Duration;

/// Between two attempts at an image or a configuration, unless a fault is lifted before.
const RETRY: Duration = Duration::from_secs(10);

/// From the failed pull to `ImagePullBackOff`.
const PULL: Duration = Duration::from_millis(100);

/// Time that `RunContainerError` stands before the runtime's own account of the failed start.
const START: Duration = Duration::from_millis(50);

enum StartFailure {
    /// `CreateContainerConfigError`, tried again later.
    Config(String),
    /// The runtime could not start the process: an end of the container, with code 128.
    Start(String),
}

impl Worker {
    /// Waits until the container could be started, or was tried and failed to start.
    pub(super) async fn start(&self, container: &ContainerPlan) -> Result<Arc<Container>, Termination> {
        let board = &self.kubelet.node.board;
        let mut changes = board.watch();
        loop {
            let fault = match board.image_fault(&container.image) {
                None if image::is_malformed(&container.image) => Some(ImageFault::InvalidName),
                Some(ImageFault::NotFound | ImageFault::Denied | ImageFault::Unreachable) if container.never_pull => {
                    Some(ImageFault::NeverPulled)
                }
                fault => fault,
            };
            if let Some(trouble) = fault.as_ref().and_then(|fault| image::image_problem(fault, &container.image)) {
                self.tell_trouble(container, trouble).await;
            } else {
                self.tell_pulled(container);
                match self.create(container, fault) {
                    Ok(started) => {
                        self.tell(container, false, "Created", "Container created");
                        self.tell(container, false, "Started", "Container started");
                        return Ok(started);
                    }
                    Err(StartFailure::Start(message)) => return Err(self.failed_start(container, message).await),
                    Err(StartFailure::Config(message)) => {
                        self.tell(container, true, "Failed", &format!("Error: {message}"));
                        self.set(&container.name, |record| {
                            record.state = ContainerState::waiting("CreateContainerConfigError", message);
                        });
                    }
                }
            }
            // Either the time is over or a fault was lifted: both mean to try again.
            let _either = tokio::time::timeout(RETRY, changes.changed()).await;
        }
    }

    fn tell_pulled(&self, container: &ContainerPlan) {
        let image = &container.image;
        let pulled = format!("Container image {image:?} already present on machine and can be accessed by the pod");
        self.tell(container, false, "Pulled", &pulled);
    }

    async fn tell_trouble(&self, container: &ContainerPlan, trouble: ImageProblem) {
        if trouble.back_off.is_some() {
            self.tell(container, false, "Pulling", &format!("Pulling image {:?}", container.image));
        }
        self.tell(container, true, trouble.event.0, &trouble.event.1);
        self.tell(container, true, "Failed", &format!("Error: {}", trouble.reason));
        self.set(&container.name, |record| record.state = ContainerState::waiting(trouble.reason, &trouble.message));
        let Some(back_off) = trouble.back_off else { return };
        tokio::time::sleep(PULL).await;
        let message = format!("Back-off pulling image {:?}", container.image);
        self.tell(container, false, "BackOff", &message);
        self.tell(container, true, "Failed", &format!("Error: {back_off}"));
        let told = format!("{message}: {}: {}", trouble.reason, trouble.message);
        self.set(&container.name, |record| record.state = ContainerState::waiting(back_off, told));
    }

    async fn failed_start(&self, container: &ContainerPlan, message: String) -> Termination {
        self.tell(container, false, "Created", "Container created");
        self.tell(container, true, "Failed", &format!("Error: {message}"));
        self.set(&container.name, |record| record.state = ContainerState::waiting("RunContainerError", &message));
        tokio::time::sleep(START).await;
        Termination {
            exit_code: 128,
            reason: "StartError".to_owned(),
            message,
            // The runtime has no start to tell of.
            started: "1970-01-01T00:00:00Z".to_owned(),
            finished: crate::objects::time::now(),
        }
    }

    fn create(&self, container: &ContainerPlan, fault: Option<ImageFault>) -> Result<Arc<Container>, StartFailure> {
        let unable = |what: &dyn std::fmt::Display| format!("unable to start container process: {what}");
        let refused = |what: &dyn std::fmt::Display| {
            StartFailure::Start(format!(
                "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create \
                 failed: {what}: unknown"
            ))
        };
        match fault {
            Some(ImageFault::ConfigError(message)) => return Err(StartFailure::Config(message)),
            Some(ImageFault::StartError(message)) => return Err(refused(&unable(&message))),
            _ => {}
        }
        let node = &self.kubelet.node;
        let scratch = self.kubelet.pod_directory(&self.plan.uid).join(&container.name);
        std::fs::create_dir_all(&scratch).map_err(|error| refused(&unable(&error)))?;
        let mark = ProcessMark {
            value: format!("{}/{}/{};", node.cluster_id, self.plan.uid, container.name),
            directory: scratch.clone(),
        };
        let around = ContainerPlace { mark: mark.value.clone(), directory: scratch.clone(), api_port: node.api_port };
        let env =
            environment::environment(&self.plan, container, &around, &self.object).map_err(StartFailure::Config)?;
        let launch = ProgramLaunch {
            argv: environment::argv(container, &env, &node.image_commands),
            directory: environment::working_directory(container, &scratch).map_err(|error| refused(&unable(&error)))?,
            env,
            streams: if container.tty {
                ProgramStreams::Terminal
            } else {
                ProgramStreams::Pipes { stdin: container.stdin, stdout: true, stderr: true }
            },
        };
        Container::start(launch, container.stdin_once, mark, &node.tasks).map_err(|error| refused(&error))
    }
}
