package launch

// Where everything of one cluster is: its files below the state folder, its addresses in its own namespaces.

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
)

const (
	outside  = "10.99.0.1"    // the gateway's and the clients' end of the link to the node
	node     = "10.99.0.2"    // the node's end
	pods     = "10.88.0.0/16" // the pods' addresses, routed by way of the node
	services = "10.96.0.0/24"
	service  = "10.96.0.1" // the API's address for pods
	nodeName = "node1"
	etcdURL  = "http://127.0.0.1:2379"
	socket   = "/run/containerd/containerd.sock"
	netns    = "/run/netns/node"

	balancerPort = "6443"
)

// apiPort is where the API server of this number listens, behind the balancer.
func apiPort(number string) string { return "1644" + number }

// State is the folder of one cluster.
type State string

// Resolve says the folder's absolute path.
func Resolve(folder string) (State, error) {
	absolute, err := filepath.Abs(folder)
	return State(absolute), err
}

func (s State) path(parts ...string) string {
	return filepath.Join(append([]string{string(s)}, parts...)...)
}

// Kubeconfig is the administrator's.
func (s State) Kubeconfig() string { return s.path("kubeconfig") }

// control is the socket that takes orders.
func (s State) control() string { return s.path("control.sock") }

// anchor holds the process id whose namespaces the cluster lives in, as the machine counts processes.
func (s State) anchor() string { return s.path("anchor.pid") }

func (s State) log(part string) string { return s.path("logs", part+".log") }

// cgroupPrefix begins the name of every cgroup that a cluster makes outside of its own.
const cgroupPrefix = "/podgate-cluster-"

// cgroup is the parent of every cgroup of this cluster.
func (s State) cgroup() string {
	sum := sha256.Sum256([]byte(s))
	return cgroupPrefix + hex.EncodeToString(sum[:6])
}

// commands is the cgroup of the commands in this cluster's network, which are none of the cluster.
func (s State) commands() string { return s.cgroup() + "-commands" }
