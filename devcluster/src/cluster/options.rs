//! The options that a cluster is started with.

use crate::api::access::Token;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Options of a cluster; the defaults suit most tests.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address of the API; loopback only. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// The directory in which the scratch directory is made; the system's temporary directory by default.
    pub scratch_root: Option<PathBuf>,
    /// Namespaces that are there from the start, beside `default` and `kube-system`.
    pub namespaces: Vec<String>,
    /// Tokens beside the administrator's.
    pub tokens: Vec<Token>,
    /// Commands of images, by prefix of the image's name, for containers that name none.
    pub image_commands: Vec<(String, Vec<String>)>,
    /// The first wait of `CrashLoopBackOff`; it doubles up to five minutes. Kubernetes has 10 s.
    pub crash_back_off: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            scratch_root: None,
            namespaces: Vec::new(),
            tokens: Vec::new(),
            image_commands: Vec::new(),
            crash_back_off: Duration::from_secs(10),
        }
    }
}
