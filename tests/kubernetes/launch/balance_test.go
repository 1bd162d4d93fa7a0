package launch

import (
	"bufio"
	"net"
	"testing"
	"time"
)

// named is a server that answers each line with its name, until it dies with all its connections.
type named struct {
	listener net.Listener
	taken    chan net.Conn
}

func serveAs(t *testing.T, name string) named {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := named{listener, make(chan net.Conn, 100)}
	t.Cleanup(s.die)
	go func() {
		defer close(s.taken)
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			s.taken <- connection
			go func() {
				lines := bufio.NewScanner(connection)
				for lines.Scan() {
					if _, err := connection.Write([]byte(name + "\n")); err != nil {
						return
					}
				}
				connection.Close()
			}()
		}
	}()
	return s
}

func (s named) address() string { return s.listener.Addr().String() }

func (s named) die() {
	s.listener.Close()
	for connection := range s.taken {
		connection.Close()
	}
}

// client is a connection to the balancer.
type client struct {
	net.Conn
	lines *bufio.Reader
}

func connect(t *testing.T, address string) client {
	t.Helper()
	connection, err := net.Dial("tcp", address)
	if err == nil {
		err = connection.SetDeadline(time.Now().Add(20 * time.Second))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	return client{connection, bufio.NewReader(connection)}
}

// ask is the name of who answers.
func (c client) ask() (string, error) {
	if _, err := c.Write([]byte("who\n")); err != nil {
		return "", err
	}
	return c.lines.ReadString('\n')
}

func TestConnectionsGoToTheServerThatLivesWhenOneDies(t *testing.T) {
	one, two := serveAs(t, "one"), serveAs(t, "two")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go balance(listener, []string{one.address(), two.address()})
	held := map[string]client{}
	for range 10 {
		c := connect(t, listener.Addr().String())
		who, err := c.ask()
		if err != nil {
			t.Fatal(err)
		}
		held[who] = c
	}
	if len(held) != 2 {
		t.Fatal("not every server was used", held)
	}
	two.die()
	if _, err := held["two\n"].lines.ReadString('\n'); err == nil {
		t.Error("a connection to a dead server goes on")
	}
	if who, err := held["one\n"].ask(); who != "one\n" {
		t.Error("a connection to the living server ended: ", err)
	}
	for range 10 {
		if who, err := connect(t, listener.Addr().String()).ask(); who != "one\n" {
			t.Error("a connection is lost: ", err)
		}
	}
}

func TestClientThatWroteAllIsAnsweredStill(t *testing.T) {
	server := serveAs(t, "one")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go balance(listener, []string{server.address()})
	c := connect(t, listener.Addr().String())
	if _, err := c.Write([]byte("who\n")); err != nil {
		t.Fatal(err)
	}
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if who, err := c.lines.ReadString('\n'); who != "one\n" {
		t.Fatal(err)
	}
}
