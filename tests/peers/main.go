// Command peers lends other projects' test suites what they need to meet a foreign server: the host keys that they
// expect, and a program in sshd's place that carries the connection to it.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"

	_ "github.com/pkg/sftp" // its tests are built from this module
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/testdata"
)

// hostKeys are those that the suite of golang.org/x/crypto/ssh knows its server by.
var hostKeys = []string{"rsa", "ecdsa"}

func main() {
	log.SetFlags(0)
	var err error
	switch arguments := os.Args[1:]; {
	case len(arguments) == 2 && arguments[0] == "keys":
		err = keys(arguments[1])
	case len(arguments) >= 2 && arguments[0] == "sshd":
		err = sshd(arguments[1], arguments[2:])
	default:
		err = fmt.Errorf("usage: peers keys FOLDER | peers sshd ADDRESS WORD...")
	}
	if err != nil {
		log.Fatal(err)
	}
}

// keys writes the host keys, and the public keys of the suite's users as lines of one file.
func keys(folder string) error {
	var users []byte
	for _, pem := range testdata.PEMBytes {
		key, err := ssh.ParsePrivateKey(pem)
		if err != nil {
			return err
		}
		users = append(users, ssh.MarshalAuthorizedKey(key.PublicKey())...)
	}
	if err := os.WriteFile(filepath.Join(folder, "users"), users, 0o644); err != nil {
		return err
	}
	for _, name := range hostKeys {
		if err := os.WriteFile(filepath.Join(folder, name), testdata.PEMBytes[name], 0o600); err != nil {
			return err
		}
	}
	return nil
}

// sshd carries connections to a server in the ways of sshd's own words: the one that is standard input (-i), or those to a
// port of its own (-p).
func sshd(address string, words []string) error {
	flags := flag.NewFlagSet("sshd", flag.ContinueOnError)
	inetd := flags.Bool("i", false, "serve standard input")
	port := flags.Int("p", 22, "the port")
	flags.Bool("D", false, "stay in the foreground")
	flags.Bool("e", false, "log to standard error")
	flags.String("f", "", "the configuration's file")
	if err := flags.Parse(words); err != nil {
		return err
	}
	if *inetd {
		near, err := net.FileConn(os.Stdin)
		if err != nil {
			return err
		}
		return carry(near, address)
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: *port})
	if err != nil {
		return err
	}
	for {
		near, err := listener.Accept()
		if err != nil {
			return err
		}
		go carry(near, address)
	}
}

// carry joins a connection to a server until either side has ended.
func carry(near net.Conn, address string) error {
	defer near.Close()
	far, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer far.Close()
	ended := make(chan error, 2)
	join := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		ended <- err
	}
	go join(far, near)
	go join(near, far)
	return <-ended
}
