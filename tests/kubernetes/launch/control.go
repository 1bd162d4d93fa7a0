package launch

// Orders to a running cluster: one line a connection to a Unix socket, answered by one line, `ok` or `error: …`. Orders that come at the
// same time are carried out at the same time: one may wait long for a part to serve.

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
)

// listen takes orders until the process ends.
func (s *supervisor) listen() error {
	listener, err := net.Listen("unix", s.state.control())
	if err != nil {
		return err
	}
	if err := os.Chmod(s.state.control(), 0o600); err != nil {
		return err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				s.fail(fmt.Errorf("the control socket: %w", err))
				return
			}
			go s.answer(connection)
		}
	}()
	return nil
}

func (s *supervisor) answer(connection net.Conn) {
	defer connection.Close()
	line, err := bufio.NewReader(io.LimitReader(connection, 256)).ReadString('\n')
	if err != nil {
		return
	}
	answer, err := s.order(strings.Fields(line))
	if err != nil {
		answer = "error: " + strings.ReplaceAll(err.Error(), "\n", " ")
	}
	fmt.Fprintln(connection, answer)
}

// order carries one out.
func (s *supervisor) order(words []string) (string, error) {
	if len(words) == 1 && words[0] == "status" {
		return s.status(), nil
	}
	if len(words) != 2 {
		return "", fmt.Errorf("an order is status, or kill, start, freeze or thaw and a part's name")
	}
	var err error
	switch words[0] {
	case "kill":
		err = s.kill(words[1])
	case "start":
		err = s.start(words[1])
	case "freeze":
		err = s.signal(words[1], syscall.SIGSTOP)
	case "thaw":
		err = s.signal(words[1], syscall.SIGCONT)
	default:
		err = fmt.Errorf("no order is named %q", words[0])
	}
	return "ok", err
}

// status names the parts that run.
func (s *supervisor) status() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	names := []string{"ok"}
	for name, it := range s.running {
		if it.lives() {
			names = append(names, name)
		}
	}
	slices.Sort(names[1:])
	return strings.Join(names, " ")
}

// Order sends a running cluster an order and says its answer.
func Order(state State, words []string) error {
	connection, err := net.Dial("unix", state.control())
	if err != nil {
		return fmt.Errorf("no cluster takes orders in %s: %w", state, err)
	}
	defer connection.Close()
	if _, err := fmt.Fprintln(connection, strings.Join(words, " ")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		return err
	}
	answer = strings.TrimSpace(answer)
	if message, failed := strings.CutPrefix(answer, "error: "); failed {
		return fmt.Errorf("%s", message)
	}
	fmt.Println(answer)
	return nil
}
