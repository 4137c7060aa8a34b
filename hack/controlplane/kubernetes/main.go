// Command kubernetes is the daemons of Kubernetes in one program: it runs the one that it is called as.
//
// The daemons share most of their packages. One program is linked in a fraction of the time that five
// take. kubectl stays a program of its own, because it starts often and has to start fast.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // Time zones of CronJobs, on a machine without a time zone database.

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // Log format "json".
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // Metrics of client-go.
	_ "k8s.io/component-base/metrics/prometheus/version"  // Metric kubernetes_build_info.
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func command(name string) *cobra.Command {
	switch name {
	case "kube-apiserver":
		return apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		return controllermanager.NewControllerManagerCommand()
	case "kube-proxy":
		return proxy.NewProxyCommand()
	case "kube-scheduler":
		return scheduler.NewSchedulerCommand()
	case "kubelet":
		return kubelet.NewKubeletCommand(context.Background())
	}
	return nil
}

func main() {
	name := filepath.Base(os.Args[0])
	daemon := command(name)
	if daemon == nil {
		fmt.Fprintf(os.Stderr, "kubernetes: called as %q, which is no daemon of Kubernetes: "+
			"call it as kube-apiserver, kube-controller-manager, kube-proxy, kube-scheduler or kubelet\n", name)
		os.Exit(2)
	}
	os.Exit(cli.Run(daemon))
}
