//! The real `helm`, with a home of its own for each user of this module, and the chart of `deploy/chart`.

use crate::support::client::{Done, PATIENCE};
use crate::support::leash;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

/// `helm` and its home.
pub struct Helm {
    home: TempDir,
    kubeconfig: Option<PathBuf>,
}

impl Helm {
    /// Makes a home. Without a kubeconfig there is no cluster.
    pub fn new(kubeconfig: Option<PathBuf>) -> Self {
        Self { home: tempfile::Builder::new().prefix("podgate-helm-").tempdir().expect("a folder"), kubeconfig }
    }

    /// The chart's folder.
    pub fn chart() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/chart")
    }

    /// Writes a file of values, and returns its path.
    pub fn values(&self, name: &str, values: &Value) -> String {
        let path = self.home.path().join(name);
        fs::write(&path, values.to_string()).expect("a file");
        path.display().to_string()
    }

    /// Runs it to its end.
    pub async fn run(&self, words: &[&str]) -> Done {
        let mut command = leash::program("helm");
        self.settle(&mut command);
        let running = command.args(words).kill_on_drop(true).output();
        Done::of(timeout(PATIENCE * 2, running).await.expect("an end in time").expect("helm"))
    }

    /// Gives a command the home and the cluster.
    pub fn settle(&self, command: &mut Command) {
        let nowhere = self.home.path().join("no-cluster");
        command.env("KUBECONFIG", self.kubeconfig.as_deref().unwrap_or(&nowhere));
        for (name, folder) in [("CACHE", "cache"), ("CONFIG", "config"), ("DATA", "data")] {
            command.env(format!("HELM_{name}_HOME"), self.home.path().join(folder));
        }
    }

    /// The documents that `helm template` makes of values.
    pub async fn template(&self, values: &[&str], words: &[&str]) -> Vec<Value> {
        let done = self.render(values, words).await.expect(0);
        objects(&done.text())
    }

    /// `helm template` of the release `podgate` in the namespace `podgate`.
    pub async fn render(&self, values: &[&str], words: &[&str]) -> Done {
        let chart = Self::chart().display().to_string();
        let mut all = vec!["template", "podgate", &chart, "--namespace", "podgate"];
        for file in values {
            all.extend(["-f", file]);
        }
        self.run(&[&all[..], words].concat()).await
    }
}

/// The objects of a stream of YAML documents.
pub fn objects(text: &str) -> Vec<Value> {
    let documents = text.split("\n---\n").map(|document| document.trim_start_matches("---\n"));
    let objects =
        documents.map(|text| serde_saphyr::from_str::<Value>(text).unwrap_or_else(|error| panic!("{error}\n{text}")));
    objects.filter(|object| !object.is_null()).collect()
}
