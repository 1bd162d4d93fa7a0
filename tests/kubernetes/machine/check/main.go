// Command check fails with a word for all that this machine lacks for a cluster. As `check packages` it prints what to install, a package
// a line, and does not fail.
package main

import (
	"fmt"
	"os"

	"podgate.test/kubernetes/machine"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "packages" {
		for _, name := range machine.Packages(machine.Missing()) {
			fmt.Println(name)
		}
		return
	}
	if err := machine.Check(); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}
