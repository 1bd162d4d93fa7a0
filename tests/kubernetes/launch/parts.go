package launch

// The programs of the cluster and how each is started. A part is a table's row: its arguments, and how one knows that it works.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// part is one program of the cluster.
type part struct {
	name    string
	command []string
	// ready says nil when the part serves.
	ready func(context.Context) error
	// restarts is for a part that ends when it has lost the API: a node's service manager would start it again.
	restarts bool
}

// Options are what a cluster can be started with.
type Options struct {
	State State
	// Audit turns the API servers' audit log on.
	Audit bool
	// Images are archives to import beside our own.
	Images []string
}

// table lists the parts in the order of their start. The second API server is there to be started by an order.
func table(options Options, self string) []part {
	state := options.State
	return []part{
		{"etcd", []string{self, "etcd", "--name=test", "--data-dir=" + state.path("etcd"), "--listen-client-urls=" + etcdURL,
			"--advertise-client-urls=" + etcdURL, "--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync"},
			get(state, etcdURL+"/health"), false},
		apiServer(options, self, "1"),
		apiServer(options, self, "2"),
		{"balancer", []string{self, "balance", node + ":" + balancerPort, "127.0.0.1:" + apiPort("1"), "127.0.0.1:" + apiPort("2")},
			get(state, "https://"+node+":"+balancerPort+"/readyz"), false},
		{"controller-manager", []string{self, "kube-controller-manager", "--kubeconfig=" + state.path("controller-manager.conf"),
			"--controllers=*,-node-ipam-controller", "--leader-elect=false", "--use-service-account-credentials",
			"--service-account-private-key-file=" + state.path("pki", "accounts.key"), "--root-ca-file=" + state.path("pki", "ca.crt"),
			"--node-monitor-period=2s", "--node-monitor-grace-period=16s", "--authentication-skip-lookup"},
			get(state, "https://127.0.0.1:10257/healthz"), true},
		{"scheduler", []string{self, "kube-scheduler", "--kubeconfig=" + state.path("scheduler.conf"), "--leader-elect=false",
			"--authentication-skip-lookup"},
			get(state, "https://127.0.0.1:10259/healthz"), true},
		{"containerd", []string{"containerd", "--config=" + state.path("containerd.toml")},
			func(ctx context.Context) error {
				connection, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
				if err == nil {
					err = connection.Close()
				}
				return err
			}, false},
		{"kubelet", []string{self, "kubelet", "--kubeconfig=" + state.path("kubelet.conf"), "--config=" + state.path("kubelet.yaml"),
			"--root-dir=" + state.path("kubelet"), "--volume-plugin-dir=" + state.path("volumeplugins"), "--cert-dir=" + state.path("pki"),
			"--hostname-override=" + nodeName, "--node-ip=" + node},
			get(state, "http://127.0.0.1:10248/healthz"), true},
	}
}

func apiServer(options Options, self, number string) part {
	state := options.State
	command := []string{self, "kube-apiserver", "--etcd-servers=" + etcdURL, "--bind-address=127.0.0.1", "--secure-port=" + apiPort(number),
		"--advertise-address=" + node, "--endpoint-reconciler-type=none", "--service-cluster-ip-range=" + services,
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--anonymous-auth=true",
		// As clusters usually have it: Pod Security refuses such a pod, not the API itself.
		"--allow-privileged=true",
		"--client-ca-file=" + state.path("pki", "ca.crt"),
		"--tls-cert-file=" + state.path("pki", "apiserver.crt"), "--tls-private-key-file=" + state.path("pki", "apiserver.key"),
		"--kubelet-certificate-authority=" + state.path("pki", "ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--kubelet-client-certificate=" + state.path("pki", "apiserver-kubelet.crt"),
		"--kubelet-client-key=" + state.path("pki", "apiserver-kubelet.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + state.path("pki", "accounts.key"),
		"--service-account-signing-key-file=" + state.path("pki", "accounts.key"), "--cert-dir=" + state.path("pki", "api-"+number),
		// A killed server's requests must not leave it waiting at the next start.
		"--shutdown-delay-duration=0s"}
	if options.Audit {
		command = append(command, "--audit-policy-file="+state.path("audit.yaml"), "--audit-log-path="+state.path("audit-"+number+".log"),
			"--audit-log-mode=blocking", "--audit-log-maxsize=1000")
	}
	return part{"apiserver-" + number, command, get(state, "https://127.0.0.1:"+apiPort(number)+"/readyz"), false}
}

// get asks a health endpoint, with the node's network.
func get(state State, url string) func(context.Context) error {
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		ca, err := os.ReadFile(state.path("pki", "ca.crt"))
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca)
		// The two managers sign their own certificates; what is asked of them is whether they live.
		skip := request.URL.Port() == "10257" || request.URL.Port() == "10259"
		client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, InsecureSkipVerify: skip}}}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, response.Status)
		}
		return nil
	}
}
