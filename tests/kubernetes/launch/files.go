package launch

// The configuration files of containerd, CNI, the kubelet and the API audit. Every value that is not a default has its reason.

import (
	"fmt"
	"os"

	"podgate.test/kubernetes/machine"
)

// containerdConfig leaves the score that the kernel kills by alone: without CAP_SYS_RESOURCE a pod's sandbox would fail to start.
// What lies in the folder for registries is read at each pull: a test puts its own there.
const containerdConfig = `version = 2
root = %q
state = "/run/containerd"
[grpc]
  address = "` + socket + `"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "podgate.test/pause:1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "` + machine.Plugins + `"
    conf_dir = %q
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = %q
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
`

const cniConfig = `{
  "cniVersion": "0.4.0", "name": "pods",
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
     "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "` + pods + `"}]], "routes": [{"dst": "0.0.0.0/0"}]}}
  ]
}
`

// kubeletConfig keeps the kubelet from judging this machine's swap, cgroups and disk (where space is short it would remove the images,
// which nobody can bring back), and tells a dead node within 20 s.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[1]q}
authorization: {mode: Webhook}
tlsCertFile: %[2]q
tlsPrivateKeyFile: %[3]q
containerRuntimeEndpoint: unix://` + socket + `
podLogsDir: %[4]q
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
failCgroupV1: false
resolvConf: ""
maxPods: 250
registryPullQPS: 0
eventRecordQPS: 500
eventBurst: 1000
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
nodeStatusUpdateFrequency: 4s
volumeStatsAggPeriod: 5s
nodeLeaseDurationSeconds: 16
evictionHard: {memory.available: 50Mi, nodefs.available: "0%%", imagefs.available: "0%%", nodefs.inodesFree: "0%%", imagefs.inodesFree: "0%%"}
`

// auditPolicy records whole what a gateway sends, and leaves the cluster's own parts out.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    users: [system:apiserver, system:kube-controller-manager, system:kube-scheduler]
  - level: None
    userGroups: [system:nodes, "system:serviceaccounts:kube-system"]
  - level: RequestResponse
    resources:
      - {group: "", resources: [pods, pods/exec, pods/attach, pods/log, pods/portforward, events, namespaces]}
      - {group: coordination.k8s.io}
  - level: Metadata
`

func writeFiles(state State) error {
	for _, folder := range []string{"cni", "cni-data", "logs", "pod-logs", "etcd", "containerd", "kubelet", "bin", "registries", "volumeplugins"} {
		if err := os.MkdirAll(state.path(folder), 0o755); err != nil {
			return err
		}
	}
	for _, it := range []struct{ path, text string }{
		{state.path("containerd.toml"), fmt.Sprintf(containerdConfig, state.path("containerd"), state.path("cni"),
			state.path("registries"))},
		{state.path("cni", "10-pods.conflist"), fmt.Sprintf(cniConfig, state.path("cni-data"))},
		{state.path("kubelet.yaml"), fmt.Sprintf(kubeletConfig, state.path("pki", "ca.crt"), state.path("pki", "kubelet.crt"),
			state.path("pki", "kubelet.key"), state.path("pod-logs"))},
		{state.path("audit.yaml"), auditPolicy},
	} {
		if err := os.WriteFile(it.path, []byte(it.text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
