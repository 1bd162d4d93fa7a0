package launch

// The supervisor: it starts the parts in their order, imports the images, waits for the node, and then carries out orders. A part that
// ends without an order is the cluster's failure.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// patience is how long a part may take until it serves, and the node until it is Ready.
const patience = 120 * time.Second

// Supervise runs the cluster until a part fails.
func Supervise(options Options) error {
	syscall.CloseOnExec(supervisorFile)
	state := options.State
	if err := errors.Join(writeAuthority(state), writeFiles(state)); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Symlink(self, state.path("bin", "kubectl")); err != nil {
		return err
	}
	s := &supervisor{state: state, parts: table(options, self), running: map[string]*running{}, failed: make(chan error, 1),
		pause: time.Second}
	for _, part := range s.parts {
		if part.name == "apiserver-2" {
			continue // it costs memory, and few want it: an order starts it
		}
		if err := s.start(part.name); err != nil {
			return err
		}
		if part.name == "containerd" {
			if err := importImages(options.Images); err != nil {
				return err
			}
		}
	}
	if err := nodeReady(state); err != nil {
		return err
	}
	if err := s.listen(); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(os.NewFile(supervisorFile, "ready"), "ready"); err != nil {
		return err
	}
	return <-s.failed
}

// running is one start of a part.
type running struct {
	process *os.Process
	started time.Time
	ended   chan struct{}
}

func (r *running) lives() bool {
	select {
	case <-r.ended:
		return false
	default:
		return true
	}
}

type supervisor struct {
	state  State
	parts  []part
	failed chan error
	// pause is the least time from one start of a part that restarts to the next.
	pause time.Duration

	// Orders may come at the same time, and at any moment in a part's life.
	mutex sync.Mutex
	// running, which the mutex guards, are the parts that no order has ended. One whose process is gone is about to be started again, or is the cluster's failure.
	running map[string]*running
}

// start starts a part that does not run, and waits until it serves.
func (s *supervisor) start(name string) error {
	part, err := s.part(name)
	if err != nil {
		return err
	}
	s.mutex.Lock()
	old := s.running[name]
	if old != nil && (old.lives() || !part.restarts) {
		s.mutex.Unlock()
		return fmt.Errorf("%s runs already", name)
	}
	it, err := s.spawn(part)
	s.mutex.Unlock()
	if err != nil {
		return err
	}
	return s.serves(part, it)
}

// spawn starts a part's process, and looks after its end. The mutex is held.
func (s *supervisor) spawn(part part) (*running, error) {
	log, err := os.OpenFile(s.state.log(part.name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command := exec.Command(part.command[0], part.command[1:]...)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", part.name, err)
	}
	it := &running{process: command.Process, started: time.Now(), ended: make(chan struct{})}
	s.running[part.name] = it
	go func() {
		err := command.Wait()
		close(it.ended)
		if part.restarts {
			time.Sleep(time.Until(it.started.Add(s.pause)))
		}
		s.follow(part, it, err)
	}()
	return it, nil
}

// follow decides what follows when a process is gone: nothing after an order, a new start of what restarts, else the cluster's failure.
func (s *supervisor) follow(part part, it *running, err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.running[part.name] != it {
		return
	}
	delete(s.running, part.name)
	if part.restarts {
		if _, err = s.spawn(part); err == nil {
			return
		}
	}
	s.fail(fmt.Errorf("%s ended by itself: %v; its last words are in %s", part.name, err, s.state.log(part.name)))
}

// serves waits until a started part answers, or has ended.
func (s *supervisor) serves(part part, it *running) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := part.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-it.ended:
			return fmt.Errorf("%s ended before it served; see %s", part.name, s.state.log(part.name))
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve: %w", part.name, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *supervisor) fail(err error) {
	select {
	case s.failed <- err:
	default: // the first failure is the one to tell
	}
}

func (s *supervisor) part(name string) (part, error) {
	for _, part := range s.parts {
		if part.name == name {
			return part, nil
		}
	}
	return part{}, fmt.Errorf("no part is named %q", name)
}

// kill ends a part with KILL, as a crash would, and waits until it is gone. It is not started again.
func (s *supervisor) kill(name string) error {
	s.mutex.Lock()
	it := s.running[name]
	delete(s.running, name)
	s.mutex.Unlock()
	if it == nil {
		return fmt.Errorf("%s does not run", name)
	}
	if err := it.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-it.ended
	return nil
}

// signal sends a part that runs a signal.
func (s *supervisor) signal(name string, signal syscall.Signal) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if it := s.running[name]; it != nil && it.lives() {
		return it.process.Signal(signal)
	}
	return fmt.Errorf("%s does not run", name)
}

func importImages(archives []string) error {
	for _, archive := range archives {
		output, err := exec.Command("ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", archive).CombinedOutput()
		if err != nil {
			return fmt.Errorf("import %s: %w: %s", archive, err, output)
		}
	}
	return nil
}

// nodeReady waits for the node's Ready condition.
func nodeReady(state State) error {
	config, err := clientcmd.BuildConfigFromFlags("", state.Kubeconfig())
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	watch, err := client.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", nodeName).String()})
	if err != nil {
		return err
	}
	defer watch.Stop()
	for event := range watch.ResultChan() {
		node, ok := event.Object.(*corev1.Node)
		if !ok {
			continue
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
	}
	return errors.New("the node did not become Ready")
}
