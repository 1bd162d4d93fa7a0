package launch

// The TCP balancer before the API servers: each connection goes to the next server that takes it.

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// Balance serves one address with the servers behind it until it is killed.
func Balance(address string, servers []string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return balance(listener, servers)
}

func balance(listener net.Listener, servers []string) error {
	var turn atomic.Uint64
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		first := int(turn.Add(1))
		go func() {
			defer client.Close()
			for i := range servers {
				server, err := net.DialTimeout("tcp", servers[(first+i)%len(servers)], time.Second)
				if err == nil {
					join(client.(*net.TCPConn), server.(*net.TCPConn))
					return
				}
			}
			os.Stderr.WriteString("no API server takes connections\n")
		}()
	}
}

// join copies both ways, hands on each end, and ends both with an abort as soon as one was aborted.
func join(client, server *net.TCPConn) {
	defer server.Close()
	done := make(chan error, 2)
	copyTo := func(to, from *net.TCPConn) {
		_, err := io.Copy(to, from)
		if err == nil {
			err = to.CloseWrite()
		}
		done <- err
	}
	go copyTo(server, client)
	go copyTo(client, server)
	for range 2 {
		if err := <-done; err != nil {
			client.SetLinger(0)
			server.SetLinger(0)
			return
		}
	}
}
