// A runtime as small as can be on CNI's own library, as cnitool is (which Debian does not
// package): cnitool add|check|del NETWORK NETNS, with CNI_PATH, NETCONFPATH and CAP_ARGS.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
)

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	verb, network, netns := os.Args[1], os.Args[2], os.Args[3]
	list, err := libcni.LoadConfList(os.Getenv("NETCONFPATH"), network)
	fail(err)
	capabilities := map[string]interface{}{}
	if text := os.Getenv("CAP_ARGS"); text != "" {
		fail(json.Unmarshal([]byte(text), &capabilities))
	}
	runtime := &libcni.RuntimeConf{
		ContainerID:    filepath.Base(netns),
		NetNS:          netns,
		IfName:         "eth0",
		CapabilityArgs: capabilities,
	}
	cni := libcni.NewCNIConfigWithCacheDir(filepath.SplitList(os.Getenv("CNI_PATH")), "/var/lib/cni", nil)
	switch verb {
	case "add":
		result, err := cni.AddNetworkList(context.TODO(), list, runtime)
		fail(err)
		fail(result.Print())
	case "check":
		fail(cni.CheckNetworkList(context.TODO(), list, runtime))
	case "del":
		fail(cni.DelNetworkList(context.TODO(), list, runtime))
	}
}
