// Command local-path-provisioner gives every PersistentVolumeClaim of its class a directory on the
// node that runs the claim's first pod.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// directories provisions volumes as sub-directories of root, which is mounted from the node under
// the very same path.
type directories struct {
	root string
}

func (d directories) Provision(_ context.Context, options controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	claim := options.PVC
	if claim.Spec.Selector != nil {
		return nil, controller.ProvisioningFinished, errors.New("claim selectors are not supported")
	}
	if options.SelectedNodeName == "" {
		return nil, controller.ProvisioningFinished, errors.New("the storage class must have volumeBindingMode WaitForFirstConsumer")
	}
	path := filepath.Join(d.root, fmt.Sprintf("%s_%s_%s", options.PVName, claim.Namespace, claim.Name))
	// World-writable, because the pod that uses it may run as any user.
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	mode := v1.PersistentVolumeFilesystem
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    &mode,
			Capacity: v1.ResourceList{
				v1.ResourceStorage: claim.Spec.Resources.Requests[v1.ResourceStorage],
			},
			PersistentVolumeSource: v1.PersistentVolumeSource{
				HostPath: &v1.HostPathVolumeSource{Path: path},
			},
			NodeAffinity: &v1.VolumeNodeAffinity{
				Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
					MatchExpressions: []v1.NodeSelectorRequirement{{
						Key:      v1.LabelHostname,
						Operator: v1.NodeSelectorOpIn,
						Values:   []string{options.SelectedNodeName},
					}},
				}}},
			},
		},
	}, controller.ProvisioningFinished, nil
}

func (d directories) Delete(_ context.Context, volume *v1.PersistentVolume) error {
	if volume.Spec.HostPath == nil || filepath.Dir(volume.Spec.HostPath.Path) != d.root {
		return &controller.IgnoredError{Reason: "its directory is not one of " + d.root}
	}
	return os.RemoveAll(volume.Spec.HostPath.Path)
}

func run() error {
	name := flag.String("provisioner", "devcluster.local/local-path", "the name that storage classes give in their field provisioner")
	root := flag.String("directory", "", "the node's directory that volumes are made in, mounted under the same path")
	flag.Parse()
	if !filepath.IsAbs(*root) {
		return fmt.Errorf("--directory must be an absolute path, and is %q", *root)
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// One replica, replaced by deletion (strategy Recreate): there is nobody to elect a leader among.
	controller.NewProvisionController(ctx, client, *name,
		directories{root: filepath.Clean(*root)}, controller.LeaderElection(false)).Run(ctx)
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "local-path-provisioner:", err)
		os.Exit(1)
	}
}
