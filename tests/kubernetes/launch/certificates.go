package launch

// The cluster's certificate authority, its certificates, and the kubeconfigs that carry them.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// authority signs what the parts of one cluster show each other.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	PEM         []byte
}

func newAuthority() (*authority, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "podgate test cluster"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := sign(template, template, key, key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{certificate, key, pemOf("CERTIFICATE", der)}, nil
}

func sign(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(7 * 24 * time.Hour)
	return x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// issue makes a certificate for a user or a server of that name, groups and addresses, with its key, as PEM.
func (a *authority) issue(name string, groups []string, hosts ...string) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := sign(template, a.certificate, private, a.key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pemOf("CERTIFICATE", der), pemOf("EC PRIVATE KEY", keyDER), nil
}

// kubeconfig writes a kubeconfig for that user, everything inline, that nobody else can read.
func (a *authority) kubeconfig(path, user string, groups ...string) error {
	certificate, key, err := a.issue(user, groups)
	if err != nil {
		return err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{
		Server:                   "https://" + node + ":" + balancerPort,
		CertificateAuthorityData: a.PEM,
	}
	config.AuthInfos["user"] = &clientcmdapi.AuthInfo{ClientCertificateData: certificate, ClientKeyData: key}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "user"}
	config.CurrentContext = "test"
	return clientcmd.WriteToFile(*config, path)
}

// writeAuthority writes every certificate, key and kubeconfig of the cluster.
func writeAuthority(state State) error {
	if err := os.MkdirAll(state.path("pki"), 0o700); err != nil {
		return err
	}
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	if err := os.WriteFile(state.path("pki", "ca.crt"), ca.PEM, 0o644); err != nil {
		return err
	}
	masters := []string{"system:masters"}
	for _, it := range []struct {
		file, name string
		groups     []string
		hosts      []string
	}{
		{"apiserver", "kube-apiserver", nil, []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", service, node, "127.0.0.1"}},
		{"apiserver-kubelet", "kube-apiserver-kubelet-client", masters, nil},
		{"kubelet", "system:node:" + nodeName, []string{"system:nodes"}, []string{nodeName, node}},
		{"accounts", "service-accounts", nil, nil},
	} {
		certificate, key, err := ca.issue(it.name, it.groups, it.hosts...)
		if err != nil {
			return err
		}
		if err := os.WriteFile(state.path("pki", it.file+".crt"), certificate, 0o644); err != nil {
			return err
		}
		if err := os.WriteFile(state.path("pki", it.file+".key"), key, 0o600); err != nil {
			return err
		}
	}
	for _, it := range []struct {
		file, user string
		groups     []string
	}{
		{state.Kubeconfig(), "admin", masters},
		{state.path("controller-manager.conf"), "system:kube-controller-manager", nil},
		{state.path("scheduler.conf"), "system:kube-scheduler", nil},
		{state.path("kubelet.conf"), "system:node:" + nodeName, []string{"system:nodes"}},
	} {
		if err := ca.kubeconfig(it.file, it.user, it.groups...); err != nil {
			return err
		}
	}
	return nil
}
