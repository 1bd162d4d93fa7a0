// Program login logs in with golang.org/x/crypto/ssh: PORT USER key|password SECRET (a key's file, or the password).
// What went wrong is on stderr.
package main

import (
	"fmt"
	"os"

	"golang.org/x/crypto/ssh"
)

func main() {
	if err := login(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func login(port, user, how, secret string) error {
	credential := ssh.Password(secret)
	if how == "key" {
		pem, err := os.ReadFile(secret)
		if err != nil {
			return err
		}
		key, err := ssh.ParsePrivateKey(pem)
		if err != nil {
			return err
		}
		credential = ssh.PublicKeys(key)
	}
	client, err := ssh.Dial("tcp", "127.0.0.1:"+port, &ssh.ClientConfig{
		User: user,
		Auth: []ssh.AuthMethod{credential},
		// The test asks what is said about a login, on loopback.
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		return err
	}
	return client.Close()
}
